/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The head of a frame: what is taken is written back as it was. */
#include "link.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    g_autoptr (GError) error = NULL;
    GwLinkFrame frame;
    uint8_t again[GW_LINK_HEAD];
    if (!gw_link_frame_load (data, size, &frame, &error)) {
        g_assert (error != NULL && error->code == GW_CAUSE_LINK_LOST);
        return 0;
    }
    g_assert (frame.length + GW_LINK_HEAD == size && size <= GW_LINK_RECORD);
    gw_link_frame_store (again, &frame);
    g_assert (memcmp (again, data, GW_LINK_HEAD) == 0);
    return 0;
}
