/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files about the courier of this side share. */
#ifndef GW_COURIERCTL_H
#define GW_COURIERCTL_H

#include "host-internal.h"

struct _GwCourierControl {
    GwHost *host; /* borrowed */
    GMainContext *context;
    GwProcess *process;
    char *socket_path; /* of the lane that the courier listens on; NULL on the destination */
    GwFd control;
    GSource *source;
    GString *input;
    gboolean is_ready, is_done, is_ended, is_stopping; /* is_done: every lane ended cleanly */
    gboolean has_probe, is_spooling, is_leased; /* the answers to these have come */
    gint64 probe_rtt_us;             /* -1: the link did not answer */
    GError *failure;   /* what it said before it ended */
    JsonObject *stats; /* the last answer */
    guint n_stats, n_stats_before; /* answers; and before the one that is waited for */
    JsonObject *proof; /* the answer to that; NULL: none so far */
    char *refusal;     /* of a command; NULL: none */
};

/* --- courierctl.c -------------------------------------------------------------------------------------- */

/* One without a process, at the end `control` (transfer full) of its socket. */
GwCourierControl *gw_courier_new (const GwCourierSpec *spec, int control);
void gw_courier_on_exit (GwProcess *process, gpointer user_data);
/* `command` (transfer full) */
void gw_courier_send (GwCourierControl *courier, JsonObject *command);
/* The line with the descriptor beside it. */
void gw_courier_send_with_fd (GwCourierControl *courier, JsonObject *command, int fd);

#endif
