/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stand-in for QEMU's side of a QMP socket, for tests: a thread that takes one client and plays a
 * script.  Scripts are plain functions that speak and hear; each wait in them has a limit.  What a
 * script finds wrong aborts the test.
 */
#ifndef TEST_QMP_SERVER_H
#define TEST_QMP_SERVER_H

#include "qmp.h"

typedef struct _Server Server;
typedef void (*ServerScript) (Server *server);

/* A command as it came. */
typedef struct {
    JsonNode *root; /* owned */
    const char *name;
    JsonObject *arguments; /* NULL when there were none */
    gboolean is_oob;
    gint64 id;
} Heard;

void heard_clear (Heard *heard);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Heard, heard_clear)

/* A directory of its own, removed by server_free(). */
Server *server_new (void);
void server_free (Server *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Server, server_free)
const char *server_path (const Server *server);

/* Listens, and plays `script` for the first client in a thread; the socket is closed at its end. */
void server_start (Server *server, ServerScript script);
/* Listens with room for `backlog` clients and takes none. */
void server_listen (Server *server, int backlog);
/* Removes socket and directory while the connection goes on: for a test that will abort. */
void server_hide (Server *server);
/* Waits for the end of the script. */
void server_join (Server *server);

/* In scripts. */
extern const char server_greeting[]; /* of a QEMU 7.2.22 that offers oob */
void server_say (Server *server, const char *text);
void server_say_bytes (Server *server, const char *bytes, gsize len);
/* The same, every byte by itself. */
void server_drip (Server *server, const char *text);
/* `format` with the id of `heard` for its %d. */
void server_answer (Server *server, const Heard *heard, const char *format);
Heard server_hear (Server *server);
/* Hears one command, whatever it is. */
void server_skip (Server *server);
/* Whether the client stays silent for `ms`. */
gboolean server_hears_nothing (Server *server, int ms);
/* The client closed the connection. */
void server_hear_end (Server *server);
/* The file descriptor that came with what was heard last, or -1. */
int server_take_fd (Server *server);
/* How many came since the start. */
guint server_count_fds (const Server *server);
/* Greets and negotiates. */
void server_welcome (Server *server);

#endif
