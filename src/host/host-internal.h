/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside src/host, ordered by owning file. */
#ifndef GW_HOST_INTERNAL_H
#define GW_HOST_INTERNAL_H

#include "cmdline.h"
#include "disks.h"
#include "host-service.h"
#include "journal.h"
#include "process.h"
#include "qmp.h"

/* --- qmpset.c: many questions at once ------------------------------------------------------------------------ */

/* Questions to one QEMU that are sent without waiting for each other's answers: a busy QEMU answers
 * each only after a while. */
typedef struct _GwQmpSet GwQmpSet;
typedef void (*GwQmpSetFn) (JsonNode *reply, gpointer user_data); /* reply NULL: QEMU refused it */
GwQmpSet *gw_qmp_set_new (GwQmp *qmp);
/* `arguments` (transfer full) may be NULL. */
void gw_qmp_set_ask (GwQmpSet *set, GwQmpCommand command, JsonObject *arguments, GwQmpSetFn fn,
                     gpointer user_data);
/* Waits for all answers; QEMU's refusals are no error.  Frees `set`. */
/* A GwQmpSetFn that keeps the reply in the JsonNode * at `user_data`; NULL stays NULL. */
void gw_qmp_keep_answer (JsonNode *reply, gpointer user_data);
/* What it holds, "" or NULL when that is something else. */
const char *gw_qmp_answer_text (JsonNode *node);
JsonArray *gw_qmp_answer_array (JsonNode *node);
gboolean gw_qmp_set_finish (GwQmpSet *set, GMainContext *context, GCancellable *cancellable,
                            GError **error);

/* --- devices.c, extras.c, adopt.c: a running QEMU --------------------------------------------------------------- */

gboolean gw_adopt_devices (GwQmp *qmp, GMainContext *context, GwVm *vm, GCancellable *cancellable,
                           GError **error);
/* Backends that were added at run time, as options, into vm->extras. */
gboolean gw_adopt_extras (GwQmp *qmp, GMainContext *context, GwVm *vm, const char *info_network,
                          GCancellable *cancellable, GError **error);
/* Everything that QEMU tells about its VM.  NULL with a cause of qmp or HOST_IO. */
GwVm *gw_adopt_vm (GwQmp *qmp, GMainContext *context, GCancellable *cancellable, GError **error);
/* Parsers of HMP's output; pure. */
GPtrArray *gw_adopt_parse_ramblocks (const char *text);
GStrv gw_adopt_parse_netdevs (const char *text);
GStrv gw_adopt_parse_qtree (const char *text);

/* --- imageinfo.c: what QEMU says of a disk's image ---------------------------------------------------------------- */

/* Sizes, options and the images below, from a QEMU's ImageInfo, which may be NULL.  Pure. */
void gw_disk_read_image (GwDisk *disk, JsonObject *image);

/* --- host.c, host_remote.c: the two kinds of host ------------------------------------------------------------------- */

typedef struct {
    JsonObject *(*call) (GwHost *host, GwRpcMethod method, JsonObject *params,
                         GCancellable *cancellable, GError **error);
    /* Fills `pending`: either its rpc, or result or error at once. */
    void (*begin) (GwHost *host, GwRpcMethod method, JsonObject *params, guint timeout_ms,
                   GwHostPending *pending);
    gboolean (*is_open) (const GwHost *host);
    gboolean (*get_clock_offset) (GwHost *host, gint64 *ret_offset_us, gint64 *ret_error_us,
                                  GError **error);
    void (*free) (GwHost *host);
} GwHostOps;

struct _GwHost {
    const GwHostOps *ops;
    char *name;
    GwHostEventFn event_fn;
    gpointer event_data;
};

struct _GwHostPending {
    GwRpcPending *rpc; /* NULL: result or error is here */
    JsonObject *result;
    GError *error;
};

/* An operation whose result says nothing but that it was done.  `params` (transfer full) */
gboolean gw_host_call_plain (GwHost *host, GwRpcMethod method, JsonObject *params,
                             GCancellable *cancellable, GError **error);
/* One whose result is a struct.  `params` (transfer full).  (transfer full) */
gpointer gw_host_call_struct (GwHost *host, GwRpcMethod method, JsonObject *params,
                              const GwStructType *type, GCancellable *cancellable, GError **error);
