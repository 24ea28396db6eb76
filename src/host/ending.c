/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a process ended, in words; and how one that is not our child did. */
#include "host-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 1500

/* Linux 6.15 and newer: include/uapi/linux/pidfd.h, which is not in older headers. */
struct pidfd_exit_info {
    uint64_t mask;
    uint64_t cgroup_id;
    uint32_t ids[11];
    int32_t exit_code;
};
G_STATIC_ASSERT (sizeof (struct pidfd_exit_info) == 64);
#define PIDFD_GET_EXIT_INFO _IOWR (0xFF, 11, struct pidfd_exit_info)
#define PIDFD_HAS_EXIT (1u << 3)

#define FIELD_EXIT_CODE 52 /* of /proc/PID/stat, proc(5) */

/* --- words --------------------------------------------------------------------------------------------- */

char *
gw_ending_describe (int wait_status, gboolean is_out_of_memory, const char *words)
{
    GString *out = g_string_new (NULL);
    if (wait_status < 0)
        g_string_append (out, "has ended");
    else if (WIFSIGNALED (wait_status))
        g_string_append_printf (out, "was killed by signal %d (%s)", WTERMSIG (wait_status),
                                strsignal (WTERMSIG (wait_status)));
    else
        g_string_append_printf (out, "exited with status %d", WEXITSTATUS (wait_status));
    if (is_out_of_memory)
        g_string_append (out, ", killed by the kernel for want of memory");
    if (words != NULL && *words != '\0')
        g_string_append_printf (out, "; its last words: %s", words);
    return g_string_free (out, FALSE);
}

gboolean
gw_ending_tells_rejection (const char *how)
{
    if (strstr (how, "status 0") != NULL)
        return FALSE;
    if (strstr (how, "killed by signal") == NULL)
        return TRUE;
    /* EIO is the end of the stream, not what is in it: that QEMU may have been dying already */
    return strstr (how, "load of migration failed: ") != NULL &&
           strstr (how, "load of migration failed: Input/output error") == NULL;
}

/* --- exit status of somebody else's child ----------------------------------------------------------------- */

/* Of a zombie, as long as its parent has not looked. */
static int
read_zombie_status (pid_t pid)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/stat", (int) pid);
    g_autofree char *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL))
        return -1;
    const char *at = strrchr (text, ')'); /* of the second field */
    if (at == NULL || !g_str_has_prefix (at, ") Z"))
        return -1;
    for (int field = 2; at != NULL && field < FIELD_EXIT_CODE; field++)
        at = strchr (at + 1, ' ');
    return at != NULL ? (int) g_ascii_strtoll (at, NULL, 10) : -1;
}

/* Of one whose parent has. */
static int
read_reaped_status (int pidfd)
{
    struct pidfd_exit_info info = { .mask = PIDFD_HAS_EXIT };
    if (ioctl (pidfd, PIDFD_GET_EXIT_INFO, &info) != 0 || (info.mask & PIDFD_HAS_EXIT) == 0)
        return -1;
    return info.exit_code;
}

int
gw_ending_read_status (pid_t pid, int pidfd)
{
    int status = read_zombie_status (pid);
    return status >= 0 ? status : read_reaped_status (pidfd);
}

/* --- its standard error -------------------------------------------------------------------------------------- */

int
gw_ending_open_stderr (pid_t pid, gint64 *ret_size)
{
    struct stat st;
    g_autofree char *path = g_strdup_printf ("/proc/%d/fd/2", (int) pid);
    if (stat (path, &st) != 0 || !S_ISREG (st.st_mode))
        return -1; /* a pipe's words are its reader's; opening a terminal has effects */
    g_auto (GwFd) fd = open (path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat (fd, &st) != 0 || !S_ISREG (st.st_mode))
        return -1;
    *ret_size = st.st_size;
    return gw_fd_steal (&fd);
}

char *
gw_ending_read_words (int fd, gint64 from)
{
    struct stat st;
    char words[WORDS_MAX];
    if (fd < 0 || fstat (fd, &st) != 0)
        return g_strdup ("");
    gint64 start = MAX (from, (gint64) st.st_size - (gint64) sizeof words);
    ssize_t n = pread (fd, words, sizeof words, start);
    return g_strchomp (gw_text_clean (words, MAX (n, 0), 4 * sizeof words));
}
