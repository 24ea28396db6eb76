/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two kinds of peers for the tests of src/rpc: a bare file descriptor whose bytes the test writes
 * and reads itself, and a small server that runs in a thread or a process of its own. */
#ifndef TEST_RPC_PEERS_H
#define TEST_RPC_PEERS_H

#include "rpc-private.h"

#define TEST_MS 10000 /* no test waits longer for what must happen */

/* --- a bare peer --- */

typedef struct {
    GMainContext *context;
    GwRpc *rpc;
    int fd; /* the other end of its socket pair */
} Bare;

void bare_init (Bare *bare);
void bare_clear (Bare *bare);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Bare, bare_clear)
void bare_close (Bare *bare);
void bare_write (Bare *bare, const char *text);
/* The next line that the GwRpc wrote, iterating its context meanwhile; NULL at the end. */
char *bare_read_line (Bare *bare);
/* Iterates until nothing is left to do. */
void bare_settle (Bare *bare);
/* Iterates until the connection is closed. */
void bare_wait_closed (Bare *bare);
/* Does hello as a client would and reads the answer. */
void bare_hello (Bare *bare);

/* --- a server --- */

/* Serves one connection until it ends:
 *   host.facts  answers its params            vm.list     answers the error link-lost
 *   job.status  never answers                 job.watch   sends params.n events, then answers
 *   job.list    is answered after the next report.list     job.close   closes without an answer
 *   report.get  answers params.bytes bytes    job.abort   answers, then ends in good order */
void serve (GIOStream *stream, GMainContext *context);

/* A client connected to a server in a thread with a context of its own. */
typedef struct {
    GMainContext *context;
    GwRpc *rpc;
    GThread *thread;
} Served;

void served_init (Served *served);
void served_clear (Served *served);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Served, served_clear)

/* --- both --- */

GIOStream *stream_of_fd (int fd); /* takes it */
JsonObject *object_of (const char *json);
JsonObject *object_int (const char *name, gint64 value);
char *text_of (JsonNode *node);
void assert_cause (GError *error, GwCause cause, const char *in_message);

#endif
