/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "predict.h"

#include <math.h>

#define ZERO_BPS 4e9     /* of pages that hold nothing: looked at, and eight bytes sent for each */
#define SWITCH_MS 30     /* both QEMUs stop, save, load and start, whatever the devices are */
#define LOAD_SHARE 0.3   /* of what loading took in the rehearsal, which had to ask for pages */
#define DISK_MS 40       /* more, where disks are copied: they end and are compared with the guest stopped */
#define POSTCOPY_MS 45   /* and that, for what the destination has to forget and its first pages */
#define SWITCH_TRIPS 3   /* over the link, meanwhile */
#define STATE_BYTES 200000 /* of the devices, when no rehearsal tells */
#define CODEC_BPS 500e6  /* of pages that two couriers carry, when hardly anything is left of them */
#define LITERAL_PERMILLE 1000
#define ROUNDS_MAX 2000
#define SECONDS_MAX 1e6
#define SATURATED 5      /* times what was seen: it writes the same again before anyone looks */
#define SLOWDOWN 0.9     /* of a guest that is throttled, each round */

#define BYTES_MAX (G_GINT64_CONSTANT (1) << 50)
#define US_MAX (G_GINT64_CONSTANT (1) << 50)

static gint64
to_int (double value)
{
    return isfinite (value) ? (gint64) CLAMP (value, -1e17, 1e17) : 0;
}

/* --- the guest ----------------------------------------------------------------------------------------- */

typedef struct {
    double write_bps, spread_bytes;
} Guest;

static double
get_dirty (const Guest *guest, double seconds)
{
    if (guest->write_bps <= 0 || guest->spread_bytes <= 0)
        return 0;
    return guest->spread_bytes * -expm1 (-guest->write_bps * seconds / guest->spread_bytes);
}

/* The `x` with (1 - e^(-k x)) / (1 - e^(-x)) = ratio, for 1 < ratio < k: it falls as x grows. */
static double
solve_ratio (double ratio, double k)
{
    double low = 1e-6, high = 50;
    for (guint i = 0; i < 100; i++) {
        double x = (low + high) / 2;
        if (expm1 (-k * x) / expm1 (-x) > ratio)
            low = x;
        else
            high = x;
    }
    return (low + high) / 2;
}

static Guest
fit_one (double bytes, double seconds, double most_bytes)
{
    bytes = MIN (bytes, 0.98 * most_bytes);
    double share = most_bytes > 0 ? bytes / most_bytes : 0;
    return (Guest) { share > 0 ? -log1p (-share) * most_bytes / seconds : 0, most_bytes };
}

/* Two windows tell the spread when the longer one saw less than in proportion. */
static Guest
fit_two (double first, double first_s, double later, double later_s, double most)
{
    double k = later_s / first_s;
    if (later >= 0.95 * k * first)
        return fit_one (later, later_s, most);
    if (later <= 1.02 * first)
        return (Guest) { SATURATED * first / first_s, MIN (first, most) };
    double x = solve_ratio (later / first, k);
    double spread = MIN (first / -expm1 (-x), most);
    return (Guest) { x * spread / first_s, spread };
}

static Guest
fit_guest (const GwPredictInput *input)
{
    double most = (double) (input->filled_bytes > 0 ? input->filled_bytes : input->ram_bytes);
    double first_s = (double) input->changed_us / G_USEC_PER_SEC;
    double later_s = (double) input->later_us / G_USEC_PER_SEC;
    gboolean has_first = input->changed_bytes > 0 && first_s > 0;
    gboolean has_later = input->later_bytes > 0 && later_s > 0;
    if (!input->is_running || (!has_first && !has_later))
        return (Guest) { 0, 0 };
    if (!has_first || later_s < 1.5 * first_s)
        return has_later ? fit_one ((double) input->later_bytes, later_s, most)
                         : fit_one ((double) input->changed_bytes, first_s, most);
    return fit_two ((double) input->changed_bytes, first_s, (double) MAX (input->later_bytes, 0),
                    later_s, most);
}

/* --- the move -------------------------------------------------------------------------------------------- */

typedef struct {
    Guest guest;
    double rate_bps;              /* of the link, */
    double first_bps, again_bps;  /* and of pages by the codec */
    double filled_bytes, zero_bytes;
    double state_bytes, fixed_s; /* of the handover */
    gint64 rtt_us;
    gint64 setup_ms; /* the disks included */
    gboolean is_running;
} World;

typedef struct {
    GwDecision ends_by;
    double total_ms, downtime_ms;
} Outcome;

static double
get_switch_s (const World *world, double left_bytes)
{
    return left_bytes / world->again_bps + world->state_bytes / world->rate_bps + world->fixed_s;
}

