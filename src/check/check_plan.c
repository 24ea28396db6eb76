/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the options ask for. */
#include "check-internal.h"

#include <string.h>

void
gw_check_options (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwPlan *plan = input->plan;
    guint before = sink->results->len;
    if (strcmp (plan->postcopy, "now") == 0)
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "--postcopy now: this version moves by precopy only");
    if (plan->resumes_disks && strcmp (plan->verify, "none") == 0)
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "--resume-disks: what is there already must be compared, and --verify says none");
    if (plan->timeout_s > 0 && strcmp (plan->on_timeout, "throttle") == 0)
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "--on-timeout throttle: this version has 'stop' and 'abort'");
    if (plan->timeout_s > 0 && strcmp (plan->on_timeout, "postcopy") == 0)
        gw_check_add (sink, GW_VERDICT_WARNING,
                      "--on-timeout postcopy: this version has no postcopy; when the time is up, the VM "
                      "stays on the source");
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "nothing is asked for that this version lacks");
}
