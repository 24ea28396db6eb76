/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model: plain structs of facts, and their JSON.
 *
 * Theory
 * ------
 * What godwit knows about a VM, a host, a plan or a finished job is a plain struct: strings, 64 bit
 * integers, booleans, string vectors and arrays of further structs.  No struct here has behaviour.
 * They are filled by src/host, judged by src/check, driven by src/flow, shown by src/cli, and they
 * travel between hosts as JSON.
 *
 * Each struct is described once, by a table of fields (GwStructType).  One reader, one writer and
 * one destructor walk that table, so a field that is added to a table is read, written, bounded and
 * freed.  The reader trusts nothing: a member of the wrong type, an integer out of the field's
 * range, a string or an array over its bound and a missing required member are errors that name
 * the member; unknown members are ignored, so that a newer peer may say more.
 *
 * Everything in this folder is pure: no I/O, no clock, no thread.
 */
#ifndef GW_MODEL_H
#define GW_MODEL_H

#include <json-glib/json-glib.h>

#include "base.h"

/* --- struct.c: tables of fields ---------------------------------------------------------------- */

#define GW_STRING_MAX (64 * 1024) /* bytes of one string in foreign JSON */
#define GW_ARRAY_MAX 4096         /* elements of one array in foreign JSON */
#define GW_JSON_DEPTH_MAX 64      /* objects and arrays inside each other in a text */

typedef enum {
    GW_FIELD_STR,   /* char *, NULL is left out */
    GW_FIELD_STRV,  /* GStrv, NULL is the empty array */
    GW_FIELD_INT,   /* gint64 */
    GW_FIELD_BOOL,  /* gboolean */
    GW_FIELD_ARRAY, /* GPtrArray * of structs of `type`; never NULL after reading */
    GW_FIELD_OBJECT /* pointer to a struct of `type`, NULL is null */
} GwFieldKind;

typedef struct _GwStructType GwStructType;

typedef struct {
    const char *name;
    GwFieldKind kind;
    gsize offset;
    const GwStructType *type; /* of ARRAY and OBJECT */
    gint64 min, max;          /* of INT */
    gboolean is_required;
} GwField;

struct _GwStructType {
    const char *name;
    gsize size;
    const GwField *fields;
    guint n_fields;
};

/* A zeroed struct of `type` with empty arrays.  (transfer full, gw_struct_free()) */
gpointer gw_struct_new (const GwStructType *type);
void gw_struct_free (const GwStructType *type, gpointer data);
/* The struct as JSON.  (transfer full) */
JsonObject *gw_struct_to_json (const GwStructType *type, gconstpointer data);
/* Reads `object`, which may come from a peer.  NULL with GW_CAUSE_RPC_INVALID naming the member. */
gpointer gw_struct_from_json (const GwStructType *type, JsonObject *object, GError **error);

/* --- json.c: single members ---------------------------------------------------------------------- */

/* Members of foreign JSON: each returns the value, or sets GW_CAUSE_RPC_INVALID naming the member.
 * Strings are borrowed from `object`. */
const char *gw_json_get_string (JsonObject *object, const char *name, GError **error);
gboolean gw_json_get_int (JsonObject *object, const char *name, gint64 min, gint64 max,
                          gint64 *ret_value, GError **error);
JsonObject *gw_json_get_object (JsonObject *object, const char *name, GError **error);

/* Members that may be missing or of another type: then the fallback. */
const char *gw_json_peek_string (JsonObject *object, const char *name, const char *fallback);
gint64 gw_json_peek_int (JsonObject *object, const char *name, gint64 fallback);
gboolean gw_json_peek_bool (JsonObject *object, const char *name, gboolean fallback);
JsonObject *gw_json_peek_object (JsonObject *object, const char *name); /* NULL when missing */
JsonArray *gw_json_peek_array (JsonObject *object, const char *name);   /* NULL when missing */
GStrv gw_json_peek_strv (JsonObject *object, const char *name);         /* (transfer full), never NULL */

