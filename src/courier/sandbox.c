/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <linux/landlock.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the loop, GnuTLS, GLib and the allocator call once everything is set up, seen by strace in
 * runs of all tests; the comments say who. */
static const int allowed[] = {
    SCMP_SYS (read), SCMP_SYS (write), SCMP_SYS (readv), SCMP_SYS (writev), /* lanes, stderr */
    SCMP_SYS (recvfrom), SCMP_SYS (sendto), SCMP_SYS (recvmsg), SCMP_SYS (sendmsg),
    SCMP_SYS (pread64), /* of the memory that the agent hands over */
    SCMP_SYS (accept4), SCMP_SYS (shutdown), SCMP_SYS (close),
    SCMP_SYS (getsockopt), SCMP_SYS (setsockopt), SCMP_SYS (getsockname), SCMP_SYS (getpeername),
    SCMP_SYS (poll), SCMP_SYS (ppoll), SCMP_SYS (restart_syscall),
    SCMP_SYS (clock_gettime), SCMP_SYS (gettimeofday), /* where there is no vDSO */
    SCMP_SYS (getrandom), SCMP_SYS (getrusage), SCMP_SYS (getpid), SCMP_SYS (gettid), /* GnuTLS */
    SCMP_SYS (futex), SCMP_SYS (brk), SCMP_SYS (munmap), SCMP_SYS (mremap), SCMP_SYS (madvise),
    SCMP_SYS (fstat), SCMP_SYS (newfstatat), SCMP_SYS (lseek), /* stdio's first write */
    SCMP_SYS (rt_sigreturn), SCMP_SYS (rt_sigprocmask), SCMP_SYS (rt_sigaction),
    SCMP_SYS (tgkill), /* abort(), by an assertion */
    SCMP_SYS (exit), SCMP_SYS (exit_group),
};

/* Nobody calls these by accident. */
static const int deadly[] = {
    SCMP_SYS (execve), SCMP_SYS (execveat), SCMP_SYS (fork), SCMP_SYS (vfork), SCMP_SYS (clone),
    SCMP_SYS (clone3), SCMP_SYS (open), SCMP_SYS (openat), SCMP_SYS (openat2), SCMP_SYS (creat),
    SCMP_SYS (open_by_handle_at), SCMP_SYS (socket), SCMP_SYS (socketpair), SCMP_SYS (connect),
    SCMP_SYS (bind), SCMP_SYS (listen), SCMP_SYS (ptrace), SCMP_SYS (process_vm_readv),
    SCMP_SYS (process_vm_writev), SCMP_SYS (pidfd_getfd), SCMP_SYS (kill), SCMP_SYS (unlink),
    SCMP_SYS (unlinkat), SCMP_SYS (rename), SCMP_SYS (renameat2), SCMP_SYS (mount),
    SCMP_SYS (io_uring_setup), SCMP_SYS (bpf), SCMP_SYS (userfaultfd),
};

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define HAS_SANITIZER 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

/* --- seccomp ------------------------------------------------------------------------------------------ */

/* Calls of which only some are harmless: memory that is not to be executed, the bytes in a socket. */
static int
allow_partly (scmp_filter_ctx filter)
{
    struct scmp_arg_cmp no_exec = { .arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC };
    struct scmp_arg_cmp unsent = { .arg = 1, .op = SCMP_CMP_EQ, .datum_a = SIOCOUTQNSD };
    struct scmp_arg_cmp unacked = { .arg = 1, .op = SCMP_CMP_EQ, .datum_a = SIOCOUTQ };
    int rc = seccomp_rule_add (filter, SCMP_ACT_ALLOW, SCMP_SYS (mmap), 1, no_exec);
    if (rc == 0)
        rc = seccomp_rule_add (filter, SCMP_ACT_ALLOW, SCMP_SYS (mprotect), 1, no_exec);
    if (rc == 0)
        rc = seccomp_rule_add (filter, SCMP_ACT_ALLOW, SCMP_SYS (ioctl), 1, unsent);
    if (rc == 0)
        rc = seccomp_rule_add (filter, SCMP_ACT_ALLOW, SCMP_SYS (ioctl), 1, unacked);
    return rc;
}

static int
fill_filter (scmp_filter_ctx filter)
{
    int rc = allow_partly (filter);
    for (guint i = 0; i < G_N_ELEMENTS (allowed) && rc == 0; i++)
        rc = seccomp_rule_add (filter, SCMP_ACT_ALLOW, allowed[i], 0);
    for (guint i = 0; i < G_N_ELEMENTS (deadly) && rc == 0; i++)
        rc = seccomp_rule_add (filter, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    return rc;
}

/* What is neither allowed nor deadly fails: a library that is newer than this list finds another way. */
static char *
enter_seccomp (void)
{
    scmp_filter_ctx filter = seccomp_init (SCMP_ACT_ERRNO (EPERM));
    if (filter == NULL)
        return g_strdup ("off: libseccomp makes no filter");
    (void) seccomp_attr_set (filter, SCMP_FLTATR_CTL_LOG, 1); /* the audit log is a help, no more */
    int rc = seccomp_attr_set (filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0)
        rc = fill_filter (filter);
    if (rc == 0)
        rc = seccomp_load (filter);
    seccomp_release (filter);
    return rc == 0 ? g_strdup ("on") : g_strdup_printf ("off: %s", g_strerror (-rc));
}

/* --- landlock ----------------------------------------------------------------------------------------- */

/* All that the first version knows, and none of it allowed anywhere. */
#define EVERYTHING ((G_GUINT64_CONSTANT (1) << 13) - 1)

char *
gw_sandbox_enter_landlock (void)
{
    const struct landlock_ruleset_attr attr = { .handled_access_fs = EVERYTHING };
    /* the first version's structure is its first member */
    g_auto (GwFd) fd = (int) syscall (SYS_landlock_create_ruleset, &attr,
                                      sizeof attr.handled_access_fs, 0);
    (void) prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* cannot fail with these arguments */
    if (fd < 0 || syscall (SYS_landlock_restrict_self, fd, 0) != 0)
        return g_strdup_printf ("off: %s", g_strerror (errno));
    return g_strdup ("on");
}

/* At its end a sanitizer reads /proc and traces the process. */
static char *
say_sanitizer (void)
{
    return g_strdup ("off: built with a sanitizer");
}

char *
gw_sandbox_enter_files (void)
{
    return HAS_SANITIZER ? say_sanitizer () : gw_sandbox_enter_landlock ();
}

char *
gw_sandbox_enter_calls (void)
{
    const struct rlimit none = { 0, 0 };
    (void) setrlimit (RLIMIT_CORE, &none); /* cannot fail: less is always allowed */
    return HAS_SANITIZER ? say_sanitizer () : enter_seccomp ();
}
