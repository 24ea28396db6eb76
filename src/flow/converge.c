/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "converge.h"

#include <string.h>

#define RATE_US (2 * G_USEC_PER_SEC) /* of carrying, for the rate */
#define RATE_MIN_US (RATE_US / 8)    /* ... of which so much has to do */
#define STALL_US (G_USEC_PER_SEC / 2)
#define FIRST_ROUND 2     /* whose beginning tells what the guest has written */
#define GAIN_ROUND 0.75   /* a round that leaves more than this of the last gains little */
#define GAIN_HOPELESS 0.85 /* two that leave more than this are too many */
#define SHARE_EARLY 3
#define CHEAP_SHARE 10  /* rounds that together take one part in so many of the time before cost nobody much, */
#define CHEAP_Q 0.75    /* are worth it when the guest writes less than this beside what the link carries, */
#define CHEAP_US 10000  /* and as long as one saves that */
#define MARGIN_SHARE 12 /* of the allowed downtime, one part in so many is kept */
#define PATIENCE_ROUNDS 6 /* hopeless ones, before it is given up without a --timeout */
#define PATIENCE_US (15 * G_USEC_PER_SEC)
#define THROTTLE_FULL 95 /* percent: QEMU goes to 99 */
#define LATE_FACTOR 4    /* --timeout, when the guest was throttled then */

GwLate
gw_late_from_name (const char *name)
{
    static const char *const names[] = { [GW_LATE_POSTCOPY] = "postcopy",
                                         [GW_LATE_THROTTLE] = "throttle",
                                         [GW_LATE_STOP] = "stop",
                                         [GW_LATE_ABORT] = "abort" };
    for (guint i = 0; i < G_N_ELEMENTS (names); i++)
        if (g_strcmp0 (names[i], name) == 0)
            return (GwLate) i;
    return GW_LATE_ABORT;
}

/* --- the rate ---------------------------------------------------------------------------------------------- */

/* `back` 0 is the last. */
static const GwSample *
get_sample (const GwConverge *converge, guint back)
{
    guint kept = MIN (converge->n_samples, GW_CONVERGE_SAMPLES);
    return back < kept
               ? &converge->samples[(converge->n_samples - 1 - back) % GW_CONVERGE_SAMPLES]
               : NULL;
}

static gboolean
is_still (const GwSample *old, const GwSample *new)
{
    return old->queued_bytes > 0 && new->acked_bytes == old->acked_bytes;
}

/* Between two neighbours: whether this is time in which the link could show what it carries. */
static gboolean
counts (const GwSample *old, const GwSample *new)
{
    return !old->is_outage && !new->is_outage && new->at_us > old->at_us &&
           new->acked_bytes >= old->acked_bytes && !is_still (old, new);
}

/* Pages that are sent again go faster than new ones where they are encoded: what the first pass showed is not
 * mixed with what came after it. */
static gboolean
is_of_first_pass (const GwConverge *converge, const GwSample *old)
{
    return old->round < FIRST_ROUND && get_sample (converge, 0)->round > FIRST_ROUND;
}

static gint64
measure_rate (const GwConverge *converge)
{
    gint64 bytes = 0, us = 0;
    const GwSample *new = get_sample (converge, 0), *old;
    for (guint i = 1; us < RATE_US && (old = get_sample (converge, i)) != NULL; i++, new = old) {
        if (us >= RATE_MIN_US && is_of_first_pass (converge, old))
            break;
        if (!counts (old, new))
            continue;
        bytes += new->acked_bytes - old->acked_bytes;
        us += new->at_us - old->at_us;
    }
    if (us < RATE_MIN_US || bytes == 0)
        return get_sample (converge, 0)->qemu_bps;
    return (gint64) ((double) bytes * G_USEC_PER_SEC / (double) us);
}

/* Something is under way and nothing arrives, for a while now. */
static gboolean
is_stalled (const GwConverge *converge)
{
    const GwSample *new = get_sample (converge, 0), *last = new, *old;
    for (guint i = 1; (old = get_sample (converge, i)) != NULL && is_still (old, new); i++, new = old)
        if (last->at_us - old->at_us >= STALL_US)
            return TRUE;
    return FALSE;
}