/* gw_json_new ("job:s", job, "epoch:i", (gint64) 3, "run:b", TRUE, "vm:o", object, "list:v", strv,
 * NULL): a JSON object.  s string (NULL is left out), i gint64, b gboolean, o JsonObject (transfer
 * full, NULL is left out), v GStrv, n JsonNode (transfer full).  (transfer full) */
JsonObject *gw_json_new (const char *first, ...) G_GNUC_NULL_TERMINATED;
void gw_json_set_strv (JsonObject *object, const char *name, const char *const *strv);
/* The text of `object`, on one line or indented.  (transfer full) */
char *gw_json_to_text (JsonObject *object, gboolean is_pretty);
/* Parses a text of a file or of a command line, which may be damaged or hostile;
 * GW_CAUSE_RPC_INVALID.  (transfer full) */
JsonObject *gw_json_parse (const char *text, gssize len, GError **error);

/* --- vm.c: a VM ----------------------------------------------------------------------------------- */

typedef struct {
    char *name;
    gint64 used_bytes, max_bytes, page_bytes;
} GwRamBlock;

typedef struct {
    char *path; /* QOM path */
    char *id;   /* NULL when anonymous */
    char *type; /* QOM type, "virtio-net-pci" */
    char *bus;  /* name of the bus it sits on, "pcie.0"; NULL when none */
    GStrv pins; /* "addr=03.0", "nr=1", "mac=...": where exactly it sits, as -device options */
    gboolean is_hotplugged;
} GwDevice;

typedef struct {
    char *name; /* as the image above has it, may be relative to that */
    char *path; /* where that is here */
    char *format; /* "raw", "qcow2"; NULL: not known */
} GwBacking;

typedef struct {
    char *device;  /* name of the block backend, "" when it has none */
    char *node;    /* node name */
    char *driver;  /* "qcow2", "raw" ... */
    char *path;    /* file, as QEMU has it; NULL when it is not a local file */
    char *url;     /* what QEMU calls it when it is not a local file */
    gint64 bytes;  /* virtual size */
    gint64 st_dev, st_ino; /* identity of `path` on its host, 0 when unknown */
    gboolean is_read_only;
    gboolean is_unflushed; /* cache=unsafe: QEMU never flushes it */
    gint64 allocated_bytes; /* that its images take on the storage, those below included; 0: not known */
    char *options;  /* qcow2: how to make another one like it, as "qemu-img create -o" takes it */
    char *obstacle; /* what of its image cannot be made again elsewhere; NULL: nothing */
    GPtrArray *backing;    /* GwBacking: the chain below, nearest first */
} GwDisk;

typedef struct {
    char *label, *filename;
} GwChardev;

typedef struct {
    char *name, *uuid; /* name may be NULL */
    char *qmp_path;
    gint64 pid, start_time; /* start_time: clock ticks since boot, field 22 of /proc/PID/stat */
    gint64 uid;
    char *user; /* name of uid, NULL when it has none */
    char *binary, *cwd;
    GStrv argv;
    gint64 version_major, version_minor, version_micro;
    char *version_package;
    char *machine; /* resolved, "pc-q35-7.2" */
    char *cpu_type;
    char *accel; /* "kvm" or "tcg" */
    gint64 n_cpus, ram_bytes;
    GPtrArray *ram_blocks; /* GwRamBlock */
    GPtrArray *devices;    /* GwDevice */
    GStrv device_types;    /* of all devices, built-in ones included, each once */
    GPtrArray *disks;      /* GwDisk */
    GPtrArray *chardevs;   /* GwChardev */
    GStrv netdevs;         /* ids */
    GStrv objects;         /* ids of user-creatable objects */
    GStrv block_names;     /* names of block backends and of block nodes */
    GStrv extras;          /* "-object", "...", "-netdev", "...": backends added at run time, as
                              options, in the order in which they must be made */
    char *run_state;       /* query-status */
    gboolean is_running;
    char *migration_status; /* NULL when there was none */
    GStrv blocked_reasons;
    GStrv capabilities; /* of migration, those that are on */
    char *tls_creds;    /* of QEMU's own migration, NULL or "": none */
    gint64 epoch; /* how many times godwit has moved it */
} GwVm;

