/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

/* SIGTERM becomes a descriptor; a write to a closed socket is an error, not a signal. */
static int
make_signal_fd (void)
{
    sigset_t set;
    (void) signal (SIGPIPE, SIG_IGN);
    sigemptyset (&set);
    sigaddset (&set, SIGTERM);
    (void) sigprocmask (SIG_BLOCK, &set, NULL); /* cannot fail with these arguments */
    return signalfd (-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static GwLinkKey *
take_key (GwCourierOptions *options, GError **error)
{
    uint8_t secret[GW_LINK_SECRET];
    if (!gw_courier_read_secret (options, secret, error))
        return NULL;
    GwLinkKey *key = gw_link_key_new (secret, options->job, options->side, error);
    explicit_bzero (secret, sizeof secret);
    return key;
}

static int
run (GwCourierOptions *options, GError **error)
{
    g_autoptr (GwDialer) dialer = gw_dialer_new (options, error); /* before there is any secret */
    if (dialer == NULL)
        return GW_COURIER_FAILED;
    g_autoptr (GwLinkKey) key = take_key (options, error);
    if (key == NULL)
        return GW_COURIER_USAGE;
    gw_courier_schedule ();
    g_autoptr (GwControl) control = gw_control_new (options->control_fd);
    g_auto (GwFd) signal_fd = make_signal_fd ();
    return gw_courier_run (options, key, control, dialer, signal_fd, error);
}

int
main (int argc, char **argv)
{
    GwCourierOptions options;
    g_autoptr (GError) error = NULL;
    int status = GW_COURIER_USAGE;
    gw_courier_keep_heap ();
    (void) prctl (PR_SET_DUMPABLE, 0); /* the secret and the guest's memory stay out of core files */
    if (gw_courier_options_parse (&options, argc, argv, &error))
        status = run (&options, &error);
    if (error != NULL)
        (void) fprintf (stderr, "godwit-courier: %s\n", error->message);
    gw_courier_options_clear (&options);
    return status;
}