/* --- the downtime ---------------------------------------------------------------------------------------------- */

/* Of a small allowance, half is for the RAM, whatever the rest will take. */
static gint64
get_fixed_ms (const GwAllowance *allowance, const GwSample *sample)
{
    gint64 fixed_ms = allowance->load_ms + 2 * sample->rtt_us / 1000;
    return MIN (fixed_ms, allowance->max_downtime_ms / 2);
}

static gint64
estimate_ms (const GwAllowance *allowance, const GwSample *sample, gint64 rate_bps)
{
    if (rate_bps <= 0)
        return -1;
    double bytes = (double) sample->left_bytes + (double) sample->queued_bytes +
                   (double) allowance->state_bytes;
    double ms = bytes / (double) rate_bps * 1000;
    return ms > 1e12 ? (gint64) 1e12 : (gint64) ms + get_fixed_ms (allowance, sample);
}

/* An estimate is not exact, and the user's number is a promise. */
static gint64
get_ceiling_ms (const GwAllowance *allowance)
{
    return allowance->max_downtime_ms - allowance->max_downtime_ms / MARGIN_SHARE;
}

/* The --max-downtime, in tenths of a second, under whose ceiling `need_ms` is. */
static gint64
get_advice_ms (gint64 need_ms)
{
    return (need_ms + need_ms / (MARGIN_SHARE - 1)) / 100 * 100 + 100;
}

/* --- rounds ------------------------------------------------------------------------------------------------------ */

static void
add_round (GwConverge *converge, gint64 need_ms, gint64 send_ms, const GwSample *sample)
{
    if (converge->n_rounds == GW_CONVERGE_ROUNDS) {
        memmove (converge->rounds, converge->rounds + 1,
                 sizeof converge->rounds - sizeof converge->rounds[0]);
        converge->n_rounds--;
    }
    converge->rounds[converge->n_rounds].need_ms = need_ms;
    converge->rounds[converge->n_rounds].send_ms = send_ms;
    converge->rounds[converge->n_rounds++].dirty_bps = sample->dirty_bps;
    converge->least_ms = converge->least_ms == 0 ? need_ms : MIN (converge->least_ms, need_ms);
}

/* What the last `rounds` rounds left of what there was before them; 0 when there are not so many. */
static double
get_gain (const GwConverge *converge, guint rounds)
{
    if (converge->n_rounds <= rounds)
        return 0;
    gint64 before = converge->rounds[converge->n_rounds - 1 - rounds].send_ms;
    return (double) converge->rounds[converge->n_rounds - 1].send_ms / (double) MAX (before, 1);
}

static gboolean
has_no_hope (const GwConverge *converge, const GwAllowance *allowance)
{
    guint n = converge->n_rounds;
    return n > 2 && get_gain (converge, 2) >= GAIN_HOPELESS &&
           converge->rounds[n - 1].need_ms > get_ceiling_ms (allowance) &&
           converge->rounds[n - 2].need_ms > get_ceiling_ms (allowance);
}

static void
take_round (GwConverge *converge, const GwAllowance *allowance, const GwSample *sample)
{
    gint64 need_ms = estimate_ms (allowance, sample, measure_rate (converge));
    if (need_ms < 0)
        return;
    add_round (converge, need_ms, need_ms - get_fixed_ms (allowance, sample), sample);
    if (converge->possible_us == 0 && need_ms <= get_ceiling_ms (allowance))
        converge->possible_us = sample->at_us;
    if (!has_no_hope (converge, allowance)) {
        converge->hopeless_us = converge->n_hopeless = 0;
        return;
    }
    converge->n_hopeless++;
    if (converge->hopeless_us == 0)
        converge->hopeless_us = sample->at_us;
}

