/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A state directory of its own for each test of src/host. */
#ifndef TEST_HOST_DIR_H
#define TEST_HOST_DIR_H

#include "host-internal.h"

#define TEST_DIR_MORE GwHostConfig *config; GMainContext *context;
#include "test-state-dir.h"

static inline Dir *
dir_new (void)
{
    Dir *dir = dir_make ();
    dir->config = gw_host_config_new (dir->path);
    dir->context = g_main_context_new ();
    return dir;
}

static inline void
dir_free (Dir *dir)
{
    dir_remove_tree (dir->path);
    gw_host_config_free (dir->config);
    g_main_context_unref (dir->context);
    g_free (dir->path);
    g_free (dir);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Dir, dir_free)

#endif
