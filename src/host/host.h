/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * host: everything that touches one host.
 *
 * Theory
 * ------
 * A job needs the same small set of operations on two hosts: adopt the VM, launch a QEMU, start a
 * courier, let QEMU migrate, write an ownership record, clean up.  A GwHost is one host as a job
 * sees it.  There are two kinds: the local one does the work in this process (host_local.c), the
 * remote one asks the godwitd of another host to do it (host_remote.c), and that godwitd does it
 * with a local GwHost.  Operation, parameters and result are the same in both cases: a method of
 * rpc's message table with a JSON object each way.  The functions below give them types.
 *
 * One GwHost serves one job at a time.  It belongs to the thread that owns its GMainContext; calls
 * block, iterating that context, and events are delivered meanwhile.
 *
 * Events.  What happens on the host without being asked is told through GwHostEventFn: QEMU's
 * events, its end, a courier's end.  The names are a small vocabulary:
 *   migration     detail: QEMU's status ("pre-switchover", "completed", ...)
 *   pass          detail: number of the pass over RAM
 *   stop, resume  the guest's processors
 *   shutdown      the guest powered off (detail: QEMU's reason); reset: it rebooted; panic
 *   qemu-exit     detail: how QEMU ended, and its last words
 *   qmp-closed    detail: why the monitor connection ended
 *   courier       detail: what the courier says of itself
 *   courier-failed detail: "CAUSE: message"
 *   courier-exit  detail: how it ended, and its last words, when nobody asked it to
 *   block-error   detail: operation, device and QEMU's words; the guest was told
 *   block-stop    the same, and QEMU stopped the guest
 *   disk-ready    a copied disk is in step (detail: QEMU's job); disk-error: its copy failed (detail:
 *                 read, at the source, or write); disk-mode; disk-server-exit, on the destination
 * Times are the wall clock of that host in microseconds; gw_host_get_clock_offset() relates it to ours.
 *
 * Directories.  Below the state directory of a host: `jobs/JOB-src` and `jobs/JOB-dst`, mode 0700, lives as long as
 * the job and holds its sockets; `vms/JOB/` lives as long as the QEMU that the job launched and
 * holds its log and godwit's own monitor socket.  What must be known for longer is in the journal (journal.h).
 * When the path of the state directory is too long for a unix socket, jobs/ and vms/ move to a
 * short directory below /run.
 *
 * Ownership.  See docs/handover.md.  The destination's right to start is decided by one durable
 * record a job: gw_host_begin_start() writes STARTED before `cont`, and whatever refuses writes
 * REFUSED; the record is locked while it is decided, so that a second asker waits for the
 * outcome.  The coordinator can only ask.
 */
#ifndef GW_HOST_H
#define GW_HOST_H

#include "base.h"
#include "journal.h"
#include "model.h"

/* --- config.c ------------------------------------------------------------------------------------ */

#define GW_HOST_CONFIG_FILE "/etc/godwit/godwitd.conf"
#define GW_HOST_SOCKET "/run/godwit/godwitd.sock"
#define GW_HOST_GRACE_S 60 /* how long jobs wait for an agent that is started again */
#define GW_HOST_NICE (-10)
#define GW_NICE_MIN (-20)  /* setpriority(2) */
#define GW_NICE_MAX 19
#define GW_HOST_CERTIFICATES "/etc/godwit/pki"

/* What one host allows; the keys of config.def and a little more. */
typedef struct {
    char *state_dir;
    char *runtime_dir;     /* where jobs/ and vms/ are; the state directory unless its path is long */
    char *file_state_dir;  /* as the file has it; NULL: it has none */
    char *socket;          /* of the agent */
    GStrv data_addresses;  /* empty: all addresses of the host */
    char *courier;         /* path of godwit-courier */

    /* what a VM that comes may have (allow.c) */
    GStrv qemu_dirs;       /* directories from which a QEMU may be started */
    GStrv qemu_programs;   /* patterns of the names of such programs */
    GStrv qemu_users;      /* as whom it may run; NULL: anybody */
    GStrv qemu_helpers;    /* programs that it may start itself */
    GStrv image_dirs;      /* directories below which images of disks may be */
    GStrv socket_dirs;     /* sockets, and files that it writes; NULL: anywhere */
    GStrv file_dirs;       /* files that it reads; NULL: anywhere */
    GStrv interfaces;      /* patterns of the host's interfaces that it may be attached to */
    gboolean is_direct;    /* it may use TCP, UDP and network storage by itself */

    /* other agents and commands, over TLS */
    GStrv listen;          /* "ADDRESS[:PORT]"; empty: not at all */
    char *certificates;    /* directory, QEMU's layout */
    GStrv peer_names;      /* patterns of the names in certificates */
    GStrv peer_networks;   /* "ADDRESS/BITS" from which they come; empty: any */
    gint64 connections, per_address, max_jobs, handshake_s, silence_s;

    gint64 grace_s;        /* jobs wait so long for the agent that is started again; 0: they end with theirs */
    gint64 nice;           /* of couriers, and of a QEMU that loads, beside the agent's own (priority.c) */
} GwHostConfig;

/* The defaults: /var/lib/godwit for root, $XDG_STATE_HOME/godwit otherwise; GODWIT_STATE overrides. */
GwHostConfig *gw_host_config_new (const char *state_dir);
void gw_host_config_set_state_dir (GwHostConfig *config, const char *state_dir);
/* Reads the key file `path` (godwitd.conf(5)) over `config`.  GW_CAUSE_USAGE names file, line, group and key. */
gboolean gw_host_config_load (GwHostConfig *config, const char *path, GError **error);
/* That of root's agents and commands, if there is one. */
gboolean gw_host_config_load_default (GwHostConfig *config, GError **error);
/* Whether the paths that a VM may have are limited, and so all else of its command line is looked at too. */
gboolean gw_host_config_is_confined (const GwHostConfig *config);
/* Settles jobs of this host whose process has ended, as far as that can be told here (mend.c).  For the start of an
 * agent with GW_JOURNAL_CHECKED: all of the journal is checked, it is made if there is none, and what cannot be
 * settled is logged. */
gboolean gw_host_mend (const GwHostConfig *config, GMainContext *context, GwJournalCare care,
                       GError **error);
/* Whether the process of a row of gw_journal_list_jobs() still runs, or may. */
gboolean gw_host_job_is_worked_on (JsonObject *row);
/* Writes into `job` that this process works on it, and until when that holds. */
void gw_host_sign_job (GwJournalJob *job);
gboolean gw_host_process_is_alive (gint64 pid, gint64 start_time);
/* Makes the directories below the state directory.  GW_CAUSE_HOST_IO. */
gboolean gw_host_make_directories (const GwHostConfig *config, GError **error);
/* A configuration that was read while the agent runs: what an agent acts on when it starts (START in config.def) `fresh`
 * gets from `now`.  The names of the keys that are not what the file says, "[group] key" (transfer full); NULL with
 * GW_CAUSE_USAGE: the agent cannot go on with such a file. */
GStrv gw_host_config_keep_started (GwHostConfig *fresh, const GwHostConfig *now, GError **error);
GwHostConfig *gw_host_config_copy (const GwHostConfig *config);
void gw_host_config_free (GwHostConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwHostConfig, gw_host_config_free)

/* --- host.c: the interface ------------------------------------------------------------------------- */

typedef struct _GwHost GwHost;
typedef void (*GwHostEventFn) (GwHost *host, gint64 at_us, const char *event, const char *detail,
                               gpointer user_data);

/* This host, in this process. */
GwHost *gw_host_new_local (const GwHostConfig *config, GMainContext *context);
/* The address of this host at which its peer reached it: the first that the peer is told for data. */
void gw_host_set_reached_at (GwHost *host, const char *address);
/* Of this host, for a peer of that name: a job belongs to the peer that opened it. */
void gw_host_set_peer (GwHost *host, const char *name);
/* Of this host: this agent ends, and a job that is kept goes on without it (keep.c). */
void gw_host_set_leaving (GwHost *host);
/* The host behind an agent; connects and shakes hands.  NULL with a cause of exit status 8.  A network
 * that is silent for less than `patience_s` does not end the connection. */
GwHost *gw_host_open_remote (const char *address, guint patience_s, GMainContext *context,
                             GCancellable *cancellable, GError **error);
/* Ends what the job left running here that has no right to go on: couriers always, a launched QEMU
 * unless it holds STARTED.  NULL is fine. */
void gw_host_free (GwHost *host);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwHost, gw_host_free)