void gw_host_emit (GwHost *host, gint64 at_us, const char *event, const char *detail);

/* --- records.c: who may start ------------------------------------------------------------------------------------------------- */

/* The record of one job on one side, locked: rows of the journal, of which the last counts.  The lock is
 * held while the outcome is being decided, which takes longer than a transaction. */
typedef struct _GwRecord GwRecord;
typedef struct {
    GwJournal *journal; /* in use as long as the record is */
    const char *state_dir, *job;
    GwSide side;
    GMainContext *context; /* iterated while the lock is waited for */
} GwRecordSpec;
GwRecord *gw_record_open (const GwRecordSpec *spec, guint timeout_ms, GError **error);
GwRecordKind gw_record_get_kind (const GwRecord *record);
/* Whether it is STARTED, and of a guest that is to run. */
gboolean gw_record_is_to_run (const GwRecord *record);
/* Writes STARTED of a guest that is to run, or to stand still as it did at the source. */
gboolean gw_record_start (GwRecord *record, gint64 epoch, const char *vm, gboolean is_running, GError **error);
/* Writes `kind` (STARTED: it is to run), which is on the disk when this returns.  Only the moves of its state table. */
gboolean gw_record_append (GwRecord *record, GwRecordKind kind, gint64 epoch, const char *vm,
                           GError **error);
void gw_record_close (GwRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRecord, gw_record_close)
gboolean gw_record_kind_from_name (const char *name, GwRecordKind *ret_kind, GError **error);

/* --- directories.c -------------------------------------------------------------------------------------------------------------- */

/* Whether `job` may be part of a path: letters, digits, '-', at most 64. */
gboolean gw_job_id_is_valid (const char *job);
char *gw_directory_for_job (const GwHostConfig *config, const char *job, GwSide side);
/* The jobs that are open, or were left, by "JOB-src" and "JOB-dst". */
GStrv gw_directory_list_jobs (const GwHostConfig *config);
char *gw_directory_for_vm (const GwHostConfig *config, const char *job);
/* Makes `path` with mode 0700 (its parents 0711) and gives it to `user` when that is not NULL. */
gboolean gw_directory_make (const char *path, const char *user, GError **error);
/* Removes `path` and the files in it; it is flat.  A missing one is fine. */
void gw_directory_remove (const char *path);

/* --- created.c: what a launched QEMU makes in the file system -------------------------------------------------------------- */

/* Paths of sockets and files that a QEMU will make; only those that were not there before it started
 * and are still the same files are removed again. */
typedef struct _GwCreated GwCreated;
/* To be called before the launch. */
GwCreated *gw_created_new (const char *const *paths);
/* To be called when QEMU has made them. */
void gw_created_note (GwCreated *created);
/* Writes them into the journal as they are known by now. */
gboolean gw_created_write (const GwCreated *created, GwJournal *journal, const char *job, GError **error);
/* Removes what is still there of them. */
void gw_created_remove (const GwCreated *created);
void gw_created_free (GwCreated *created);

/* --- vmfile.c: what is known of a VM that godwit launched ------------------------------------------------------------------------- */

gboolean gw_vm_file_write (const char *vm_dir, const GwHostJob *job, pid_t pid, GError **error);
/* Directory of the VM that `name` (name, uuid or job) is, NULL when there is none.  (transfer full) */
char *gw_vm_file_find (const GwHostConfig *config, const char *name);
/* Directory and epoch of `vm`, proven by process and start time; NULL when godwit did not launch it. */
/* The process in the file of the directory; 0: there is no file. */
void gw_vm_file_get_process (const char *vm_dir, gint64 *ret_pid, gint64 *ret_start_time);
char *gw_vm_file_find_launched (const GwVm *vm, gint64 *ret_epoch);

/* --- courierctl.c: the courier of this side ----------------------------------------------------------------------------------------- */

