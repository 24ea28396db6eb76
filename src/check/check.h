/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check: what can be known to fail before anything moves.
 *
 * Theory
 * ------
 * A check is a row of checks.def and a pure function over facts: the VM as it runs, the command line
 * derived for the destination, the facts of both hosts, and the plan.  It answers ok, warning or
 * refused, with one sentence that names the values found.  Nothing here asks anybody anything, so a
 * check can be tested with made-up facts, and the same verdicts come out of `godwit check` and of
 * the first steps of `godwit migrate`.
 *
 * Refused means that the move would certainly fail or harm; it ends with exit status 2 and the cause
 * of the row, and nothing was touched.  A warning is shown and the move goes on.
 */
#ifndef GW_CHECK_H
#define GW_CHECK_H

#include "base.h"
#include "model.h"

typedef enum { GW_VERDICT_OK, GW_VERDICT_WARNING, GW_VERDICT_REFUSED } GwVerdict;

typedef struct {
    const GwPlan *plan;
    const GwVm *vm;
    const GwDerived *derived;
    const GwHostFacts *source, *destination; /* paths of both in the order of derived->needs */
} GwCheckInput;

typedef struct {
    const char *check; /* name of the row */
    GwVerdict verdict;
    GwCause cause; /* of a refusal */
    char *text;
} GwCheckResult;

/* Runs all rows in order.  GPtrArray of GwCheckResult, at least one a row.  (transfer full) */
GPtrArray *gw_check_run (const GwCheckInput *input);
/* What becomes of each disk of the VM, in its order.  Pure.  (transfer full) */
GwDiskPlans *gw_check_plan_disks (const GwCheckInput *input);
/* An empty list of them.  (transfer full) */
GPtrArray *gw_check_results_new (void);
/* The first refusal, or NULL. */
const GwCheckResult *gw_check_find_refusal (const GPtrArray *results);
/* {"check","verdict","cause","text"} of each.  (transfer full) */
JsonArray *gw_check_to_json (const GPtrArray *results);
const char *gw_verdict_name (GwVerdict verdict);
/* A result of `check` (static), which no row gave: `cause` is that of a refusal. */
void gw_check_append (GPtrArray *results, const char *check, GwVerdict verdict, GwCause cause,
                      const char *text);

/* --- compare.c: two QEMUs -------------------------------------------------------------------------- */

/* Compares what is inside the VM's QEMU with what is inside one of the destination, by the rows of
 * compare.def, and puts their results behind `results`, in place of earlier ones of these rows.  The first
 * refusal (borrowed), NULL: there is none.  Pure. */
const GwCheckResult *gw_check_compare (GPtrArray *results, const GwInventory *source,
                                       const GwInventory *destination);
/* The names of the bits that are set in a word of CPUID ("0x7/0 EBX").  (transfer full) */
char *gw_check_name_cpu_bits (const char *word, gint64 bits);

#endif