void gw_host_set_event_fn (GwHost *host, GwHostEventFn fn, gpointer user_data);
/* False when the agent behind it is gone. */
gboolean gw_host_is_open (const GwHost *host);
const char *gw_host_get_name (const GwHost *host);

/* This host's wall clock minus ours, and by how much that may be wrong. */
gboolean gw_host_get_clock_offset (GwHost *host, gint64 *ret_offset_us, gint64 *ret_error_us,
                                   GError **error);

/* source: takes hold of the running VM `vm`: "qmp:PATH", or the name of one that godwit launched
 * here.  (transfer full) */
GwVm *gw_host_adopt (GwHost *host, const char *vm, GCancellable *cancellable, GError **error);
/* source: the destination's command line for the adopted VM.  (transfer full) */
GwDerived *gw_host_derive (GwHost *host, const char *const *maps, GCancellable *cancellable,
                           GError **error);
/* Facts of the host, of a QEMU program there by its base name and of a machine type in it, and of paths.  Of the
 * host that adopted the VM the program is that of the VM.  (transfer full) */
GwHostFacts *gw_host_get_facts (GwHost *host, const char *qemu, const char *machine,
                                const char *const *paths, GCancellable *cancellable, GError **error);

typedef struct {
    const char *job;
    GwSide side;
    const char *vm, *uuid;
    gint64 epoch; /* that the destination will own */
} GwHostJob;