typedef struct _GwCourierControl GwCourierControl;
typedef struct {
    GwHost *host;             /* events go there */
    const GwHostConfig *config;
    GMainContext *context;
    const char *job, *job_dir;
    GwSide side;
    const char *secret_hex;
    const char *const *addresses; /* source: to connect to; destination: to listen on, may be empty */
    gint64 n_paths, deadline_s, attempt;
    gint64 n_disks; /* lanes nbd-0, nbd-1 ... */
    gboolean is_packed; /* what goes to the destination in them is compressed where that pays */
    gint64 codec_bytes; /* the RAM lane goes through the codec, with so much memory; 0: as it is */
    gboolean is_verified; /* and is to be compared in the end */
    const char *reached_at; /* destination: the address that the peer used, NULL: not known */
} GwCourierSpec;
gint64 gw_facts_read_available (void); /* bytes of memory; facts.c */
/* How much of `wanted` bytes for the RAM codec this host can spare; 0: too little to be of use. */
gint64 gw_codec_bound (gint64 wanted);
/* The socket of the RAM lane between courier and QEMU; each recovery has its own.  (transfer full) */
char *gw_courier_ram_path (const char *job_dir, gint64 attempt);
GwCourierControl *gw_courier_start (const GwCourierSpec *spec, GStrv *ret_addresses,
                                    GCancellable *cancellable, GError **error);
GwProcess *gw_courier_get_process (const GwCourierControl *courier);
/* Asks for the counters and waits for them.  (transfer full) */
JsonObject *gw_courier_get_stats (GwCourierControl *courier, GCancellable *cancellable,
                                  GError **error);
/* A round trip over the link, or GW_CAUSE_LINK_LOST after `within_ms`. */
gboolean gw_courier_probe (GwCourierControl *courier, guint within_ms, gint64 *ret_rtt_us,
                           GCancellable *cancellable, GError **error);
/* Returns when the courier takes what QEMU writes into memory. */
gboolean gw_courier_spool (GwCourierControl *courier, GCancellable *cancellable, GError **error);
/* Compares the memory at `command` (transfer full) with what was sent.  GW_CAUSE_RAM_UNPROVEN when it cannot.
 * (transfer full) */
JsonObject *gw_courier_verify (GwCourierControl *courier, JsonObject *command, int memory_fd,
                               GCancellable *cancellable, GError **error);
/* From now on the link may be down for so long. */
void gw_courier_set_deadline (GwCourierControl *courier, gint64 seconds);
/* Waits for a courier that has nothing more to carry to end by itself, then ends it. */
void gw_courier_free (GwCourierControl *courier);

/* --- courierlease.c: a courier that outlives its agent --------------------------------------------------------------------------------- */

/* The socket at which its next agent finds it.  (transfer full) */
char *gw_courier_lease_path (const GwHostConfig *config, const char *job, GwSide side);
/* Without an agent it lives on for `seconds` (0: not at all, until that is extended), and the next one finds it at
 * `path`. */
gboolean gw_courier_lease (GwCourierControl *courier, const char *path, gint64 seconds, GCancellable *cancellable,
                           GError **error);
/* Of one that has a lease: another time; waits for its answer. */
gboolean gw_courier_extend (GwCourierControl *courier, gint64 seconds, GCancellable *cancellable, GError **error);
/* Forgets a courier that has a lease, and goes on. */
void gw_courier_forget (GwCourierControl *courier);
/* The courier at `path` that an agent before us started.  GW_CAUSE_COURIER_DIED. */
GwCourierControl *gw_courier_attach (const GwCourierSpec *spec, const char *path, pid_t pid, gint64 start_time,
                                     GError **error);

/* --- listen.c: the destination's data sockets ----------------------------------------------------------------------------------------- */

#define GW_DATA_ADDRESSES 16

/* TCP sockets that listen: one on each of `addresses` and nowhere else, or one on all addresses of the
 * host when none is given.  An array of int that closes them when it is freed; NULL on failure.
 * `*ret_candidates` gets "ADDRESS:PORT" in the order in which the source should try them; of all
 * addresses first `reached_at`, at which the peer found this host (NULL: not known). */
GArray *gw_data_listen (const char *const *addresses, const char *reached_at, GStrv *ret_candidates,
                        GError **error);

/* --- facts.c ---------------------------------------------------------------------------------------------------------------------------- */

GwHostFacts *gw_read_host_facts (const GwHostConfig *config, GMainContext *context, const char *qemu,
                                 const char *const *paths, GCancellable *cancellable);