extern const GwStructType gw_vm_type;
void gw_vm_free (GwVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwVm, gw_vm_free)
/* A name for people: name, else the uuid, else "pid N".  (transfer full) */
char *gw_vm_get_label (const GwVm *vm);

/* --- what is inside a QEMU ------------------------------------------------------------------------ */

typedef struct {
    char *type;  /* "virtio-net-pci" */
    char *id;    /* NULL when anonymous */
    char *bus;   /* "pcie.0" */
    char *place; /* on that bus, "addr = 02.0"; "" where it has none */
    char *model; /* "1af4:1000", of a PCI device; NULL: none */
    gint64 n_queues, n_vectors; /* -1: it has none */
} GwPart;

typedef struct {
    char *word;              /* "0x7/0 EBX": leaf, subleaf and register of CPUID */
    gint64 bits, withheld;   /* that the guest sees; asked for and not to be had on that host */
} GwCpuWord;

/* What decides whether a QEMU can load the state of another. */
typedef struct {
    char *cpu_type;
    GPtrArray *cpu_words;  /* GwCpuWord of the first processor; those without a bit left out */
    GPtrArray *ram_blocks; /* GwRamBlock */
    GPtrArray *parts;      /* GwPart: devices, those that sit on the board itself left out */
} GwInventory;

extern const GwStructType gw_inventory_type;
void gw_inventory_free (GwInventory *inventory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwInventory, gw_inventory_free)

/* --- derived.c: the command line for the destination ----------------------------------------------- */

typedef struct {
    char *option; /* "-drive" */
    char *from, *to;
    char *why;
} GwRewrite;

typedef struct {
    char *path;
    char *kind; /* "socket" or "file" that QEMU will create, "image", "input", "backing" that it will read;
                   "tap" and "bridge": an interface, whose name is `path` */
    char *source_path;
} GwNeed;

typedef struct {
    GStrv argv;          /* without the program */
    GPtrArray *rewrites; /* GwRewrite: what was changed and why */
    GPtrArray *needs;    /* GwNeed: paths that the destination's QEMU will touch */
    GStrv warnings;
} GwDerived;

extern const GwStructType gw_derived_type;
void gw_derived_free (GwDerived *derived);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwDerived, gw_derived_free)

/* --- a QEMU program ------------------------------------------------------------------------------------ */

typedef struct {
    char *identity; /* of the file that said this */
    char *version;  /* "7.2.22 (Debian ...)" */
    GStrv machines; /* machine types on offer, aliases left out */
    GStrv devices;  /* types that -device takes */
} GwQemuFacts;

typedef struct {
    char *type;               /* of the device */
    gint64 version, minimum;  /* of its state: that it sends, and the oldest that it reads */
} GwVmState;

typedef struct {
    char *identity; /* of the program's file */
    char *machine;
    GPtrArray *states; /* GwVmState of every device type that it has */
} GwVmStates;

extern const GwStructType gw_vm_states_type;
void gw_vm_states_free (GwVmStates *states);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwVmStates, gw_vm_states_free)

extern const GwStructType gw_qemu_facts_type;
void gw_qemu_facts_free (GwQemuFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwQemuFacts, gw_qemu_facts_free)

/* --- facts.c: a host -------------------------------------------------------------------------------- */

typedef struct {
    gint64 pid;
    char *name;
} GwLockHolder;