/* Makes the job's directory. */
gboolean gw_host_open_job (GwHost *host, const GwHostJob *job, GCancellable *cancellable,
                           GError **error);
/* QEMU and courier are there: when the agent ends from now on, job and data go on for a while, and who has `token`
 * takes the job up. */
typedef struct {
    const char *token;
    gint64 grace_s;          /* at most; what it is in the end, 0: not at all */
    gboolean is_coordinator; /* destination: the coordinator may be started again, too */
    gboolean in_postcopy;    /* also in postcopy, however long; whether it does, in the end */
    char *why;               /* it is not; (transfer full) */
} GwHostKeep;
gboolean gw_host_keep_job (GwHost *host, GwHostKeep *keep, GCancellable *cancellable, GError **error);
/* What was found of the job. */
typedef struct {
    gboolean has_courier; /* FALSE: only in postcopy */
    char *migration;      /* QEMU's status; NULL: none */
} GwHostResumed;
void gw_host_resumed_clear (GwHostResumed *resumed);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (GwHostResumed, gw_host_resumed_clear)
/* Copied disks whose images are still being written, and the user who will open them (NULL: the agent's). */
typedef struct {
    const GwDiskPlans *plans;
    const char *user;
} GwHostImages;
/* destination: on a new connection, in the place of job.open.  GW_CAUSE_VM_BUSY: the old agent has not ended yet.
 * `is_coordinator`: it is to wait for the next coordinator, too; `images` NULL: none. */
gboolean gw_host_resume_job (GwHost *host, const char *job, const char *token, gboolean is_coordinator,
                             const GwHostImages *images, GwHostResumed *ret_resumed, GCancellable *cancellable, GError **error);
/* source: the same for the coordinator's own side; adopts the VM, which is as it was before the job.  (transfer full) */
GwVm *gw_host_resume_source (GwHost *host, const char *job, const char *token, GwHostResumed *ret_resumed,
                             GCancellable *cancellable, GError **error);
/* Whether the open job of a row of gw_journal_list_open_jobs(), which nobody works on, is one that this host has
 * released and whose QEMU is in postcopy: it has to go on.  Asks QEMU. */