/* Adds the versions of the devices' states of the program `path`, NULL: of facts->qemu_binary. */
void gw_add_vm_states (GwHostFacts *facts, const GwHostConfig *config, GMainContext *context,
                       const char *path, const char *machine);
/* Whether somebody listens on the unix socket: a connection is made and dropped at once. */
gboolean gw_path_has_listener (const char *path);
/* A tool of QEMU's, "qemu-img": from the allowed directories, or else the host's own.  (transfer full) */
char *gw_find_qemu_tool (const GwHostConfig *config, const char *name, GError **error);
/* The program `qemu` (a base name) in the allowed directories.  (transfer full) */
char *gw_find_qemu (const GwHostConfig *config, const char *qemu, GError **error);

/* --- neighbours.c: what else is on the host --------------------------------------------------------------------------------------------- */

/* Fills interfaces, addresses and qemus. */
void gw_read_neighbours (GwHostFacts *facts);
/* Name and uuid of a QEMU's command line; NULL when it is none.  Pure.  (transfer full) */
GwOtherVm *gw_parse_other_vm (const char *const *argv);

/* --- kernel.c: what the kernel and the processor offer ------------------------------------------------------------------------------------ */

void gw_read_kernel_facts (GwHostFacts *facts);

/* --- imagefacts.c, certificates.c: what is behind facts->path --------------------------------------------------------------------------------- */

void gw_read_image_facts (GwPathFacts *facts);
void gw_read_certificate_facts (GwPathFacts *facts);

/* --- qemu.c: what a QEMU program says of itself ----------------------------------------------------------------------------------------- */

/* Version and machine types of the program `path`, NULL where it does not tell.  What an ELF program said is kept
 * below the state directory, and good for as long as the file is the same.  (transfer full) */
/* Which file `path` is, and of when; NULL when that says nothing about what it does.  (transfer full) */
char *gw_qemu_identify (const char *path);
/* The file below the state directory for what `path` said about `subject`.  (transfer full) */
char *gw_qemu_cache_path (const GwHostConfig *config, const char *path, const char *subject);
/* A struct kept in `file`, whose member `identity` must be `identity`; NULL otherwise.  (transfer full) */
gpointer gw_qemu_recall (const char *file, const char *identity, const GwStructType *type);
/* Without the file the program is asked again the next time. */
void gw_qemu_remember (const char *file, gconstpointer data, const GwStructType *type);
GwQemuFacts *gw_qemu_read_facts (const GwHostConfig *config, GMainContext *context, const char *path);

/* --- vmstates.c: the versions of the devices' states ----------------------------------------------------------------------------------- */

/* Those of the program `path` for a machine type, kept like what it says of itself; NULL when it does not tell.
 * (transfer full) */
GwVmStates *gw_qemu_read_vm_states (const GwHostConfig *config, GMainContext *context, const char *path,
                                    const char *machine);
/* Of the text of -dump-vmstate, which may be anything.  Array of GwVmState in `states`. */
gboolean gw_vm_states_parse (GwVmStates *states, const char *text, gssize len);

/* --- linkprobe.c, guestram.c ------------------------------------------------------------------------- */

typedef struct _GwLinkSink GwLinkSink;
typedef struct _GwGuestRam GwGuestRam;

/* --- host_local.c: this host ---------------------------------------------------------------------------------------------------------------- */