typedef struct {
    char *path;
    gboolean is_forbidden; /* the host's configuration lets no VM have it; the rest is not told then */
    gboolean exists;
    gboolean is_live; /* a socket on which somebody listens */
    gint64 st_dev, st_ino, bytes;
    gboolean is_device;     /* a block device */
    gboolean has_directory; /* the directory that it is or would be in exists */
    gboolean is_partial;    /* a copy of ours that was not finished */
    gboolean takes_images;  /* the host's configuration lets godwit make images in it */
    gint64 fs_dev, free_bytes; /* of the file system of that directory */
    char *real_path;       /* of an image: without symbolic links; NULL: none */
    char *content;         /* of a read-only medium: a hash of what is in it; NULL: not known */
    gboolean has_token;    /* what the source wrote beside its image was read beside this one */
    char *device_identity; /* of a block device: "wwid naa.6001...", NULL: none */
    GPtrArray *holders;    /* GwLockHolder: processes of this host that hold a lock on an image */
    char *certificate;     /* of a directory of TLS credentials: the one that ends first; NULL: none */
    gint64 certificate_ends_s; /* since 1970 */
} GwPathFacts;

extern const GwStructType gw_path_facts_type;

typedef struct {
    gint64 page_bytes, n_total, n_free;
} GwHugePages;

typedef struct {
    char *name;
    gint64 mtu;
} GwInterface;

typedef struct {
    gint64 pid, start_time;
    char *name, *uuid; /* as its command line has them, NULL: not */
} GwOtherVm;

typedef struct {
    char *hostname, *boot_id, *kernel;
    gint64 mem_total_bytes, mem_available_bytes;
    char *qemu_binary;   /* NULL when the asked program is not there or not allowed */
    char *qemu_error;    /* why not */
    char *qemu_version;  /* "7.2.22 (Debian ...)" */
    GStrv machines;      /* machine types on offer, aliases left out */
    GStrv device_types;   /* that -device takes; empty: not known */
    GPtrArray *vm_states; /* GwVmState, of the machine type asked for; empty: not known */
    GStrv data_addresses;
    GPtrArray *paths; /* GwPathFacts, in the order asked */
    GPtrArray *interfaces; /* GwInterface: of the network namespace that the agent is in */
    GStrv addresses;       /* of those interfaces */
    GPtrArray *qemus;      /* GwOtherVm: QEMUs that run in that namespace */
    gint64 clock_offset_us; /* its clock less the coordinator's */
    gint64 now_s;           /* when this was read, seconds since 1970 by its clock */
    GPtrArray *huge_pages;  /* GwHugePages */
    gboolean has_userfaultfd;
    char *userfaultfd_error; /* why not */
    gboolean has_seccomp;
    gboolean has_stable_tsc; /* one rate in all states of the processor */
    char *cpu_model, *clock_source; /* as the kernel names them */
    GStrv jobs;             /* jobs that are open there: "gw-12ab34cd-src" */
    gint64 uid;
} GwHostFacts;

extern const GwStructType gw_host_facts_type;
void gw_host_facts_free (GwHostFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwHostFacts, gw_host_facts_free)

/* --- plan.c: what the user asked for ------------------------------------------------------------------ */

typedef struct {
    char *vm;          /* qmp:PATH or NAME */
    char *destination; /* unix:PATH, ssh://..., godwit://... */
    gint64 max_downtime_ms;
    gint64 timeout_s; /* 0: none */
    char *on_timeout; /* postcopy throttle stop abort */
    char *postcopy;   /* auto never now */
    gint64 max_bandwidth_bps;
    gint64 throttle_disks_bps; /* so far the guest's writes to each may be held back; 0: not at all */
    gint64 n_paths;
    gint64 link_deadline_s; /* the link may be down this long in precopy */
    gint64 settle_s; /* the moved VM is watched before the source's copy goes */
    GStrv data_addresses;
    GStrv maps; /* "SOURCE=DESTINATION" */
    char *disks; /* auto copy shared */
    gboolean resumes_disks; /* keep what was copied if it fails, and go on with what is there */
    gboolean overwrites_images; /* images that are on the destination already may be replaced */
    char *verify; /* auto full none: how copied disks are compared; ram all: memory too, disks as auto and full */
    char *codec; /* auto off */
    char *guest_clock; /* auto off */
    gboolean is_rehearsed;
    gint64 rehearse_budget_ms; /* that the guest may stand still for it */
    gboolean keeps_source;
    GStrv accepted_risks; /* names of src/check/bugs.def */
    gboolean is_check_only;
} GwPlan;