gboolean gw_host_job_is_bound (const GwHostConfig *config, GwJournal *journal, JsonObject *row);
/* destination: starts QEMU, waiting for its state.  GW_CAUSE_LAUNCH_FAILED with QEMU's words. */
gboolean gw_host_launch (GwHost *host, const GwVm *vm, const GwDerived *derived,
                         GCancellable *cancellable, GError **error);

#define GW_HOST_SECRET_BYTES 32

typedef struct {
    const uint8_t *secret;        /* GW_HOST_SECRET_BYTES */
    const char *const *addresses; /* destination: to listen on, may be empty; source: "ADDRESS:PORT" */
    gint64 n_paths;
    gint64 deadline_s; /* without any path, before the link is given up */
    gint64 attempt;    /* 0; then the number of the recovery that makes it */
    gint64 n_disks;    /* that are copied */
    gboolean is_packed; /* their lanes are compressed; destination: only if it can */
    gboolean is_verified; /* source: gw_host_verify_ram() will be asked for */
    gint64 codec_bytes; /* for the RAM codec of each side, at most; 0: none.  Destination: what it can */
} GwHostLink;

/* destination: the courier that accepts; `*ret_addresses` gets "ADDRESS:PORT" to try, in order.  What it
 * cannot do is taken out of `link`, which is for the source then. */
gboolean gw_host_accept_courier (GwHost *host, GwHostLink *link, GStrv *ret_addresses,
                                 GCancellable *cancellable, GError **error);
/* source: the courier that connects; returns when the link is up. */
gboolean gw_host_connect_courier (GwHost *host, const GwHostLink *link, GCancellable *cancellable,
                                  GError **error);
/* A round trip over the link.  GW_CAUSE_LINK_LOST when there is none within `within_ms`. */
gboolean gw_host_probe_link (GwHost *host, guint within_ms, gint64 *ret_rtt_us,
                             GCancellable *cancellable, GError **error);
/* What the link carries (linkprobe.c): the destination reads, the source writes for a moment, and the
 * destination tells {"bytes", "us"}.  Both couriers are there, QEMU has not come to them. */
gboolean gw_host_start_sink (GwHost *host, GCancellable *cancellable, GError **error);
gboolean gw_host_push (GwHost *host, GCancellable *cancellable, GError **error);
JsonObject *gw_host_finish_sink (GwHost *host, GCancellable *cancellable, GError **error);
/* Ends the courier of that side, whatever it carries; QEMU's sockets close.  It may be gone already. */
gboolean gw_host_stop_courier (GwHost *host, GCancellable *cancellable, GError **error);
/* source: from now on whatever QEMU writes is taken into memory at once, so that a stalled link cannot
 * stop it in its last step; and the link may be down for `deadline_s` only. */
gboolean gw_host_spool_link (GwHost *host, gint64 deadline_s, GCancellable *cancellable,
                             GError **error);
/* source, QEMU has sent everything and stands still: compares its memory with what was last sent of it.
 * {"pages", "different", "unknown" (not followed), "unread", "us", "named"}.  GW_CAUSE_RAM_UNPROVEN when that
 * cannot be done.  (transfer full) */
JsonObject *gw_host_verify_ram (GwHost *host, GCancellable *cancellable, GError **error);
/* The courier's counters, as docs/link-protocol.md names them.  (transfer full) */
JsonObject *gw_host_get_courier_stats (GwHost *host, GCancellable *cancellable, GError **error);

/* destination: makes the images of the disks that are copied, before QEMU is launched there; `user` as
 * the VM's. */
gboolean gw_host_make_images (GwHost *host, const GwDiskPlans *plans, const char *user,
                              GCancellable *cancellable, GError **error);
/* source: whether every disk answers a read and a flush within `within_ms`; also those that are shared. */
gboolean gw_host_probe_disks (GwHost *host, const GwDiskPlans *plans, guint within_ms,
                              GCancellable *cancellable, GError **error);
