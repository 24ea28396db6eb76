/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes: what /proc says of one, children, others, and how they ended. */
#ifndef GW_PROCESS_H
#define GW_PROCESS_H

#include "host-service.h"

/* --- procfs.c: what /proc says of a process --------------------------------------------------------------- */

/* Fills pid, start_time, uid, user, binary, cwd and argv of `vm`. */
gboolean gw_procfs_read_process (pid_t pid, GwVm *vm, GError **error);
/* The words of its command line.  (transfer full) */
GStrv gw_procfs_read_argv (pid_t pid, GError **error);
/* A process, other than this one, with the word `option` in its command line and `value` right after it; 0: none. */
pid_t gw_procfs_find (const char *option, const char *value);
/* Clock ticks since boot at which `pid` started, 0 when there is no such process or it is a zombie. */
gint64 gw_procfs_get_start_time (pid_t pid);
/* Whether the process has the very file open that `file` leads to now: one that was removed under it and made
 * anew has only the name.  TRUE also where its open files cannot be listed. */
gboolean gw_procfs_has_open (pid_t pid, const char *file);

/* --- priority.c: how urgent the kernel takes a process --------------------------------------------------------- */

/* All threads of the process, and its session if it has one of its own, by `nice` (GW_NICE_MIN to GW_NICE_MAX) beside
 * this process; 0 leaves them alone.  Best effort: it takes CAP_SYS_NICE to go first. */
void gw_priority_set (pid_t pid, gint64 nice);
/* As if that had not been: as this process, and the session as a new one. */
void gw_priority_reset (pid_t pid);
int gw_priority_add (int ours, gint64 nice);
/* pid_t, of all of the process's threads; none when it has ended.  (transfer full) */
GArray *gw_priority_list_threads (pid_t pid);

/* --- haste.c: the threads of a migration ----------------------------------------------------------------------- */

typedef struct _GwHaste GwHaste;

/* Looks which threads the process has. */
GwHaste *gw_haste_new (pid_t pid);
/* Those that have come since get `nice` beside what they have; 0 leaves them alone.  Best effort. */
void gw_haste_begin (GwHaste *haste, gint64 nice);
/* They are as they were. */
void gw_haste_free (GwHaste *haste);

/* --- process.c: a child process ------------------------------------------------------------------------------------------ */

typedef struct _GwProcess GwProcess;
typedef struct {
    const char *const *argv;
    const char *cwd;      /* NULL: ours */
    const char *log_path; /* standard output and error are appended to it */
    const char *user;     /* name of the user to become, NULL: stay */
    const int *fds;       /* n_fds descriptors (transfer full) that the child gets as 3, 4, ... */
    guint n_fds;
    gboolean dies_with_us; /* killed when the thread that starts it ends, however that comes */
} GwProcessSpec;
typedef void (*GwProcessExitFn) (GwProcess *process, gpointer user_data);

/* Starts a child in a session of its own.  `exit_fn` is called once in `context` when it ends. */
GwProcess *gw_process_spawn (const GwProcessSpec *spec, GMainContext *context,
                             GwProcessExitFn exit_fn, gpointer user_data, GError **error);
/* One that is not our child, and to which the same can be done; what it has written before is not looked at.  NULL: that
 * very process has ended. */
GwProcess *gw_process_adopt (pid_t pid, gint64 start_time, const char *log_path, GMainContext *context,
                             GwProcessExitFn exit_fn, gpointer user_data);
gboolean gw_process_is_running (const GwProcess *process);
pid_t gw_process_get_pid (const GwProcess *process);
/* "exited with status 1", "was killed by signal 9 (Killed)"; with its last words when it had any.
 * (transfer full) */
char *gw_process_describe_end (const GwProcess *process);
/* The last `max` bytes of the log, cleaned for people.  (transfer full) */
char *gw_process_read_log (const char *log_path, gsize max);
/* SIGTERM, without waiting. */
void gw_process_terminate (GwProcess *process);
/* SIGTERM, then after `grace_ms` SIGKILL; returns when it is gone. */
void gw_process_stop (GwProcess *process, guint grace_ms);
/* Waits for its end without doing anything about it. */
gboolean gw_process_wait (GwProcess *process, guint timeout_ms, GError **error);
/* Forgets the child, which goes on. */
void gw_process_free (GwProcess *process);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwProcess, gw_process_free)

/* --- pidwatch.c: a process that is not our child ---------------------------------------------------------------------------- */

typedef struct _GwPidWatch GwPidWatch;
/* NULL when the process is gone already or the kernel has no pidfd. */
GwPidWatch *gw_pid_watch_new (pid_t pid, GMainContext *context, GSourceFunc exit_fn,
                              gpointer user_data);
void gw_pid_watch_signal (const GwPidWatch *watch, int number);
gboolean gw_pid_watch_is_running (const GwPidWatch *watch);
/* As gw_process_describe_end(), as far as the kernel tells. */
const char *gw_pid_watch_describe_end (const GwPidWatch *watch);
/* What it has written to its standard error since then; "" when that is no file.  (transfer full) */
char *gw_pid_watch_read_words (const GwPidWatch *watch);
void gw_pid_watch_free (GwPidWatch *watch);

/* --- ending.c: how a process ended ------------------------------------------------------------------------------------- */

/* Of a wait status (-1: not known) and its last words (may be NULL).  (transfer full) */
char *gw_ending_describe (int wait_status, gboolean is_out_of_memory, const char *words);
/* Whether a QEMU that was to load a device state, and ended as `how` says (with its last words), did not like
 * it; else somebody ended it.  It may have crashed after it said so: two threads of QEMU 7.2 close the
 * same socket while it ends (`qemu_socket_set_nonblock: Assertion`), mostly on a busy host.  Pure. */
gboolean gw_ending_tells_rejection (const char *how);
/* The wait status of a process that has ended and is not our child; -1 when the kernel does not tell. */
int gw_ending_read_status (pid_t pid, int pidfd);
/* Its standard error when that is a file, and how long that is now; -1: it is none. */
int gw_ending_open_stderr (pid_t pid, gint64 *ret_size);
/* What was written to that file from `from` on, the end of it, cleaned for people.  (transfer full) */
char *gw_ending_read_words (int fd, gint64 from);

/* --- oom.c: whether the kernel killed it for want of memory ------------------------------------------------------------ */

typedef struct _GwOomWatch GwOomWatch;
/* Never NULL; what happened before is not looked at. */
GwOomWatch *gw_oom_watch_new (pid_t pid);
/* To be asked once, when the process has ended by a signal. */
gboolean gw_oom_watch_has_killed (GwOomWatch *watch);
void gw_oom_watch_free (GwOomWatch *watch);
/* Whether a record of the kernel's log says that `pid` was killed.  Pure. */
gboolean gw_oom_record_names (const char *record, pid_t pid);

/* --- disktrouble.c: what is wrong with a VM's disks ------------------------------------------------------------------- */

/* A line a disk whose file system is full, whose file is gone or whose server does not answer; "" for none.
 * Takes seconds when a server is silent.  (transfer full) */
char *gw_disks_describe_trouble (const GwVm *vm);

#endif