typedef struct {
    GwHost host;
    GMainContext *context;
    GwHostConfig *config;
    char *reached_at; /* the address of this host that the peer used; NULL: not known */
    char *peer;       /* the name of the peer that asks; NULL: one of this host's own people */

    char *job, *job_dir, *vm_name, *vm_uuid; /* of the open job; NULL: none */
    GwSide side;
    gint64 epoch;

    GwJournal *journal;    /* NULL: not needed so far */
    gboolean is_journaled; /* destination: the open job is in it */
    gint64 grace_s;        /* the job waits so long for the next agent; 0: it ends with this one */
    gboolean waits_for_peer; /* destination: also for the coordinator */
    gboolean is_kept;      /* who has the job's secret may take it up; the courier can be found */
    gboolean is_bound;     /* in postcopy: once RELEASED or STARTED, it goes on without any agent */
    gboolean is_released;  /* source: that was to be written */
    gboolean is_owing;     /* destination: another agent was to let the guest run */
    gboolean is_leaving;   /* this agent ends */
    gboolean is_resumed;   /* destination: another agent began it */

    GwVm *vm;       /* source: the adopted VM */
    GPtrArray *tokens; /* source: files to be removed; NULL: none */
    GwQmp *qmp;     /* to this side's QEMU */
    char *vm_dir;   /* destination: of the launched VM; source: when godwit launched it earlier */
    GwCreated *created;    /* destination: what the launched QEMU made outside of vm_dir */
    GwProcess *qemu;       /* destination: our child */
    GwPidWatch *qemu_watch; /* source */
    GwCourierControl *courier;
    GwGuestRam *ram;       /* source: the guest's RAM is being looked at; NULL: it is not */
    gboolean is_measuring; /* source: so does its QEMU */
    GwExports *exports;   /* destination: images of copied disks that are not in use yet */
    GwMirrorSet *mirrors; /* source: jobs that copy disks */
    GwProof *proof;       /* source: what the comparison of the copies has in QEMU */
    GwHashWork *hashing;  /* either side's part of it */
    GwLinkSink *sink;     /* destination: reads what a check sends; NULL: nothing */

    char *migration_status; /* of the last MIGRATION event */
    gint64 loaded_us;       /* when the status became completed here, this host's clock */
    gint64 n_block_errors;  /* events of this side's QEMU */
    gint64 running_us;      /* destination: when `cont` had done its work; 0: never */
    gint64 stopped_us, resumed_us; /* source: of the last STOP and RESUME, this host's clock */
    struct _GwRehearsal *rehearsal; /* destination: a throw-away QEMU; NULL: none */
    GwHaste *haste;              /* source: of the threads that its QEMU migrates with; NULL: it does not */
    JsonArray *old_capabilities; /* to be put back */
    JsonObject *old_parameters;
    gboolean is_asked;    /* destination: a question for the run state is on its way */
    gboolean is_answered; /* destination: so is the answer to `cont` */
    GError *refusal;      /* destination: that answer, when it was no */
    gboolean is_started;  /* destination: the VM is ours */
    gboolean is_quitting; /* this side's QEMU was told to end */
} LocalHost;

/* ledger.c: what of the open job is in the journal */

/* `local->journal`, opened now if need be. */
gboolean gw_local_need_journal (LocalHost *local, GError **error);
/* The open job, and the directories that it may make. */
gboolean gw_local_journal_job (LocalHost *local, GError **error);
/* The QEMU that is about to be launched, so that none is without a row, or that was. */
gboolean gw_local_journal_qemu (LocalHost *local, GError **error);
/* The job is closed here, and nothing of it is left but a VM that was started. */
void gw_local_journal_end (LocalHost *local);
JsonObject *gw_local_get_epoch (LocalHost *, JsonObject *, GCancellable *, GError **);
/* keep.c: a job that goes on when its agent is started again */

JsonObject *gw_local_keep (LocalHost *, JsonObject *, GCancellable *, GError **);
/* The courier that was started in a job that is kept. */
gboolean gw_local_lease_courier (LocalHost *local, GCancellable *cancellable, GError **error);
/* The guest's memory is about to be on both hosts: neither the end of this agent nor of the coordinator may end the
 * courier any more.  Does nothing for a job that is not kept.  FALSE: the courier does not know of it. */
gboolean gw_local_bind (LocalHost *local, GCancellable *cancellable, GError **error);
/* Whether the open job is to be left to the next agent; then does so. */
gboolean gw_local_may_leave (const LocalHost *local);
void gw_local_leave (LocalHost *local);
/* exports.c: those that an agent before this one has left running for the open job; `params` as of disk.images */
gboolean gw_local_adopt_images (LocalHost *local, JsonObject *params, GError **error);
/* resume.c: another agent's job */
JsonObject *gw_local_resume_job (LocalHost *, JsonObject *, GCancellable *, GError **);
/* The agent before may have ended between STARTED and `cont`: does what it owes, which `is_owing` tells afterwards. */
void gw_local_let_run (LocalHost *local);
/* keep.c: GW_CAUSE_NOT_ALLOWED when `job` was opened here by another peer than the one that asks. */
gboolean gw_local_check_peer (LocalHost *local, const char *job, GError **error);
/* The job is to be opened: an older one of the same peer for the same VM waits no longer. */
gboolean gw_local_end_waiting (LocalHost *local, GError **error);

