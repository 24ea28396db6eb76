/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dialer.h"
#include "courier.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MS 5000 /* the child does not wait for anything, but the host may be busy */
#define END_MS 1000

struct _GwDialer {
    GwFd fd;
};

/* --- packets ---------------------------------------------------------------------------------------- */

gboolean
gw_dialer_send (int fd, int failure, int passed)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE (sizeof (int))];
    } control = { 0 };
    struct iovec piece = { &failure, sizeof failure };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
    if (passed >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *head = CMSG_FIRSTHDR (&message);
        *head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
                                  .cmsg_len = CMSG_LEN (sizeof (int)) };
        memcpy (CMSG_DATA (head), &passed, sizeof passed);
    }
    return sendmsg (fd, &message, MSG_NOSIGNAL) == (gssize) sizeof failure;
}

gboolean
gw_dialer_receive (int fd, int *ret_failure, int *ret_passed)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE (sizeof (int))];
    } control = { 0 };
    struct iovec piece = { ret_failure, sizeof *ret_failure };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    *ret_passed = -1;
    if (recvmsg (fd, &message, MSG_CMSG_CLOEXEC) != (gssize) sizeof *ret_failure)
        return FALSE;
    struct cmsghdr *head = CMSG_FIRSTHDR (&message);
    if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
        memcpy (ret_passed, CMSG_DATA (head), sizeof *ret_passed);
    return TRUE;
}

/* --- the courier's side ------------------------------------------------------------------------------- */

GwDialer *
gw_dialer_new (const GwCourierOptions *options, GError **error)
{
    int pair[2];
    if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "socketpair: %s", g_strerror (errno));
        return NULL;
    }
    pid_t pid = fork ();
    if (pid == 0)
        gw_dialer_child_run (options, pair[1]);
    (void) close (pair[1]);
    if (pid < 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "fork: %s", g_strerror (errno));
        (void) close (pair[0]);
        return NULL;
    }
    const struct timeval limit = { .tv_sec = ANSWER_MS / 1000 };
    (void) setsockopt (pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    GwDialer *dialer = g_new0 (GwDialer, 1);
    dialer->fd = pair[0];
    return dialer;
}

void
gw_dialer_free (GwDialer *dialer)
{
    if (dialer == NULL)
        return;
    if (dialer->fd >= 0) {
        struct pollfd p = { .fd = dialer->fd, .events = POLLIN };
        (void) shutdown (dialer->fd, SHUT_WR); /* the child removes its paths, then closes */
        (void) poll (&p, 1, END_MS);
    }
    gw_fd_clear (&dialer->fd);
    g_free (dialer);
}

int
gw_dialer_get_fd (const GwDialer *dialer)
{
    return dialer->fd;
}

gboolean
gw_dialer_has_died (GwDialer *dialer)
{
    char byte;
    gssize n = dialer->fd < 0 ? 1 : recv (dialer->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return FALSE;
    gw_fd_clear (&dialer->fd);
    return TRUE;
}

int
gw_dialer_open (GwDialer *dialer, const char *target, GError **error)
{
    int failure, passed;
    if (dialer->fd < 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "the dialer has ended, no more connections can be made");
        return -1;
    }
    if (send (dialer->fd, target, strlen (target), MSG_NOSIGNAL) < 0 ||
        !gw_dialer_receive (dialer->fd, &failure, &passed)) {
        (void) shutdown (dialer->fd, SHUT_RDWR); /* a late answer must not be taken for the next */
        gw_fail (error, GW_CAUSE_HOST_IO, "the dialer does not answer");
        return -1;
    }
    if (passed < 0)
        gw_fail (error, GW_CAUSE_HOST_IO, "%s", g_strerror (failure));
    return passed;
}
