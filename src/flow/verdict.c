/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verdict.h"

#define GW_SIGN_ANY_KIND GW_N_SIGNS

typedef enum { SIDE_ANY, SIDE_SOURCE, SIDE_DESTINATION, SIDE_SAME, SIDE_OTHER } SideRule;
typedef enum { WHEN_EVER, WHEN_EARLIER, WHEN_NOT_LATER } WhenRule;

typedef struct {
    GwSignKind effect;
    SideRule effect_side;
    GwSignKind cause;
    SideRule cause_side;
    WhenRule when;
} Rule;

static const Rule rules[] = {
#define X(effect, effect_side, cause, cause_side, when) \
    { GW_SIGN_##effect, SIDE_##effect_side, GW_SIGN_##cause, SIDE_##cause_side, WHEN_##when },
#include "causality.def"
#undef X
};

typedef enum { WEIGHT_FAULT, WEIGHT_CONDITION, WEIGHT_NOTE } Weight;

static const Weight weights[] = {
#define X(id, weight) WEIGHT_##weight,
#include "signs.def"
#undef X
};
G_STATIC_ASSERT (G_N_ELEMENTS (weights) == GW_N_SIGNS);

GwSign *
gw_sign_new (GwSignKind kind, GwSide side, gint64 at_us, gint64 error_us, GwCause cause,
             const char *text)
{
    GwSign *sign = g_new0 (GwSign, 1);
    *sign = (GwSign) { kind, side, at_us, CLAMP (error_us, 0, GW_VERDICT_ERROR_MAX_US), cause,
                       g_strdup (text) };
    return sign;
}

void
gw_sign_free (GwSign *sign)
{
    if (sign != NULL)
        g_free (sign->text);
    g_free (sign);
}

gboolean
gw_sign_is_fault (GwSignKind kind)
{
    return weights[kind] == WEIGHT_FAULT;
}

gboolean
gw_sign_can_be_cause (GwSignKind kind)
{
    return weights[kind] != WEIGHT_NOTE;
}

/* --- the rules ---------------------------------------------------------------------------------- */

static gboolean
side_fits (SideRule rule, GwSide side, GwSide effect_side)
{
    switch (rule) {
    case SIDE_ANY:
        return TRUE;
    case SIDE_SOURCE:
        return side == GW_SIDE_SOURCE;
    case SIDE_DESTINATION:
        return side == GW_SIDE_DESTINATION;
    case SIDE_SAME:
        return side == effect_side;
    case SIDE_OTHER:
        return side != effect_side;
    }
    return FALSE;
}

/* How far apart the stamps of two signs can be though they are of the same moment. */
static gint64
room_us (const GwSign *a, const GwSign *b)
{
    return a->error_us + b->error_us + GW_VERDICT_LATE_US;
}

static gboolean
when_fits (WhenRule rule, const GwSign *cause, const GwSign *effect)
{
    gboolean is_earlier =
        effect->at_us - cause->at_us > GW_VERDICT_CLEAR_US + room_us (cause, effect);
    gboolean is_later =
        cause->at_us - effect->at_us > GW_VERDICT_CLEAR_US + room_us (cause, effect);
    return rule == WHEN_EVER || (rule == WHEN_EARLIER ? is_earlier : !is_later);
}

gboolean
gw_verdict_explains (const GwSign *cause, const GwSign *effect)
{
    for (guint i = 0; i < G_N_ELEMENTS (rules); i++) {
        const Rule *rule = &rules[i];
        gboolean is_of_kind =
            rule->effect == GW_SIGN_ANY_KIND
                ? effect->kind > cause->kind && effect->kind != GW_SIGN_OTHER
                : rule->effect == effect->kind;
        if (is_of_kind && rule->cause == cause->kind &&
            side_fits (rule->effect_side, effect->side, effect->side) &&
            side_fits (rule->cause_side, cause->side, effect->side) &&
            when_fits (rule->when, cause, effect))
            return TRUE;
    }
    return FALSE;
}

/* --- the first ----------------------------------------------------------------------------------- */

static gboolean
is_explained (const GPtrArray *signs, const GwSign *sign)
{
    for (guint i = 0; i < signs->len; i++)
        if (signs->pdata[i] != sign && gw_verdict_explains (signs->pdata[i], sign))
            return TRUE;
    return FALSE;
}

static void
add_roots (GArray *roots, const GPtrArray *signs, Weight weight, gboolean wants_unexplained)
{
    for (guint i = 0; i < signs->len; i++) {
        const GwSign *sign = signs->pdata[i];
        if (weights[sign->kind] == weight && !(wants_unexplained && is_explained (signs, sign)))
            g_array_append_val (roots, i);
    }
}

/* Faults that nothing explains, or else conditions; all of them, should the rules leave none. */
static GArray *
find_roots (const GPtrArray *signs)
{
    GArray *roots = g_array_new (FALSE, FALSE, sizeof (guint));
    add_roots (roots, signs, WEIGHT_FAULT, TRUE);
    if (roots->len == 0)
        add_roots (roots, signs, WEIGHT_CONDITION, TRUE);
    if (roots->len == 0)
        add_roots (roots, signs, WEIGHT_FAULT, FALSE);
    return roots;
}

/* For signs whose order is not certain. */
static gboolean
stands_before (const GwSign *a, const GwSign *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind;
    if (a->at_us != b->at_us)
        return a->at_us < b->at_us;
    return a->side < b->side;
}

guint
gw_verdict_find_first (const GPtrArray *signs)
{
    g_autoptr (GArray) roots = find_roots (signs);
    gint64 earliest_us = G_MAXINT64; /* by then the first had happened for sure */
    guint best = G_MAXUINT;
    g_assert (roots->len > 0);
    for (guint i = 0; i < roots->len; i++) {
        const GwSign *sign = signs->pdata[g_array_index (roots, guint, i)];
        earliest_us = MIN (earliest_us, sign->at_us + sign->error_us + GW_VERDICT_LATE_US);
    }
    for (guint i = 0; i < roots->len; i++) {
        guint index = g_array_index (roots, guint, i);
        const GwSign *sign = signs->pdata[index];
        if (sign->at_us - sign->error_us <= earliest_us &&
            (best == G_MAXUINT || stands_before (sign, signs->pdata[best])))
            best = index;
    }
    return best;
}

/* --- the order ------------------------------------------------------------------------------------ */

static gint
compare_times (gconstpointer a, gconstpointer b)
{
    const GwSign *x = *(const GwSign *const *) a, *y = *(const GwSign *const *) b;
    return x->at_us != y->at_us ? (x->at_us < y->at_us ? -1 : 1) : 0;
}

/* Whether an effect had to be moved behind its cause. */
static gboolean
move_effects (GPtrArray *signs)
{
    gboolean has_moved = FALSE;
    for (guint i = 0; i < signs->len; i++) {
        for (guint k = 0; k < signs->len; k++) {
            const GwSign *cause = signs->pdata[i];
            GwSign *effect = signs->pdata[k];
            gint64 early_us = cause->at_us - effect->at_us;
            if (i == k || early_us < 0 || early_us > room_us (cause, effect) ||
                !gw_verdict_explains (cause, effect))
                continue;
            effect->at_us = cause->at_us + 1;
            has_moved = TRUE;
        }
    }
    return has_moved;
}

void
gw_verdict_order (GPtrArray *signs)
{
    /* no chain of causes is longer than there are kinds */
    for (guint pass = 0; pass < GW_N_SIGNS && move_effects (signs); pass++)
        continue;
    g_ptr_array_sort (signs, compare_times); /* is stable */
}