/* source: begins to copy them, all at once; each at no more than `speed_bps`, 0: any. */
gboolean gw_host_start_mirrors (GwHost *host, const GwDiskPlans *plans, gint64 speed_bps,
                                GCancellable *cancellable, GError **error);
/* source: how far they are.  One that is `concluded` has failed.  (transfer full) */
GwMirrors *gw_host_get_mirrors (GwHost *host, GCancellable *cancellable, GError **error);
/* source: the guest writes to them as fast as they are copied.  With `bps` 0 each write goes to both from
 * now on, where it did not; else the guest may write so much a second to each.  `*ret_done` (may be FALSE)
 * says whether there was anything to be done.  It is undone when the copying ends. */
gboolean gw_host_hold_disks (GwHost *host, gint64 bps, gboolean *ret_done, GCancellable *cancellable,
                             GError **error);
/* source, guest stopped: the rest is copied and the copying ends, within `within_ms`. */
gboolean gw_host_finish_mirrors (GwHost *host, guint within_ms, GCancellable *cancellable,
                                 GError **error);
/* destination: all is written, and only the launched QEMU has the images from now on. */
gboolean gw_host_close_images (GwHost *host, GCancellable *cancellable, GError **error);
/* Whether the copies are equal.  Both sides hash what they have, in chunks; the source also lists the
 * chunks that the guest has written since the last time.  Only between the start of the mirrors and the
 * closing of the images. */
#define GW_CHUNK_BYTES ((gint64) 1 << 20)
#define GW_CHUNKS_MAX ((gint64) 1 << 43) /* of a disk: all that 63 bits can address */
#define GW_CHUNK_RUNS_MAX 60000          /* that fit into one message */
typedef struct {
    guint disk; /* which of those that are copied */
    gint64 first, count;
} GwChunkRun;

/* How many chunks (gint64) each disk has that is copied.  `plans` may be NULL: none.  (transfer full) */
GArray *gw_chunk_disks_new (const GwDiskPlans *plans);
/* Everything on `disks`; NULL: nothing.  An array of GwChunkRun.  (transfer full) */
GArray *gw_chunk_runs_new (const GArray *disks);
/* Appends one; it becomes a part of the last when it begins in it or at its end. */
void gw_chunk_runs_add (GArray *runs, guint disk, gint64 first, gint64 count);
/* Sorts them; each chunk is there once, and there are at most `most` runs: for that the smallest gaps
 * between two are filled with the chunks that lie there.  Each disk keeps at least one run. */
void gw_chunk_runs_merge (GArray *runs, guint most);
/* How many chunks they have together. */
gint64 gw_chunk_runs_count (const GArray *runs);

/* source: from now on it is noted what the guest writes. */
gboolean gw_host_begin_proof (GwHost *host, const GwDiskPlans *plans, GCancellable *cancellable,
                              GError **error);
/* source: what it has written since the beginning or the last cut, of those `disks`: an array of
 * GwChunkRun.  (transfer full) */
GArray *gw_host_cut_proof (GwHost *host, const GArray *disks, GCancellable *cancellable, GError **error);
/* Begins to hash them; the source with `sends` also writes them into the destination's images. */
gboolean gw_host_hash_disks (GwHost *host, const GArray *runs, guint64 seed, gboolean sends,
                             GCancellable *cancellable, GError **error);
/* Appends to `hashes` (of guint64) those that follow and are there; `*ret_is_done` when all are.  Fails
 * when they would become more than `most`. */
gboolean gw_host_get_hashes (GwHost *host, gint64 most, GArray *hashes, gboolean *ret_is_done,
                             GCancellable *cancellable, GError **error);
gboolean gw_host_end_proof (GwHost *host, GCancellable *cancellable, GError **error);
/* source: the copying ends as it is, and nothing of it is left in QEMU. */
gboolean gw_host_undo_mirrors (GwHost *host, GCancellable *cancellable, GError **error);

/* What of postcopy is on. */
typedef struct {
    gboolean is_on;
    gboolean has_preempt; /* requested pages have a connection of their own */
} GwHostPostcopy;

/* source: what there is to send, and how fast it changes, is looked at from now on, within about a second.
 * An object that may say "why" a part of it is not.  (transfer full) */
