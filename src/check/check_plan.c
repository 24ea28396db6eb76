/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the options ask for. */
#include "check-internal.h"

#include <string.h>

void
gw_check_options (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwPlan *plan = input->plan;
    guint before = sink->results->len;
    if (plan->resumes_disks && strcmp (plan->verify, "none") == 0)
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "--resume-disks: what is there already must be compared, and --verify says none");
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "nothing is asked for that this version lacks");
}
