/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The comparison of the source's memory with what was sent of it.  The courier knows the hash of what was last
 * sent of each page, but cannot reach QEMU; the agent knows where QEMU has its RAM blocks, and hands over a
 * descriptor for reading its memory.
 */
#include "rehearse.h"

#include <fcntl.h>
#include <string.h>

#define PAGE_BYTES 4096
#define BLOCKS_MAX 64

/* QEMU 8.2 and newer end a line of `info ramblock` with where the block is: "0x7f3c9be00000  rw". */
#define PLACE "(0x[0-9a-f]+) +r[ow]\\s*$"

/* A line's name, found in the text by its beginning. */
static guint64
find_place_told (const char *ramblock, const char *name)
{
    g_autoptr (GRegex) regex = g_regex_new (PLACE, G_REGEX_RAW, 0, NULL);
    g_auto (GStrv) lines = g_strsplit (ramblock, "\n", -1);
    g_assert (regex != NULL);
    for (guint i = 0; lines[i] != NULL; i++) {
        g_autoptr (GMatchInfo) match = NULL;
        const char *line = lines[i] + strspn (lines[i], " ");
        if (!g_str_has_prefix (line, name) || line[strlen (name)] != ' ' ||
            !g_regex_match (regex, line, 0, &match))
            continue;
        g_autofree char *text = g_match_info_fetch (match, 1);
        return g_ascii_strtoull (text, NULL, 16);
    }
    return 0;
}

/* The monitor's answer for people.  (transfer full) */
static char *
ask_human (LocalHost *local, const char *command, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) arguments = gw_json_new ("command-line:s", command, NULL);
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_HUMAN_MONITOR_COMMAND, arguments, cancellable, error);
    if (reply == NULL)
        return NULL;
    const char *text = JSON_NODE_HOLDS_VALUE (reply) ? json_node_get_string (reply) : NULL;
    return g_strdup (text != NULL ? text : "");
}

/* "Host virtual address for 0x0 (pc.ram) is 0x7f3c9be00000"; 0: it does not say. */
static guint64
ask_place (LocalHost *local, GArray **map, const char *name, GCancellable *cancellable)
{
    guint64 address;
    if (*map == NULL) {
        g_autofree char *mtree = ask_human (local, "info mtree -f", cancellable, NULL);
        *map = gw_parse_ram_map (mtree != NULL ? mtree : "");
    }
    if (!gw_ram_map_find_address (*map, name, 0, &address))
        return 0;
    g_autofree char *command = g_strdup_printf ("gpa2hva 0x%" G_GINT64_MODIFIER "x", address);
    g_autofree char *answer = ask_human (local, command, cancellable, NULL);
    const char *is = answer != NULL ? strstr (answer, " is 0x") : NULL;
    return is != NULL ? g_ascii_strtoull (is + strlen (" is "), NULL, 16) : 0;
}

/* Of the blocks those whose place is known; `*ret_unread` gets the pages of the others. */
static JsonArray *
list_blocks (LocalHost *local, gint64 *ret_unread, GCancellable *cancellable, GError **error)
{
    g_autofree char *ramblock = ask_human (local, "info ramblock", cancellable, error);
    g_autoptr (GArray) map = NULL; /* asked for when a place is not told: the guest stands still meanwhile */
    if (ramblock == NULL)
        return NULL;
    const GPtrArray *blocks = local->vm->ram_blocks;
    JsonArray *list = json_array_new ();
    for (guint i = 0; i < blocks->len; i++) {
        const GwRamBlock *block = blocks->pdata[i];
        guint64 place = find_place_told (ramblock, block->name);
        if (place == 0)
            place = ask_place (local, &map, block->name, cancellable);
        if (place == 0 || block->used_bytes % PAGE_BYTES != 0 || json_array_get_length (list) >= BLOCKS_MAX)
            *ret_unread += block->used_bytes / PAGE_BYTES;
        else if (block->used_bytes > 0)
            json_array_add_object_element (list, gw_json_new ("name:s", block->name, "address:i", (gint64) place,
                                                              "bytes:i", block->used_bytes, NULL));
    }
    return list;
}

static int
open_memory (gint64 pid, GError **error)
{
    g_autofree char *path = g_strdup_printf ("/proc/%" G_GINT64_FORMAT "/mem", pid);
    int fd = open (path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        gw_fail (error, GW_CAUSE_RAM_UNPROVEN, "'%s': %s", path, g_strerror (errno));
    return fd;
}

JsonObject *
gw_local_verify_ram (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 n_unread = 0;
    if (local->vm == NULL || local->side != GW_SIDE_SOURCE || local->courier == NULL || local->qmp == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no courier is here as source");
        return NULL;
    }
    gint64 begin_us = g_get_monotonic_time ();
    g_auto (GwFd) memory = open_memory (local->vm->pid, error);
    JsonArray *blocks = memory >= 0 ? list_blocks (local, &n_unread, cancellable, error) : NULL;
    if (blocks == NULL)
        return NULL;
    JsonObject *command = gw_json_new ("command:s", "verify", NULL);
    json_object_set_array_member (command, "blocks", blocks);
    JsonObject *result = gw_courier_verify (local->courier, command, memory, cancellable, error);
    if (result == NULL)
        return NULL;
    json_object_remove_member (result, "event");
    json_object_set_int_member (result, "unread", gw_json_peek_int (result, "unread", 0) + n_unread);
    json_object_set_int_member (result, "us", g_get_monotonic_time () - begin_us);
    return result;
}
