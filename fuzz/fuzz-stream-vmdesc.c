/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The vmdesc and what it decodes: JSON, a NUL byte, the body of the first device. */
#include "fuzz-stream-common.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr (data, '\0', size) : NULL;
    if (nul == NULL)
        return 0;
    g_autoptr (GwVmdesc) vmdesc = gw_vmdesc_parse ((const char *) data, (gsize) (nul - data), NULL);
    if (vmdesc == NULL || gw_vmdesc_get_n_devices (vmdesc) == 0)
        return 0;
    gsize len = size - (gsize) (nul + 1 - data);
    g_autoptr (GError) error = NULL;
    g_autoptr (GwField) field = gw_stream_decode (gw_vmdesc_get_device (vmdesc, 0), "device",
                                                  nul + 1, len, &error);
    g_assert ((field == NULL) == (error != NULL));
    return 0;
}