JsonObject *gw_host_begin_weighing (GwHost *host, GCancellable *cancellable, GError **error);
/* source: waits for it: {"ram_bytes", "filled_bytes" (that hold something), "samples", "changed_bytes"
 * (that changed within "changed_us"), "later_bytes" (the same, a longer time)}; -1 is not known.
 * (transfer full) */
JsonObject *gw_host_finish_weighing (GwHost *host, GCancellable *cancellable, GError **error);

/* destination: capabilities, and QEMU listens for its state.  `postcopy` says what is wanted and gets
 * what this QEMU and its kernel can; `*ret_why` (transfer full) says why that is less, or NULL. */
gboolean gw_host_set_incoming (GwHost *host, GwHostPostcopy *postcopy, char **ret_why,
                               GCancellable *cancellable, GError **error);

typedef struct {
    gint64 downtime_ms, bandwidth_bps; /* bandwidth 0: unlimited */
    GwHostPostcopy postcopy; /* as the destination has it */
    gboolean can_throttle;   /* gw_host_throttle() may follow */
} GwHostMigrate;

/* source: capabilities and parameters (their old values are kept for undo), and QEMU begins. */
gboolean gw_host_migrate (GwHost *host, const GwHostMigrate *params, GCancellable *cancellable,
                          GError **error);
/* source: the guest stands still while QEMU sends what is left; QEMU then does not let it run by itself,
 * whatever happens to the migration.  DISK_SYNC when copies of disks kept QEMU from it for `within_ms`:
 * the guest runs on, and the copies have failed.  FALSE for `is_stopped`: it runs on, and the migration
 * too. */
gboolean gw_host_stop_guest (GwHost *host, gboolean is_stopped, guint within_ms, GCancellable *cancellable,
                             GError **error);
/* source, while memory is copied: no faster than that; 0: any rate. */
gboolean gw_host_set_pace (GwHost *host, gint64 bandwidth_bps, GCancellable *cancellable, GError **error);
/* source: QEMU slows the guest down until it converges. */
gboolean gw_host_throttle (GwHost *host, GCancellable *cancellable, GError **error);
/* source: QEMU goes over to postcopy; it stands still in pre-switchover first, like in precopy.  When
 * little is left it ends in precopy after all. */
gboolean gw_host_start_postcopy (GwHost *host, GCancellable *cancellable, GError **error);
/* In postcopy, over the couriers of `attempt`: QEMU drops what it may still hold of the old connection;
 * the destination's listens again, then the source's goes on.  Destination first. */
gboolean gw_host_recover (GwHost *host, gint64 attempt, GCancellable *cancellable, GError **error);
GwMigration *gw_host_get_migration (GwHost *host, GCancellable *cancellable, GError **error);
/* source: out of pre-switchover. */
gboolean gw_host_continue (GwHost *host, GCancellable *cancellable, GError **error);
/* source: ends the migration and everything it changed, and lets the guest run again if it ran
 * before.  Succeeds when the guest is in the state it had.  Safe in any state before RELEASED, and
 * after it only with the destination's REFUSED in hand: then also from postcopy, in which QEMU knows no
 * way back (rescue.c). */
gboolean gw_host_undo_migration (GwHost *host, GCancellable *cancellable, GError **error);
/* source: QEMU ends; its copy of the VM is no more. */
gboolean gw_host_quit_source (GwHost *host, GCancellable *cancellable, GError **error);

/* The greatest epoch of the VM that this host has a record of; 0: none, or the VM has no UUID.  `*ret_held_by` (transfer
 * full): the job in which the host gave the VM away, and which was never settled; NULL: none. */
gboolean gw_host_get_epoch (GwHost *host, const char *uuid, gint64 *ret_epoch, char **ret_held_by,
                            GCancellable *cancellable, GError **error);
/* source: the durable statement that the destination may start `epoch`. */
gboolean gw_host_put_released (GwHost *host, GCancellable *cancellable, GError **error);