void
gw_converge_add (GwConverge *converge, const GwAllowance *allowance, const GwSample *sample)
{
    converge->samples[converge->n_samples++ % GW_CONVERGE_SAMPLES] = *sample;
    if (converge->n_samples == 2 * GW_CONVERGE_SAMPLES) /* so that it never wraps */
        converge->n_samples = GW_CONVERGE_SAMPLES;
    if (sample->is_start && sample->round >= FIRST_ROUND && !sample->is_outage)
        take_round (converge, allowance, sample);
}

void
gw_converge_note_throttle (GwConverge *converge)
{
    converge->is_throttled = TRUE;
    converge->hopeless_us = converge->n_hopeless = 0;
    converge->possible_us = 0;
    converge->n_rounds = 0;
}

static int
compare_numbers (gconstpointer a, gconstpointer b)
{
    gint64 x = *(const gint64 *) a, y = *(const gint64 *) b;
    return x < y ? -1 : x > y;
}

static gint64
get_median_dirty (const GwConverge *converge)
{
    gint64 values[GW_CONVERGE_ROUNDS];
    for (guint i = 0; i < converge->n_rounds; i++)
        values[i] = converge->rounds[i].dirty_bps;
    if (converge->n_rounds == 0)
        return get_sample (converge, 0)->dirty_bps;
    qsort (values, converge->n_rounds, sizeof values[0], compare_numbers);
    return values[converge->n_rounds / 2];
}

/* --- deciding ------------------------------------------------------------------------------------------------------- */

/* What share the next round will leave, at the rate at which the guest writes now. */
static double
foresee_gain (const GwConverge *converge, const GwEstimate *estimate)
{
    double q = estimate->rate_bps > 0 ? (double) estimate->dirty_bps / (double) estimate->rate_bps : 1;
    double gain = get_gain (converge, 1);
    return MAX (q, gain);
}

/* A guest that writes little beside what the link carries: what the user allows need not be used.  Rounds are noisy, and one
 * that has gained nothing does not say that the next will not either; so it is their sum that is bounded. */
static gboolean
is_round_cheap (const GwConverge *converge, const GwAllowance *allowance, const GwSample *now,
                const GwEstimate *estimate)
{
    double rate = (double) MAX (estimate->rate_bps, 1);
    double round_us = (double) now->left_bytes / rate * G_USEC_PER_SEC;
    double spent_us = (double) (now->at_us - converge->possible_us);
    return round_us > CHEAP_US && converge->possible_us > 0 && (double) estimate->dirty_bps < CHEAP_Q * rate &&
           spent_us + round_us <= (double) converge->possible_us / CHEAP_SHARE &&
           (allowance->timeout_s == 0 || (double) now->at_us + 2 * round_us < (double) allowance->timeout_s * G_USEC_PER_SEC);
}

static gboolean
can_switch (const GwConverge *converge, const GwAllowance *allowance, const GwSample *now,
            const GwEstimate *estimate)
{
    if (!now->is_start || now->round < FIRST_ROUND || estimate->downtime_ms < 0 ||
        estimate->downtime_ms > get_ceiling_ms (allowance))
        return FALSE;
    gint64 send_ms = estimate->downtime_ms - get_fixed_ms (allowance, now);
    if (is_round_cheap (converge, allowance, now, estimate))
        return FALSE;
    return send_ms <= allowance->max_downtime_ms / SHARE_EARLY ||
           foresee_gain (converge, estimate) >= GAIN_ROUND;
}

static gboolean
has_no_patience (const GwConverge *converge, const GwSample *now)
{
    return converge->n_hopeless >= PATIENCE_ROUNDS &&
           now->at_us - converge->hopeless_us >= PATIENCE_US;
}

/* A guest that is throttled gets the time that it takes, but not for ever. */
static GwDecision
decide_throttled (const GwConverge *converge, const GwAllowance *allowance, const GwSample *now)
{
    gboolean is_at_end = now->throttle_percent >= THROTTLE_FULL && has_no_patience (converge, now);
    gboolean is_late = allowance->timeout_s > 0 &&
                       now->at_us / G_USEC_PER_SEC > LATE_FACTOR * allowance->timeout_s;
    return is_at_end || is_late ? GW_GIVE_UP : GW_GO_ON;
}