static Outcome
conclude (const World *world, GwDecision by, double seconds, double left_bytes)
{
    double now = by == GW_POSTCOPY ? 0 : left_bytes, later = left_bytes - now;
    double more_s = by == GW_POSTCOPY ? POSTCOPY_MS / 1000.0 : 0;
    double down_s = by == GW_GIVE_UP ? 0 : get_switch_s (world, now) + more_s;
    double after_s = by == GW_GIVE_UP ? 0 : later / world->first_bps;
    return (Outcome) { by, (double) world->setup_ms + (seconds + down_s + after_s) * 1000,
                        world->is_running ? down_s * 1000 : 0 };
}

/* What the policy sees at the beginning of a round, and what it says. */
static GwDecision
ask (GwConverge *converge, const GwAllowance *allowance, const World *world, gint64 round,
     double seconds, double left_bytes, double acked_bytes, double last_s)
{
    double rate_bps = round <= 2 ? world->first_bps : world->again_bps;
    GwSample sample = {
        .at_us = to_int ((double) world->setup_ms * 1000 + seconds * G_USEC_PER_SEC),
        .round = round,
        .is_start = TRUE,
        .left_bytes = to_int (left_bytes),
        .dirty_bps = last_s > 0 ? to_int (left_bytes / last_s) : 0,
        .qemu_bps = to_int (rate_bps),
        .acked_bytes = to_int (acked_bytes),
        .rtt_us = world->rtt_us,
    };
    GwEstimate estimate;
    gw_converge_add (converge, allowance, &sample);
    return gw_converge_decide (converge, allowance, &estimate);
}

static gboolean
is_end (GwDecision decision)
{
    return decision != GW_GO_ON && decision != GW_THROTTLE;
}

static Outcome
play (World world, const GwAllowance *allowance)
{
    GwConverge converge = { .n_samples = 0 };
    double seconds = 0, acked = 0, left = world.filled_bytes;
    GwDecision decision = ask (&converge, allowance, &world, 1, 0, left, 0, 0);
    for (gint64 round = 1; round < ROUNDS_MAX && seconds < SECONDS_MAX && !is_end (decision); round++) {
        double round_s = round == 1 ? left / world.first_bps + world.zero_bytes / ZERO_BPS : left / world.again_bps;
        seconds += round_s;
        acked += left;
        left = get_dirty (&world.guest, round_s);
        decision = ask (&converge, allowance, &world, round + 1, seconds, left, acked, round_s);
        if (decision == GW_THROTTLE)
            gw_converge_note_throttle (&converge);
        if (converge.is_throttled)
            world.guest.write_bps *= SLOWDOWN;
    }
    return conclude (&world, is_end (decision) ? decision : GW_GIVE_UP, seconds, left);
}

/* --- the range ---------------------------------------------------------------------------------------------- */

/* Bytes of pages a second, where so many of a thousand pass the link. */
static double
get_codec_bps (double rate_bps, double permille)
{
    double bps = rate_bps * 1000 / MAX (permille, 1);
    return MAX (rate_bps, MIN (bps, CODEC_BPS));
}

static void
set_rates (World *world, const GwPredictInput *input)
{
    double first = input->packed_permille >= 0 ? (double) input->packed_permille : LITERAL_PERMILLE;
    double again = input->again_permille >= 0 ? MIN ((double) input->again_permille, first) : first;
    double known = world->guest.spread_bytes > 0 ? (double) input->codec_bytes / world->guest.spread_bytes : 1;
    world->first_bps = world->again_bps = world->rate_bps;
    if (input->codec_bytes <= 0)
        return;
    known = MIN (known, 1);
    world->first_bps = get_codec_bps (world->rate_bps, first);
    world->again_bps = get_codec_bps (world->rate_bps, known * again + (1 - known) * first);
}

/* `luck` above 0 is a faster link and a guest that writes less; 0.25: by a quarter. */
static World
make_world (const GwPredictInput *input, double luck)
{
    double ram = (double) input->ram_bytes;
    double filled = input->filled_bytes >= 0 ? (double) input->filled_bytes : ram * (luck > 0 ? 0.3 : 1);
    World world = { .guest = fit_guest (input), .rtt_us = input->rtt_us, .setup_ms = input->setup_ms,
                    .is_running = input->is_running };
    world.rate_bps = (double) input->rate_bps * (1 + 0.6 * luck);
    world.guest.write_bps *= 1 - luck;
    set_rates (&world, input);
    world.filled_bytes = CLAMP (filled - luck * ram / 50, 0, ram);
    world.setup_ms += to_int ((double) input->disk_bytes / world.rate_bps * 1000);
    world.zero_bytes = ram - world.filled_bytes;
    world.state_bytes = (double) (input->state_bytes > 0 ? input->state_bytes : STATE_BYTES);
    double both_ms = SWITCH_MS + (input->disk_bytes > 0 ? DISK_MS : 0);
    double load_ms = LOAD_SHARE * (double) MAX (input->load_us, 0) / 1000 +
                     (double) input->proof_ms * (1 - luck / 2);
    world.fixed_s =
        (both_ms * (1 - luck) + load_ms + SWITCH_TRIPS * (double) input->rtt_us / 1000) / 1000;
    return world;
}

