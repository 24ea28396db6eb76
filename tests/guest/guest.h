/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest: the init of the guest that the end-to-end tests move about.
 *
 * Theory
 * ------
 * It is the only program of a Debian kernel with an initrd, linked static, without GLib.  It exists
 * to notice what a migration can do wrong to a guest, and to give the host something to measure:
 *
 * Memory.  Every page of a region has a content that follows from its index, its generation, its
 * kind and the seed (content.c), and what it ought to be stands in a table elsewhere in memory
 * (memory.c).  A writer takes pages to their next generation at a given rate; a checker walks over
 * all of them, makes the expected content again and compares all 4096 bytes.  So a page that comes
 * back older than it was, lands at another address, is torn or zero is found and named.
 *
 * Disk.  Numbered records are written with O_DIRECT and O_DSYNC; a number is reported only after its
 * write has returned (disk.c).  After a reboot the numbers go on.  They may lie in a file system, where with
 * each of them a file is replaced (files.c).
 *
 * Ticks.  Each millisecond a numbered line leaves on a channel that the host stamps on arrival
 * (tick.c).  The guest's own clock stops with the guest and cannot see a gap; the host's can.  A
 * line that the channel does not take is dropped and counted, and gives its number to the next
 * one: a number missing on the host was lost on the way.
 *
 * Report.  Lines of text on a second channel, and commands from the host on the same (report.c,
 * command.c).  Lines queue in a bounded ring, so nobody waits for the host.
 *
 *     BOOT <boot> <version>           hello; <boot> is new at every boot
 *     READY <boot> pages=<n>          the memory is filled, the load runs
 *     S <boot> <seq> checked=.. rounds=.. bad=.. written=.. disk=.. dropped=.. late=.. lost=..
 *     D <number>                      that disk record is on the disk
 *     E <what> ...                    something is wrong
 *     CHECKED rounds=<n> bad=<n>      answer to "check"
 *     OK ... / ? ...                  answer to any other command
 *
 * Threads.  tick runs with real-time priority, report above the rest, writer, disk and checker
 * below.  Each module owns its state; what others read are C11 atomics.
 */
#ifndef GW_GUEST_H
#define GW_GUEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_PAGE_BYTES 4096
#define GUEST_PAGE_WORDS (GUEST_PAGE_BYTES / 8)
#define GUEST_LINE_MAX 240 /* bytes of a report line, with its newline */

/* --- content.c: what a page must hold (pure) ------------------------------------------------- */

typedef enum {
    GUEST_ZERO,
    GUEST_SMALL, /* random; 16 words change */
    GUEST_TEXT,
    GUEST_RANDOM,
    GUEST_HEAP,  /* compresses to 0.57; 16 words change */
    GUEST_N_KINDS
} GuestKind;

/* The identity of a page's content. */
typedef struct {
    uint64_t address;    /* where the page is mapped */
    uint64_t seed;
    uint32_t index;      /* number of the page in the region */
    uint32_t generation; /* counts rewrites */
    GuestKind kind;
} GuestPage;

/* "zero", "small", "text", "random", "heap"; guest_kind_from_name() gives GUEST_N_KINDS for another name. */
const char *guest_kind_name (GuestKind kind);
GuestKind guest_kind_from_name (const char *name);

/* Writes the content of `page` into `words`.  Odd generations of the zero kind have a header, even
 * ones are zero throughout, as QEMU's zero page detection wants it. */
void guest_content_make (const GuestPage *page, uint64_t words[static GUEST_PAGE_WORDS]);

/* Whether only a few words differ between generations. */
bool guest_content_is_small (GuestKind kind);
/* The same for a page of such a kind that holds the generation before. */
void guest_content_step (const GuestPage *page, uint64_t words[static GUEST_PAGE_WORDS]);

/* Says in `text` how `found` differs from what `page` and its content `wanted` ask for. */
void guest_content_explain (const GuestPage *page, const uint64_t wanted[static GUEST_PAGE_WORDS],
                            const uint64_t found[static GUEST_PAGE_WORDS], char *text, size_t size);

/* The next number of a generator whose state is `*state` (never 0). */
uint64_t guest_random (uint64_t *state);

/* --- cmdline.c -------------------------------------------------------------------------------- */

typedef struct {
    uint64_t mem_bytes;         /* rewritten region */
    uint64_t fill_bytes;        /* region that is only checked */
    uint64_t dirty_bps;         /* bytes of pages rewritten a second */
    uint64_t check_bps;         /* bytes checked a second; 0 is none, UINT64_MAX without a limit */
    uint64_t diskrate;          /* records a second; 0 is none */
    uint64_t diskspan_bytes;    /* the records wrap after so many bytes */
    uint64_t diskbulk_bytes;    /* written behind the records with each of them, at most 1M */
    uint64_t seed;
    uint64_t content;           /* GuestKind of the rewritten region */
    uint64_t fill_content;      /* GuestKind of the other */
    uint64_t is_random;         /* order of the writer: 1 random, 0 sequential */
    uint64_t is_commanded;      /* commands of the host are carried out */
    char tick[64];              /* device names; empty means look for the channel by its name */
    char report[64];
    char disk[64];
    char fs[64];                /* the device with the file system; empty is none */
    char run[64];               /* a program in it that is the load; empty is none */
} GuestParams;

