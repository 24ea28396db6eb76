/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel and the processor of this host offer: huge pages, userfaultfd, seccomp, clocks. */
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HUGE_DIR "/sys/kernel/mm/hugepages"
#define CLOCK_SOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"

/* The number in a file, 0 when there is none. */
static gint64
read_number (const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename (directory, name, NULL);
    g_autofree char *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL))
        return 0;
    return MAX (g_ascii_strtoll (text, NULL, 10), 0);
}

/* "hugepages-2048kB" */
static void
read_huge_pages (GwHostFacts *facts)
{
    g_autoptr (GDir) sizes = g_dir_open (HUGE_DIR, 0, NULL);
    const char *name;
    while (sizes != NULL && (name = g_dir_read_name (sizes)) != NULL) {
        if (!g_str_has_prefix (name, "hugepages-"))
            continue;
        g_autofree char *directory = g_build_filename (HUGE_DIR, name, NULL);
        GwHugePages *pages = g_new0 (GwHugePages, 1);
        pages->page_bytes = g_ascii_strtoll (name + strlen ("hugepages-"), NULL, 10) * 1024;
        pages->n_total = read_number (directory, "nr_hugepages");
        pages->n_free = MAX (read_number (directory, "free_hugepages") -
                                 read_number (directory, "resv_hugepages"), 0);
        g_ptr_array_add (facts->huge_pages, pages);
    }
}

static void
read_userfaultfd (GwHostFacts *facts)
{
    long fd = syscall (SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    facts->has_userfaultfd = fd >= 0;
    if (fd >= 0)
        (void) close ((int) fd);
    else
        facts->userfaultfd_error = g_strdup (g_strerror (errno));
}

/* The value of a line of /proc/cpuinfo, of the first processor.  (transfer full) */
static char *
read_cpuinfo (const char *text, const char *name)
{
    const char *line = strstr (text, name);
    const char *colon = line != NULL ? strchr (line, ':') : NULL;
    return colon != NULL ? g_strstrip (g_strndup (colon + 1, strcspn (colon + 1, "\n"))) : NULL;
}

static void
read_processor (GwHostFacts *facts)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents ("/proc/cpuinfo", &text, NULL, NULL))
        return;
    facts->cpu_model = read_cpuinfo (text, "model name");
    g_autofree char *flags = read_cpuinfo (text, "flags");
    g_auto (GStrv) words = g_strsplit (flags != NULL ? flags : "", " ", -1);
    facts->has_stable_tsc = g_strv_contains ((const char *const *) words, "constant_tsc") &&
                            g_strv_contains ((const char *const *) words, "nonstop_tsc");
}

void
gw_read_kernel_facts (GwHostFacts *facts)
{
    g_autofree char *clock = NULL;
    read_huge_pages (facts);
    read_userfaultfd (facts);
    read_processor (facts);
    if (g_file_get_contents (CLOCK_SOURCE, &clock, NULL, NULL))
        facts->clock_source = g_strdup (g_strstrip (clock));
    facts->has_seccomp = prctl (PR_GET_SECCOMP) >= 0 &&
                         g_file_test ("/proc/sys/kernel/seccomp", G_FILE_TEST_IS_DIR);
}
