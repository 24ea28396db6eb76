/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the tests of the QMP client do and expect on their own side. */
#ifndef TEST_QMP_CLIENT_H
#define TEST_QMP_CLIENT_H

#include "base.h"
#include "test-qmp-server.h"

#define LIMIT_MS 20000 /* of every wait */

GwQmp *connect_to (Server *server);
/* `error` is of that cause and its message holds `part`. */
void assert_error (const GError *error, GwCause cause, const char *part);
/* A call fails so. */
void assert_call_fails (GwQmp *qmp, GwQmpCommand command, guint timeout_ms, GwCause cause,
                        const char *part);
/* A call returns an object. */
void assert_call_works (GwQmp *qmp, GwQmpCommand command);
/* Hears one command and answers it with an empty object: for scripts. */
void serve (Server *server, const char *name);
/* A source callback that cancels `user_data`. */
gboolean cancel_it (gpointer user_data);

/* What the callbacks of a client were told, in order. */
typedef struct {
    GString *log;
    gint64 at_us; /* of the last event */
    GwQmp *qmp;   /* freed by the next callback when set */
} Log;

/* Takes the events and the end of `qmp`. */
void log_init (Log *log, GwQmp *qmp);
void log_clear (Log *log);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Log, log_clear)
/* A GwQmpReplyFn: the reply as JSON, or the code of the cause. */
void log_reply (JsonNode *reply, const GError *error, gpointer user_data);
void wait_for_log (Log *log, const char *part);

#endif