/* The record of `job` in this host's journal. */
GwRecord *gw_local_open_record (LocalHost *local, const char *job, GwSide side, guint timeout_ms,
                                GError **error);

/* Connects `local->qmp` to the monitor at `path` and watches its events. */
gboolean gw_local_connect_qmp (LocalHost *local, const char *path, guint timeout_ms,
                               GCancellable *cancellable, GError **error);
void gw_local_drop_qemu (LocalHost *local);
/* Ends the QEMU that was launched here and removes what it made.  The guest never ran in it; after
 * this no copy of it is here that could ever run.  May be called again. */
void gw_local_destroy_launched (LocalHost *local);
/* A QMP call whose result is of no interest. */
gboolean gw_local_qmp (LocalHost *local, GwQmpCommand command, JsonObject *arguments,
                       GCancellable *cancellable, GError **error);
GwMigration *gw_local_query_migrate (LocalHost *local, GCancellable *cancellable, GError **error);
/* How QEMU ended or what it last said, for messages.  (transfer full) */
char *gw_local_describe_qemu (LocalHost *local);

typedef JsonObject *(*GwLocalHandler) (LocalHost *local, JsonObject *params,
                                       GCancellable *cancellable, GError **error);

/* source.c */
JsonObject *gw_local_adopt (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_derive (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_migrate (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_set_pace (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_stop_guest (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_continue (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_undo_migration (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_quit_source (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_put_released (LocalHost *, JsonObject *, GCancellable *, GError **);
/* postcopy.c */
JsonObject *gw_local_throttle (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_start_postcopy (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_recover (LocalHost *, JsonObject *, GCancellable *, GError **);
/* Pauses the migration that is in postcopy if it does not know yet that its connection is gone. */
gboolean gw_local_pause_postcopy (LocalHost *local, GCancellable *cancellable, GError **error);
/* Whether `status` is one of postcopy, of any version of QEMU. */
gboolean gw_status_is_postcopy (const char *status);
/* settle.c */
JsonObject *gw_local_get_run_state (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_settle (LocalHost *, JsonObject *, GCancellable *, GError **);
/* guestclock.c */
JsonObject *gw_local_guest_clock (LocalHost *, JsonObject *, GCancellable *, GError **);
/* rescue.c: the destination holds REFUSED, and this QEMU is in postcopy: it is told that all arrived. */
gboolean gw_local_rescue (LocalHost *local, GCancellable *cancellable, GError **error);
/* start.c */
JsonObject *gw_local_start (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_settle_record (LocalHost *, JsonObject *, GCancellable *, GError **);
/* destination.c */
void gw_local_on_qemu_exit (GwProcess *process, gpointer user_data);
JsonObject *gw_local_launch (LocalHost *, JsonObject *, GCancellable *, GError **);
/* Its -chardev, by which it can be found, too.  (transfer full) */
char *gw_local_describe_monitor (const char *vm_dir);
JsonObject *gw_local_set_incoming (LocalHost *, JsonObject *, GCancellable *, GError **);
gboolean gw_qemu_changes_user (const char *const *argv);

/* contents.c */
JsonObject *gw_local_read_contents (LocalHost *, JsonObject *, GCancellable *, GError **);

/* token.c */
JsonObject *gw_local_put_tokens (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_find_tokens (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_drop_tokens (LocalHost *, JsonObject *, GCancellable *, GError **);
void gw_local_drop_token_files (LocalHost *local);
/* The file of an object of the kind "token". */
void gw_token_remove (JsonObject *object);

/* linkprobe.c */
JsonObject *gw_local_start_sink (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_finish_sink (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_begin_weighing (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_finish_weighing (LocalHost *, JsonObject *, GCancellable *, GError **);
/* ramproof.c */
JsonObject *gw_local_verify_ram (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_push (LocalHost *, JsonObject *, GCancellable *, GError **);
void gw_link_sink_free (GwLinkSink *sink);

/* inventory.c */
JsonObject *gw_local_take_inventory (LocalHost *, JsonObject *, GCancellable *, GError **);

/* rehearse_source.c */
JsonObject *gw_local_rehearse_save (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_rehearse_read (LocalHost *, JsonObject *, GCancellable *, GError **);
/* rehearse_destination.c */
JsonObject *gw_local_rehearse_launch (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_rehearse_put (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_rehearse_load (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_rehearse_end (LocalHost *, JsonObject *, GCancellable *, GError **);
/* Ends the throw-away QEMU, if there is one. */
void gw_local_drop_rehearsal (LocalHost *local);

/* exports.c */
JsonObject *gw_local_make_images (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_close_images (LocalHost *, JsonObject *, GCancellable *, GError **);
/* mirror.c */
JsonObject *gw_local_start_mirrors (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_get_mirrors (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_finish_mirrors (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_undo_mirrors (LocalHost *, JsonObject *, GCancellable *, GError **);
/* From now on every write goes to both, of each mirror that was not so.  Whether there was one. */
gboolean gw_mirror_set_block (LocalHost *local);
JsonObject *gw_local_hold_disks (LocalHost *, JsonObject *, GCancellable *, GError **);
/* A QEMU with mirrors that does not answer loses the courier, and answers again. */
void gw_local_free_deaf_qemu (LocalHost *local);
/* The copies have kept QEMU from `what` ("the guest could not be stopped") for so long.  Always FALSE:
 * DISK_SYNC, or DISK_DEAD when it is not they. */
gboolean gw_local_give_copies_up (LocalHost *local, const char *what, guint within_ms, GError **error);
/* Takes away every limit of ours that a disk of this QEMU has. */
void gw_local_release_disks (LocalHost *local);

/* sweep.c: what other jobs left */
/* Mirrors of jobs that have ended, with what belongs to them. */
void gw_local_sweep_mirrors (LocalHost *local);
/* All that has the name of a job: nobody works on one. */
gboolean gw_local_sweep_disks (LocalHost *local, GError **error);

/* disk_probe.c */
/* Starts QEMU's NBD server. */
gboolean gw_local_start_nbd (LocalHost *local, const char *socket, GError **error);
JsonObject *gw_local_probe_disks (LocalHost *, JsonObject *, GCancellable *, GError **);
/* proof.c */
JsonObject *gw_local_begin_proof (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_cut_proof (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_hash_disks (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_get_hashes (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_end_proof (LocalHost *, JsonObject *, GCancellable *, GError **);
/* What a comparison has in QEMU goes, and its thread ends. */
void gw_local_drop_proof (LocalHost *local);

/* --- wreck.c, wreck_vm.c: what a job has left whose process has ended ---------------------------------------- */

typedef struct {
    const GwHostConfig *config;
    GMainContext *context;
    GwJournal *journal;
    const char *job;
    GwSide side;
} GwWreck;

/* The QEMU of its side. */
typedef struct {
    gboolean is_known;    /* FALSE: the job came to none */
    gboolean was_running; /* source: when the job began */
    gboolean is_alive;    /* this very process */
    gint64 pid, start_time;
    char *monitor; /* owned */
} GwWreckQemu;

gboolean gw_wreck_find_qemu (const GwWreck *wreck, GwWreckQemu *ret_qemu, GError **error);
void gw_wreck_qemu_clear (GwWreckQemu *qemu);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (GwWreckQemu, gw_wreck_qemu_clear)
/* It is gone when this is TRUE. */
gboolean gw_wreck_kill (const GwWreck *wreck, const GwWreckQemu *qemu, GError **error);
/* destination: the guest never ran, and nothing that could run is left.  FALSE: something is. */
gboolean gw_wreck_take_apart (const GwWreck *wreck, GError **error);
/* What the job made in the file system goes, or what it need not keep when the VM has arrived. */
gboolean gw_wreck_put_away (const GwWreck *wreck, gboolean has_arrived, GError **error);
void gw_wreck_remove_directories (const GwWreck *wreck, gboolean also_of_vm);
/* Its row of the journal, an empty object when there is none.  (transfer full) */
JsonObject *gw_wreck_find_row (const GwWreck *wreck, GError **error);
/* Whether a row says that the job is still to be settled. */
gboolean gw_wreck_is_open (JsonObject *row);
/* The job is over, also in what its coordinator told. */
gboolean gw_wreck_close (const GwWreck *wreck, const char *result, GError **error);

/* Adds "qemu" ("untouched", "gone", "stands", "runs", "fetches": runs in postcopy without all of its memory, "deaf"),
 * "pid", "run_state", "migration", and "why" it is deaf. */
void gw_wreck_look (const GwWreck *wreck, JsonObject *evidence);
/* source: no migration, and the guest runs if it ran.  "stayed" or "lost"; NULL: it did not succeed. */
const char *gw_wreck_bring_back (const GwWreck *wreck, GError **error);
/* source: its copy is no more. */
gboolean gw_wreck_end_vm (const GwWreck *wreck, GError **error);
/* destination, STARTED: the guest goes on if it is to run and stands. */
gboolean gw_wreck_let_run (const GwWreck *wreck, gboolean is_to_run, GError **error);

/* quarantine.c */
struct stat;
/* Whether the object of a file is the regular file that is there now. */
gboolean gw_object_is_at (JsonObject *object, struct stat *ret_st);
/* The file of the object goes to where it is kept for a day. */
gboolean gw_wreck_quarantine (const GwWreck *wreck, JsonObject *object, GError **error);
typedef enum { GW_SWEEP_DRY, GW_SWEEP_OVER, GW_SWEEP_ALL } GwSweep; /* nothing, what is older than a day, everything */
/* Adds what it finds to `told` (may be NULL): {"job","path","action","until_us","bytes"}. */
gboolean gw_quarantine_sweep (GwJournal *journal, GwSweep how, JsonArray *told, GError **error);
/* cleanup.c: {"dry_run","now"}: {"files"} */
JsonObject *gw_local_cleanup (LocalHost *, JsonObject *, GCancellable *, GError **);

/* evidence.c: for `godwit reconcile` */
JsonObject *gw_local_get_evidence (LocalHost *, JsonObject *, GCancellable *, GError **);
JsonObject *gw_local_reconcile (LocalHost *, JsonObject *, GCancellable *, GError **);

/* mend.c: one side of one job */

/* How long the lock on its record is waited for; whether the destination's REFUSED, or the operator's word in its
 * place, allows the source's guest to run after RELEASED; and whether a job ends at once that waits for its next agent. */
typedef struct {
    guint lock_ms;
    gboolean is_refused;
    gboolean is_now;
} GwMendTerms;
/* "settled": nothing was open.  NULL: it stays open.  Else the result that was written. */
const char *gw_wreck_mend (const GwWreck *wreck, const GwMendTerms *terms, GError **error);

/* keep.c: nobody works on it, and somebody may come who does. */
gboolean gw_wreck_waits (const GwWreck *wreck, JsonObject *row);

/* --- capabilities.c: of QEMU's migration -------------------------------------------------------------------------------------------------- */

enum {
    GW_CAPABILITY_ALWAYS = 1 << 0,
    GW_CAPABILITY_POSTCOPY = 1 << 1,
    GW_CAPABILITY_PREEMPT = 1 << 2,
    GW_CAPABILITY_BLOCKTIME = 1 << 3,
    GW_CAPABILITY_THROTTLE = 1 << 4,
    GW_CAPABILITY_NEVER = 1 << 5, /* off, whoever had it on */
};

/* Switches on what is on in every migration and what `which` asks for, remembering what was off; and
 * back. */
gboolean gw_local_set_capabilities (LocalHost *local, guint which, GCancellable *cancellable,
                                    GError **error);
void gw_local_restore_capabilities (LocalHost *local);
/* Switches off those of `on` that godwit uses: nobody knows any more which were on before. */
gboolean gw_local_clear_capabilities (LocalHost *local, const char *const *on, GError **error);
/* They are taken for ours: all of them were off. */
gboolean gw_local_assume_capabilities (LocalHost *local, GError **error);
/* The same, of all that are on. */
gboolean gw_local_reset_capabilities (LocalHost *local, GError **error);

#endif