static GwDecision
decide_late (const GwConverge *converge, const GwAllowance *allowance, const GwSample *now,
             gboolean can_move)
{
    if (converge->is_throttled)
        return decide_throttled (converge, allowance, now);
    switch (allowance->on_timeout) {
    case GW_LATE_POSTCOPY:
        if (!allowance->can_postcopy)
            return GW_GIVE_UP;
        return can_move ? GW_POSTCOPY : GW_GO_ON;
    case GW_LATE_THROTTLE:
        return GW_THROTTLE;
    case GW_LATE_STOP:
        return can_move ? GW_FORCE : GW_GO_ON;
    case GW_LATE_ABORT:
    default:
        return GW_GIVE_UP;
    }
}

static GwDecision
decide_hopeless (const GwConverge *converge, const GwAllowance *allowance, const GwSample *now)
{
    if (converge->is_throttled)
        return decide_throttled (converge, allowance, now);
    if (allowance->can_postcopy)
        return GW_POSTCOPY;
    if (allowance->on_timeout == GW_LATE_THROTTLE)
        return GW_THROTTLE;
    if (allowance->timeout_s > 0 || !has_no_patience (converge, now))
        return GW_GO_ON; /* guests have moods */
    return allowance->on_timeout == GW_LATE_STOP ? GW_FORCE : GW_GIVE_UP;
}

static void
make_estimate (const GwConverge *converge, const GwAllowance *allowance, GwEstimate *ret)
{
    const GwSample *now = get_sample (converge, 0);
    ret->rate_bps = measure_rate (converge);
    ret->downtime_ms = estimate_ms (allowance, now, ret->rate_bps);
    ret->need_ms = converge->least_ms > 0 ? converge->least_ms : ret->downtime_ms;
    ret->dirty_bps = get_median_dirty (converge);
    ret->is_stalled = is_stalled (converge);
    ret->is_hopeless = converge->hopeless_us != 0;
}

GwDecision
gw_converge_decide (const GwConverge *converge, const GwAllowance *allowance,
                    GwEstimate *ret_estimate)
{
    const GwSample *now = get_sample (converge, 0);
    make_estimate (converge, allowance, ret_estimate);
    gboolean can_move = !now->is_outage && !ret_estimate->is_stalled;
    if (can_move && can_switch (converge, allowance, now, ret_estimate))
        return GW_SWITCH;
    if (can_move && allowance->is_postcopy_wanted && allowance->can_postcopy)
        return GW_POSTCOPY;
    if (allowance->timeout_s > 0 && now->at_us / G_USEC_PER_SEC >= allowance->timeout_s)
        return decide_late (converge, allowance, now, can_move);
    if (can_move && ret_estimate->is_hopeless)
        return decide_hopeless (converge, allowance, now);
    return GW_GO_ON;
}

char *
gw_converge_explain (const GwConverge *converge, const GwAllowance *allowance)
{
    GwEstimate estimate;
    make_estimate (converge, allowance, &estimate);
    g_autofree char *dirty = gw_text_bytes ((guint64) estimate.dirty_bps);
    g_autofree char *rate = gw_text_bytes ((guint64) estimate.rate_bps);
    GString *text = g_string_new (NULL);
    if (converge->least_ms == 0) {
        g_autofree char *left = gw_text_bytes ((guint64) get_sample (converge, 0)->left_bytes);
        g_string_append_printf (text,
                                "the first pass over its memory is not done, so it is not known how much "
                                "the guest dirties: %s are left, the link carries %s/s",
                                left, rate);
        return g_string_free (text, FALSE);
    }
    g_string_append_printf (text,
                            "the guest dirties %s/s, the link carries %s/s: it needs %.1f s of "
                            "downtime, %" G_GINT64_FORMAT " ms are allowed; allow it with "
                            "--max-downtime %" G_GINT64_FORMAT,
                            dirty, rate, (double) estimate.need_ms / 1000,
                            allowance->max_downtime_ms, get_advice_ms (estimate.need_ms));
    if (!allowance->can_postcopy)
        g_string_append (text, ", or --postcopy auto");
    return g_string_free (text, FALSE);
}