/* Reads the words "gw.NAME=VALUE" of `line` over the defaults.  False with the offending word in
 * `bad` (at least 64 bytes) when a name is unknown or a value malformed. */
bool guest_params_parse (const char *line, GuestParams *params, char *bad);

/* "20M/s" -> 20971520, "max" -> UINT64_MAX.  False when malformed. */
bool guest_parse_size (const char *text, uint64_t *value);

/* --- modules.c -------------------------------------------------------------------------------- */

/* Loads the kernel modules that /modules/list names, in its order. */
void guest_modules_load (void);

/* --- channel.c --------------------------------------------------------------------------------- */

/* Opens `device`, or if that is empty the virtio-serial port called `name`, or if there is none the
 * serial line `fallback`; non-blocking and raw.  -1 when nothing can be opened. */
int guest_channel_open (const char *device, const char *name, const char *fallback);
/* Looks once for the virtio-serial port called `name`; the path of its device goes to `device`. */
bool guest_channel_find (const char *name, char *device, size_t size);

/* --- agent.c ------------------------------------------------------------------------------------- */

/* Starts QEMU's guest agent, where the initrd has it and the VM a port for it. */
void guest_agent_start (void);

/* --- run.c --------------------------------------------------------------------------------------- */

/* Starts `params->run` with the file system as its root.  Each line that it writes is reported as "RUN <line>". */
void guest_run_start (const GuestParams *params);

/* --- report.c ---------------------------------------------------------------------------------- */

/* Queues a line (a newline is added).  Never blocks; a line that does not fit is counted. */
void guest_report (const char *format, ...) __attribute__ ((format (printf, 1, 2)));

/* Serves the channel for ever: writes what is queued, hands lines from the host to `command`,
 * calls `status` once a second. */
void guest_report_serve (int fd, void (*command) (char *line), void (*status) (void))
    __attribute__ ((noreturn));

/* Waits until the queue is empty, at most `ms`. */
void guest_report_flush (int fd, unsigned ms);

/* The eight hexadecimal digits of this boot. */
const char *guest_boot_id (void);
uint64_t guest_report_lost (void);

/* --- memory.c ---------------------------------------------------------------------------------- */

typedef struct {
    uint64_t checked, rounds, bad, written;
} GuestMemoryStatus;

/* Fills the regions and starts the writer and the checker.  False without memory. */
bool guest_memory_start (const GuestParams *params);
void guest_memory_set_dirty (uint64_t bps);
void guest_memory_set_kind (GuestKind kind);
void guest_memory_set_paused (bool is_paused);
/* Has the checker walk all pages once, unpaced, and report CHECKED. */
void guest_memory_request_check (void);
void guest_memory_get_status (GuestMemoryStatus *ret_status);

/* --- files.c ------------------------------------------------------------------------------------ */

/* Mounts the ext4 of `device` at /fs. */
bool guest_files_mount (const char *device);
/* A synced file with that record, over and over, if there is a file system. */
bool guest_files_write (uint64_t number, const void *record, size_t bytes);

/* --- disk.c, tick.c, command.c ------------------------------------------------------------------ */

/* Starts the writer of records, if there is a disk and a rate. */
void guest_disk_start (const GuestParams *params);
uint64_t guest_disk_last (void);

void guest_tick_start (int fd);
uint64_t guest_tick_dropped (void);
uint64_t guest_tick_late (void);

/* Carries out one command of the host; guest_command_refuse() answers it only. */
void guest_command (char *line);
void guest_command_refuse (char *line);
/* Remembers the report channel, so that the last words are sent before the end. */
void guest_command_set_channel (int fd);

/* --- pace.c: threads and time ------------------------------------------------------------------- */

/* Starts a detached thread; `fifo` > 0 is its real-time priority, otherwise `nice` holds. */
void guest_thread_start (void *(*run) (void *), void *data, int fifo, int nice);

/* Paces work: an allowance of units that grows with time, up to what 50 ms bring, so that a guest
 * that was stopped does not make up for it afterwards. */
typedef struct {
    int64_t last_ns;
    uint64_t allowance; /* nano-units, so that slow rates are exact */
    uint64_t unit;      /* the least amount that can be worked off, always allowed to gather */
} GuestPace;

void guest_pace_init (GuestPace *pace, uint64_t unit);
/* Sleeps a slice, takes all whole units that `rate` (a second) allows now and gives their amount. */
uint64_t guest_pace_wait (GuestPace *pace, uint64_t rate, unsigned slice_ms);
int64_t guest_now_ns (void);

#endif