static gint64
to_ms (double ms)
{
    return CLAMP (to_int (ms + 0.5), 0, US_MAX);
}

static void
widen (GwRange *range, double value)
{
    gint64 ms = to_ms (value);
    range->low = MIN (range->low, ms);
    range->high = MAX (range->high, ms);
}

/* Whatever the measurements say, in bounds in which the arithmetic means something. */
static GwPredictInput
bound (const GwPredictInput *given)
{
    GwPredictInput input = *given;
    input.ram_bytes = CLAMP (input.ram_bytes, 0, BYTES_MAX);
    input.filled_bytes = CLAMP (input.filled_bytes, -1, input.ram_bytes);
    input.changed_bytes = CLAMP (input.changed_bytes, -1, BYTES_MAX);
    input.later_bytes = CLAMP (input.later_bytes, -1, BYTES_MAX);
    input.changed_us = CLAMP (input.changed_us, 0, US_MAX);
    input.later_us = CLAMP (input.later_us, 0, US_MAX);
    input.rate_bps = CLAMP (input.rate_bps, 1, BYTES_MAX);
    input.rtt_us = CLAMP (input.rtt_us, 0, US_MAX);
    input.state_bytes = CLAMP (input.state_bytes, -1, BYTES_MAX);
    input.load_us = CLAMP (input.load_us, -1, US_MAX);
    input.packed_permille = CLAMP (input.packed_permille, -1, LITERAL_PERMILLE);
    input.again_permille = CLAMP (input.again_permille, -1, LITERAL_PERMILLE);
    input.codec_bytes = CLAMP (input.codec_bytes, 0, BYTES_MAX);
    input.proof_ms = CLAMP (input.proof_ms, 0, US_MAX / 1000);
    input.disk_bytes = CLAMP (input.disk_bytes, 0, BYTES_MAX);
    input.setup_ms = CLAMP (input.setup_ms, 0, US_MAX);
    return input;
}

static gboolean
is_measured (const GwPredictInput *input)
{
    return input->filled_bytes >= 0 && input->load_us >= 0 &&
           (!input->is_running || (input->changed_bytes >= 0 && input->later_bytes >= 0));
}

GwPrediction
gw_predict (const GwPredictInput *given, const GwAllowance *allowance)
{
    const GwPredictInput bounded = bound (given), *input = &bounded;
    static const double lucks[] = { 0.25, -0.25 };
    Outcome likely = play (make_world (input, 0), allowance);
    Guest guest = fit_guest (input);
    gint64 total = to_ms (likely.total_ms), downtime = to_ms (likely.downtime_ms);
    GwPrediction p = { .total_ms = { total, total, total },
                       .downtime_ms = { downtime, downtime, downtime },
                       .ends_by = likely.ends_by,
                       .write_bps = to_int (guest.write_bps),
                       .spread_bytes = to_int (guest.spread_bytes),
                       .confidence = is_measured (input) ? GW_CONFIDENCE_HIGH : GW_CONFIDENCE_MEDIUM };
    for (guint i = 0; i < G_N_ELEMENTS (lucks); i++) {
        Outcome other = play (make_world (input, lucks[i]), allowance);
        widen (&p.total_ms, other.total_ms);
        widen (&p.downtime_ms, other.downtime_ms);
        if (other.ends_by != likely.ends_by)
            p.confidence = GW_CONFIDENCE_LOW;
    }
    return p;
}

/* --- words ------------------------------------------------------------------------------------------------------ */

const char *
gw_confidence_name (GwConfidence confidence)
{
    static const char *const names[] = { "low", "medium", "high" };
    return names[confidence];
}

char *
gw_prediction_tell (const GwPrediction *p, const GwAllowance *allowance)
{
    g_autofree char *writes = gw_text_bytes ((guint64) p->write_bps);
    const double total_s = (double) p->total_ms.likely / 1000;
    if (p->ends_by == GW_GIVE_UP)
        return g_strdup_printf (
            "it will not converge: the guest writes %s/s; given up after about %.0f s", writes, total_s);
    return g_strdup_printf (
        "about %.1f s (%.1f to %.1f), the guest stands still for about %" G_GINT64_FORMAT
        " ms (%" G_GINT64_FORMAT " to %" G_GINT64_FORMAT ")%s; it writes %s/s",
        total_s, (double) p->total_ms.low / 1000, (double) p->total_ms.high / 1000,
        p->downtime_ms.likely, p->downtime_ms.low, p->downtime_ms.high,
        p->ends_by == GW_POSTCOPY ? ", going over to postcopy"
        : p->ends_by == GW_FORCE  ? ", which is more than allowed"
                                  : "",
        writes);
}
