/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hello: what is taken is written back as it was, and is not taken twice. */
#include "link.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    g_autoptr (GError) error = NULL;
    GwLinkHello ours = { .side = GW_SIDE_DESTINATION, .epoch = 7, .job = "job" }, hello;
    GwLinkPeer peer = { 0 };
    uint8_t again[GW_LINK_HELLO_MAX];
    if (!gw_link_hello_check (&peer, &ours, data, size, &hello, &error)) {
        g_assert (error != NULL && error->code == GW_CAUSE_LINK_AUTH && !peer.is_known);
        return 0;
    }
    g_assert (hello.epoch == 7 && strcmp (hello.job, "job") == 0 && peer.serial > 0);
    gsize len = gw_link_hello_store (again, &hello);
    g_assert (len == size);
    g_assert (memcmp (again + GW_LINK_HEAD, data + GW_LINK_HEAD, 3) == 0);
    g_assert (!gw_link_hello_check (&peer, &ours, data, size, &hello, NULL));
    return 0;
}
