/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * predict: how long a move will take, how long the guest will stand still, and whether it converges.
 * Pure.
 *
 * Theory
 * ------
 * What decides in the move (converge.h) decides here as well: it is given the samples that it would
 * see of a link with the measured rate and of a guest that writes as measured, round by round, until
 * it says how the copying ends.
 *
 * The guest.  One that writes `r` bytes a second, spread over `w` bytes of its memory, has dirtied
 * w (1 - e^(-r t / w)) after t.  Two measurements over different times give both numbers; with one
 * alone `w` is all of its memory.
 *
 * The link.  QEMU sends the pages that hold something, at the measured rate; those that hold nothing
 * cost time to be looked at; before that, what the disks hold that are copied.  What the handover costs besides is what the rehearsal measured, and a
 * part that depends on neither (SWITCH_MS).
 *
 * The codec.  Where the RAM codec is used, the first pass goes faster by what samples of memory shrank to, later
 * ones by what is new in pages that changed, as far as the codec's memory holds what they were; neither faster
 * than couriers carry pages (CODEC_BPS).
 *
 * The range.  The same again with a link and a guest that are better, and worse, by what such
 * measurements are usually wrong by; more where something could not be measured.
 */
#ifndef GW_PREDICT_H
#define GW_PREDICT_H

#include "converge.h"

/* -1 where it is not known, but for ram_bytes and rate_bps. */
typedef struct {
    gint64 ram_bytes, filled_bytes;
    gint64 changed_bytes, changed_us; /* of pages that changed within that time */
    gint64 later_bytes, later_us;     /* the same within a longer one */
    gint64 rate_bps;                  /* the link's */
    gint64 rtt_us;
    gint64 state_bytes, load_us;      /* of the devices, by the rehearsal */
    gint64 packed_permille, again_permille; /* of first sends and of those again, by the codec */
    gint64 codec_bytes;               /* its memory; 0: there is none */
    gint64 proof_ms;                  /* in which memory is compared, with the guest stopped */
    gint64 disk_bytes;                /* to be copied before memory is */
    gint64 setup_ms;                  /* of the job, until either begins to flow */
    gboolean is_running;
} GwPredictInput;

typedef struct {
    gint64 low, likely, high;
} GwRange;

typedef enum { GW_CONFIDENCE_LOW, GW_CONFIDENCE_MEDIUM, GW_CONFIDENCE_HIGH } GwConfidence;

typedef struct {
    GwRange total_ms, downtime_ms;
    GwDecision ends_by; /* GW_SWITCH, GW_FORCE, GW_POSTCOPY, GW_GIVE_UP */
    gint64 write_bps, spread_bytes; /* the guest: r and w above */
    GwConfidence confidence;
} GwPrediction;

GwPrediction gw_predict (const GwPredictInput *given, const GwAllowance *allowance);
/* "about 12 s (9 to 17) ...", one line.  (transfer full) */
char *gw_prediction_tell (const GwPrediction *prediction, const GwAllowance *allowance);
const char *gw_confidence_name (GwConfidence confidence);

#endif
