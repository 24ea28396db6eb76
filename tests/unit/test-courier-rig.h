/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two couriers on the loopback address, with the test in the place of both QEMUs and both agents.
 *
 * Every wait has RIG_WAIT_MS and fails the test when it passes.  What rig_clear() finds running is
 * killed by its process id.
 */
#ifndef GW_TEST_COURIER_RIG_H
#define GW_TEST_COURIER_RIG_H

#include "link.h"

#include <sys/types.h>

#define RIG_WAIT_MS 20000

typedef struct {
    pid_t pid;      /* 0 when it was waited for */
    int control;    /* the agent's end */
    int allow;      /* the agent's end of --dialer-fd */
    GString *lines; /* of events, not yet looked at */
} RigSide;

typedef struct {
    char *dir;
    char *path[2]; /* unix sockets of the lane "ram" */
    const char *words; /* behind the lane's path; NULL: none.  Set it before the couriers start */
    guint port;
    int listener; /* TCP, as the agent binds it */
    int incoming; /* unix, as the destination's QEMU listens */
    RigSide source, destination;
} Rig;

/* Sockets and a directory; no courier yet. */
void rig_init (Rig *rig);
void rig_clear (Rig *rig);

/* Starts a courier; `extra` (may be NULL) are further arguments.  `secret` is of `len` bytes. */
void rig_start (Rig *rig, GwSide side, const char *secret, gsize len, const char *const *extra);

/* Both couriers with one secret, connected. */
void rig_start_both (Rig *rig);

/* The local programs' connected sockets, blocking with a time limit. */
void rig_open_lane (Rig *rig, int *ret_source, int *ret_destination);
/* The directory, both couriers and the lane; and the end of all that. */
void rig_open (Rig *rig, int *ret_source, int *ret_destination);
void rig_close (Rig *rig, int source, int destination);

/* Waits for a line that contains `text` and returns it (transfer full). */
char *rig_expect (RigSide *side, const char *text);
void rig_hear (RigSide *side, const char *text);
/* Both say that they are done, and end with 0. */
void rig_expect_done (Rig *rig);
/* It says that it failed because of `cause`, and ends with 3. */
void rig_expect_failed (RigSide *side, const char *cause);
/* The local program sees its socket closed: nothing to read, nobody to write to. */
void rig_expect_closed (int fd);
/* Reads the events that are there, for rig_expect(); a courier whose agent does not read ends. */
void rig_drain (RigSide *side);
/* Says {"command":COMMAND}. */
void rig_command (RigSide *side, const char *command);
/* Says a whole line. */
void rig_say (RigSide *side, const char *line);
/* Lets the courier's dialer make `target`, "connect PATH" for instance. */
void rig_allow (RigSide *side, const char *target);
/* Waits for the exit; returns the status, or 128 + the signal. */
int rig_wait (RigSide *side);

int rig_connect_tcp (const Rig *rig);
int rig_connect_unix (const char *path);
int rig_listen_unix (const char *path);

/* The next `len` bytes of the stream of `state`, which begins as the seed. */
void rig_make_bytes (guint32 *state, uint8_t *bytes, gsize len);
/* A thread that writes `len` bytes made from `seed`, and shuts its direction down if asked. */
GThread *rig_write (int fd, guint32 seed, gsize len, gboolean shuts_down);
/* Reads up to the end of file, or `len` bytes if that comes first, and checks that they are those
 * of `seed` by SHA-256.  Returns how many there were. */
gsize rig_read (int fd, guint32 seed, gsize len);
/* The same up to the end of file in a thread, whose result is the number. */
GThread *rig_read_thread (int fd, guint32 seed);

#endif
