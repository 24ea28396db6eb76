/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-internal.h"

#include <string.h>

static const GwQmpCommandInfo command_table[] = {
#define X(id, name, major, minor, limit_ms, flags)                                                 \
    [GW_QMP_##id] = { name, major, minor, limit_ms, flags },
#include "commands.def"
#undef X
};
G_STATIC_ASSERT (G_N_ELEMENTS (command_table) == GW_N_QMP_COMMANDS);

const GwQmpCommandInfo *
gw_qmp_command_get_info (GwQmpCommand command)
{
    g_assert ((guint) command < GW_N_QMP_COMMANDS);
    return &command_table[command];
}

/* QapiErrorClass of QEMU's qapi/error.json. */
static const char *const error_classes[] = {
    "GenericError", "CommandNotFound", "DeviceNotActive", "DeviceNotFound", "KVMMissingCap",
};

const char *
gw_qmp_get_error_class (const GError *error)
{
    if (gw_error_get_cause (error) != GW_CAUSE_QMP_COMMAND)
        return NULL;
    const char *first = NULL;
    const char *class = error_classes[0];
    for (guint i = 0; i < G_N_ELEMENTS (error_classes); i++) {
        g_autofree char *needle = g_strdup_printf (": %s: ", error_classes[i]);
        const char *at = strstr (error->message, needle);
        if (at == NULL || (first != NULL && at > first))
            continue;
        first = at;
        class = error_classes[i];
    }
    return class;
}