/* destination: waits for the state to be loaded, then starts the VM (`is_running`: lets the guest
 * run).  Writes STARTED, or REFUSED and then the error says why.  Runs while the coordinator does
 * other things.  With `in_postcopy` the time limit refuses nothing: the answer is then that it is not
 * loaded yet, and so it is when QEMU's connection broke. */
typedef struct _GwHostPending GwHostPending;
GwHostPending *gw_host_begin_start (GwHost *host, gboolean is_running, gboolean in_postcopy,
                                    guint timeout_ms);
gboolean gw_host_pending_is_done (const GwHostPending *pending);
typedef struct {
    gboolean is_started; /* FALSE only in postcopy: ask again */
    gint64 loaded_us, started_us, running_us; /* that host's clock; running 0: see event "resume" */
} GwHostStart;
/* Frees `pending`. */
gboolean gw_host_finish_start (GwHostPending *pending, GwHostStart *ret_start, GError **error);
void gw_host_pending_free (GwHostPending *pending);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwHostPending, gw_host_pending_free)

typedef enum { GW_RECORD_NONE, GW_RECORD_RELEASED, GW_RECORD_STARTED, GW_RECORD_REFUSED } GwRecordKind;
const char *gw_record_kind_name (GwRecordKind kind);

/* destination: what the record of `job` says.  With `refuse`, an undecided one becomes REFUSED
 * first, for ever; so the answer is STARTED or REFUSED.  Needs no open job. */
gboolean gw_host_settle_record (GwHost *host, const char *job, gboolean refuse,
                                GwRecordKind *ret_kind, GCancellable *cancellable, GError **error);

/* What this host knows of one side of `job`, open or not (evidence.c): {"known","vm","uuid","epoch","peer","result",
 * "record","worked_on","qemu","pid","run_state","migration","why"}.  (transfer full) */
JsonObject *gw_host_get_evidence (GwHost *host, const char *job, GwSide side, GCancellable *cancellable,
                                  GError **error);
/* Does something about that side, if it may be done: destination "refuse", "run", "end"; source "resume", "end".
 * `proof` is what allows it: "started", "refused", "stayed", "destination-is-dead" or "".  What became of it: "refused",
 * "started", "arrived", "stayed", "moved", "lost", or "settled" (there was nothing to do).  (transfer full) */
char *gw_host_reconcile (GwHost *host, const char *job, GwSide side, const char *act, const char *proof,
                         GCancellable *cancellable, GError **error);

/* What jobs that died have left on this host: {"files": [{"job","path","kind"?,"action","until_us"?,"bytes"?}]}.
 * `is_dry`: it is only told; `is_now`: what is kept for a day goes, too (quarantine.c).  (transfer full) */
JsonObject *gw_host_cleanup (GwHost *host, gboolean is_dry, gboolean is_now, GCancellable *cancellable,
                             GError **error);

/* source: writes a token beside each image (token.c), "" where it could not; `job` (NULL: none) is the one in whose
 * journal they are.  (transfer full) */
GStrv gw_host_put_tokens (GwHost *host, const char *job, const char *const *images, GCancellable *cancellable,
                          GError **error);
/* destination: "seen" by each image that has its token beside it, else "".  (transfer full) */
GStrv gw_host_find_tokens (GwHost *host, const char *const *images, const char *const *tokens,
                           GCancellable *cancellable, GError **error);
gboolean gw_host_drop_tokens (GwHost *host, GError **error);
/* Of each read-only medium a hash of what is in it, "" where that cannot be told in time (contents.c); takes 40 s at
 * most.  (transfer full) */
GStrv gw_host_read_contents (GwHost *host, const char *const *paths, GCancellable *cancellable,
                             GError **error);

/* What is inside the source's QEMU, or inside the one that was launched to take the VM. */
GwInventory *gw_host_get_inventory (GwHost *host, GCancellable *cancellable, GError **error);

/* The rehearsal (rehearse.h of this folder).  Each answer is a JSON object (transfer full), which the
 * coordinator hands on. */

