/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The certificates of QEMU's TLS, in the directory that a tls-creds-x509 object names. */
#include "host-internal.h"

#include <gnutls/x509.h>

#define CERTIFICATE_BYTES_MAX (1u << 20)

/* The end of the one that ends first; 0: there is none in that text. */
static gint64
find_end (const char *text, gsize len)
{
    gnutls_datum_t data = { (unsigned char *) (gpointer) text, (unsigned) len };
    gnutls_x509_crt_t *list = NULL;
    unsigned n = 0;
    gint64 first = 0;
    if (gnutls_x509_crt_list_import2 (&list, &n, &data, GNUTLS_X509_FMT_PEM, 0) < 0)
        return 0;
    for (unsigned i = 0; i < n; i++) {
        gint64 end = (gint64) gnutls_x509_crt_get_expiration_time (list[i]);
        if (first == 0 || end < first)
            first = end;
        gnutls_x509_crt_deinit (list[i]);
    }
    gnutls_free (list);
    return first;
}

void
gw_read_certificate_facts (GwPathFacts *facts)
{
    static const char *const names[] = { "ca-cert.pem", "server-cert.pem", "client-cert.pem" };
    for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
        g_autofree char *path = g_build_filename (facts->path, names[i], NULL);
        g_autofree char *text = NULL;
        gsize len = 0;
        if (!g_file_get_contents (path, &text, &len, NULL) || len > CERTIFICATE_BYTES_MAX)
            continue;
        gint64 end = find_end (text, len);
        if (end <= 0 || (facts->certificate_ends_s != 0 && end >= facts->certificate_ends_s))
            continue;
        facts->certificate_ends_s = end;
        g_free (facts->certificate);
        facts->certificate = g_steal_pointer (&path);
    }
}
