/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base.h"

#include <stdarg.h>

static const GwCauseInfo cause_table[] = {
    [GW_CAUSE_NONE] = { "none", 0, "no error", "", "" },
#define X(id, code, exit_status, title, meaning, remedy)                                           \
    [GW_CAUSE_##id] = { code, exit_status, title, meaning, remedy },
#include "causes.def"
#undef X
};
G_STATIC_ASSERT (G_N_ELEMENTS (cause_table) == GW_N_CAUSES);

G_DEFINE_QUARK (gw-error-quark, gw_error)

const GwCauseInfo *
gw_cause_get_info (GwCause cause)
{
    if (cause <= GW_CAUSE_NONE || cause >= GW_N_CAUSES)
        cause = GW_CAUSE_INTERNAL;
    return &cause_table[cause];
}

GwCause
gw_cause_from_code (const char *code)
{
    for (guint i = GW_CAUSE_NONE + 1; i < GW_N_CAUSES; i++)
        if (g_strcmp0 (cause_table[i].code, code) == 0)
            return (GwCause) i;
    return GW_CAUSE_NONE;
}

GwCause
gw_error_get_cause (const GError *error)
{
    if (error == NULL)
        return GW_CAUSE_NONE;
    return error->domain == GW_ERROR ? (GwCause) error->code : GW_CAUSE_INTERNAL;
}

gboolean
gw_fail (GError **error, GwCause cause, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    if (error != NULL) {
        g_assert (*error == NULL);
        *error = g_error_new_valist (GW_ERROR, (int) cause, format, args);
    }
    va_end (args);
    return FALSE;
}

gboolean
gw_error_adopt (GError **error, GwCause cause)
{
    if (error != NULL && *error != NULL && (*error)->domain != GW_ERROR) {
        (*error)->domain = GW_ERROR;
        (*error)->code = (int) cause;
    }
    return FALSE;
}

static const char *const side_names[] = { "none", "source", "destination", "link" };

const char *
gw_side_name (GwSide side)
{
    return (guint) side < G_N_ELEMENTS (side_names) ? side_names[side] : side_names[0];
}

GwSide
gw_side_from_name (const char *name)
{
    for (guint i = 1; i < G_N_ELEMENTS (side_names); i++)
        if (g_strcmp0 (side_names[i], name) == 0)
            return (GwSide) i;
    return GW_SIDE_NONE;
}