/* source: stops the guest for a moment and saves its device state: {"state", "bytes", "stop_us",
 * "stopped_us" (that host's clock), "pages"}.  `more` (may be NULL): pages {"block", "offset"} to be
 * read in the same stop.  `is_blind`: the destination cannot ask for pages, so give all it may need. */
JsonObject *gw_host_rehearse_save (GwHost *host, JsonArray *more, gboolean is_blind,
                                   GCancellable *cancellable, GError **error);
/* source: {"pages"}: one page of the guest as it is now. */
JsonObject *gw_host_rehearse_read (GwHost *host, const char *block, gint64 offset,
                                   GCancellable *cancellable, GError **error);
/* destination: starts the throw-away QEMU: {"inventory" (GwInventory), "postcopy"}, and "why" not.
 * GW_CAUSE_UNSUPPORTED: a device of the VM cannot be had without what is behind it;
 * GW_CAUSE_REHEARSAL_LAUNCH: QEMU does not start. */
JsonObject *gw_host_rehearse_launch (GwHost *host, const GwVm *vm, const GwDerived *derived,
                                     GCancellable *cancellable, GError **error);
/* destination: takes "state" and "pages" of `given`, whatever of them is there. */
gboolean gw_host_rehearse_put (GwHost *host, JsonObject *given, GCancellable *cancellable,
                               GError **error);
/* destination: loads, or goes on loading.  {"loaded": true, "load_us", "pages", "words"}, or
 * {"loaded": false, "block", "offset"}: QEMU waits for that page.  GW_CAUSE_REHEARSAL_REJECTED with
 * QEMU's words. */
JsonObject *gw_host_rehearse_load (GwHost *host, const GwVm *vm, GCancellable *cancellable,
                                   GError **error);
/* destination: the throw-away QEMU ends. */
gboolean gw_host_rehearse_end (GwHost *host, GCancellable *cancellable, GError **error);

/* destination: the VM's interfaces are announced again, and it is watched for `ms` (at most
 * GW_HOST_SETTLE_MAX_MS). */
#define GW_HOST_SETTLE_MAX_MS 10000
typedef struct {
    char *run_state; /* "running", "paused" ...; (transfer full) */
    gint64 block_errors;
    gint64 vcpu_us; /* of processor time that its virtual ones used meanwhile; -1: not known */
    gint64 blocktime_ms; /* in which all of them waited for pages, in postcopy; -1: not known */
} GwHostSettled;
gboolean gw_host_settle (GwHost *host, guint ms, GwHostSettled *ret_settled, GCancellable *cancellable,
                         GError **error);

/* The guest's clock, by the guest agent, on the host where it runs; see guestagent.h. */
#define GW_GUEST_CLOCK_MAX_US (G_MAXINT64 / 4)
typedef struct {
    gboolean has_answered;
    gint64 offset_us; /* the guest's clock minus the host's */
    gboolean is_set;  /* to what was asked */
    gint64 left_us;   /* by which it is behind that now */
    char *why;        /* NULL, or what is missing or failed; (transfer full) */
} GwGuestClock;
/* With `sets` the guest's clock is set to the host's plus `aim_us`, if it is behind that.  No answer of the
 * guest is no error. */
gboolean gw_host_ask_guest_clock (GwHost *host, gboolean sets, gint64 aim_us, GwGuestClock *ret_clock,
                                  GCancellable *cancellable, GError **error);

/* destination: the state of QEMU, "running", "paused" ..., without waiting; `finish` frees `pending`.
 * (transfer full) */
GwHostPending *gw_host_begin_get_run_state (GwHost *host);
char *gw_host_finish_get_run_state (GwHostPending *pending, GError **error);

/* Ends the job here: couriers, sockets, directory; on the destination also the QEMU, unless it holds
 * STARTED.  Safe to call twice. */
gboolean gw_host_close_job (GwHost *host, GCancellable *cancellable, GError **error);

/* VMs that godwit launched on this host and that still run: a JSON array of objects with job, name,
 * uuid, pid, epoch, qmp.  (transfer full) */
JsonArray *gw_host_list_vms (const GwHostConfig *config);

#endif
