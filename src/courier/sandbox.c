/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

void
gw_sandbox_enter (char **ret_seccomp, char **ret_landlock)
{
    *ret_seccomp = g_strdup ("off: not yet");
    *ret_landlock = g_strdup ("off: not yet");
}