extern const GwStructType gw_plan_type;
GwPlan *gw_plan_new (void); /* with the defaults of godwit(1) */
void gw_plan_free (GwPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwPlan, gw_plan_free)

/* --- disks: what becomes of them, and how far that is -------------------------------------------------- */

typedef struct {
    char *name;          /* for people */
    char *node;          /* of the source's QEMU */
    char *action;        /* shared copy recreate refuse */
    char *reason;        /* one clause */
    char *cause;         /* code of a refusal, else NULL */
    char *path, *target; /* here and there; NULL: no local file */
    char *format, *options; /* of the image, as in GwDisk */
    char *backing, *backing_format; /* copy: the image there that it is built on; NULL: on none */
    gboolean is_top;     /* copy: only what is not in the images below */
    gboolean overwrites; /* copy: there is a file at `target` that may be replaced */
    gboolean resumes;    /* copy: what `target` has already is compared, and used */
    gboolean is_kept;    /* copy: what is there stays if the move fails, for another try */
    gboolean is_unsure;  /* nothing proves that the action is right */
    gint64 bytes, allocated_bytes;
} GwDiskPlan;

typedef struct {
    GPtrArray *disks; /* GwDiskPlan */
} GwDiskPlans;

extern const GwStructType gw_disk_plans_type;
void gw_disk_plans_free (GwDiskPlans *plans);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwDiskPlans, gw_disk_plans_free)
gboolean gw_disk_plan_is (const GwDiskPlan *plan, const char *action);
guint gw_disk_plans_count_copies (const GwDiskPlans *plans);

typedef struct {
    char *name;
    char *status; /* of the block job: created running ready ... concluded */
    char *error;  /* why it ended; NULL: it goes on, or ended as it should */
    gint64 total_bytes, done_bytes; /* both grow as the guest writes */
    gint64 rate_bps, eta_ms;        /* -1: not known */
} GwMirror;

typedef struct {
    GPtrArray *mirrors; /* GwMirror, one a disk that is copied */
} GwMirrors;

extern const GwStructType gw_mirrors_type;
void gw_mirrors_free (GwMirrors *mirrors);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwMirrors, gw_mirrors_free)

/* --- migration.c: query-migrate ------------------------------------------------------------------------- */

typedef struct {
    char *status;     /* QEMU's, "active"; "none" before any */
    char *error_desc; /* NULL when QEMU gave none */
    gint64 total_bytes, remaining_bytes, transferred_bytes, normal_bytes;
    gint64 dirty_bps; /* bytes a second that the guest dirties, as of the last pass */
    gint64 rate_bps;  /* bytes a second that QEMU measures on its socket */
    gint64 rounds, page_bytes;
    gint64 expected_downtime_ms, downtime_ms, total_ms, setup_ms;
    gint64 throttle_percent;
    gint64 postcopy_requests; /* pages that the destination asked for */
} GwMigration;

extern const GwStructType gw_migration_type;
void gw_migration_free (GwMigration *migration);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwMigration, gw_migration_free)
/* Reads QEMU's reply to query-migrate; missing members are 0. */
GwMigration *gw_migration_from_qmp (JsonObject *reply);

/* --- progress.c -------------------------------------------------------------------------------------------- */

typedef struct {
    char *job, *vm, *phase;
    gint64 at_us, elapsed_ms;
    gint64 total_bytes, remaining_bytes, transferred_bytes, rate_bps, dirty_bps, rounds;
    gint64 percent;       /* 0..100 of the RAM of this round's start, -1 unknown */
    gint64 eta_ms;        /* -1 unknown */
    gint64 downtime_ms;   /* estimate of the downtime if it switched now, -1 unknown */
    char *note;           /* "link down for 3 s, guest unaffected"; may be NULL */
    GPtrArray *disks;     /* GwMirror: those that are copied */
    gboolean is_done;
} GwProgress;

extern const GwStructType gw_progress_type;
void gw_progress_free (GwProgress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwProgress, gw_progress_free)

#endif
