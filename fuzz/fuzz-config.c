/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwitd.conf: whatever is in it, it is read or refused with a cause and a line. */
#include "host-internal.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    g_auto (GwFd) fd = memfd_create ("godwitd.conf", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
    g_autoptr (GError) error = NULL;
    GwHostConfig *config = gw_host_config_new ("/nowhere");
    if (fd < 0 || write (fd, data, size) != (ssize_t) size)
        g_error ("no file in memory");
    gboolean ok = gw_host_config_load (config, path, &error);
    g_assert (ok == (error == NULL));
    g_assert (ok || error->domain == GW_ERROR);
    gw_host_config_free (config);
    return 0;
}
