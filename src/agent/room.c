/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many connections of peers there may be.
 *
 * Who has not proved who he is takes no room of those who have: strangers are half as many, and when one more comes, the one
 * that has waited longest goes, of those that come from where most of them come from.  So whoever takes all places loses
 * them to whoever comes from elsewhere, and a good peer, who needs some round trips, gets through.
 */
#include "agent-internal.h"

#include <string.h>

#define PREFIX_BYTES 8 /* of an IPv6 address: one network, so one host's */

struct _GwGuest {
    char *address, *place; /* place: whose it is taken to be */
    GSocket *socket;       /* (owned) NULL in tests */
    gboolean is_stranger, is_let_in; /* neither: it was sent away */
};

struct _GwRoom {
    guint max, max_strangers, per_address;

    GMutex lock; /* guards the rest */
    guint n_let_in;
    GQueue strangers;       /* GwGuest (borrowed), oldest first */
    GHashTable *by_address; /* char * -> the number of both kinds; none that has no connection */
};

GwRoom *
gw_room_new (guint max, guint per_address)
{
    GwRoom *room = g_new0 (GwRoom, 1);
    room->max = max;
    room->max_strangers = max / 2 + 1;
    room->per_address = per_address;
    room->by_address = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    g_mutex_init (&room->lock);
    return room;
}

void
gw_room_free (GwRoom *room)
{
    if (room == NULL)
        return;
    g_assert (g_queue_is_empty (&room->strangers) && room->n_let_in == 0);
    g_hash_table_unref (room->by_address);
    g_mutex_clear (&room->lock);
    g_free (room);
}

/* --- with the lock ------------------------------------------------------------------------------------------------ */

static guint
count_here (GwRoom *room, const char *address)
{
    return GPOINTER_TO_UINT (g_hash_table_lookup (room->by_address, address));
}

static void
set_here (GwRoom *room, const char *address, guint n)
{
    if (n > 0)
        g_hash_table_insert (room->by_address, g_strdup (address), GUINT_TO_POINTER (n));
    else
        g_hash_table_remove (room->by_address, address);
}

static guint
count_at_place (GwRoom *room, const char *place)
{
    guint n = 0;
    for (GList *l = room->strangers.head; l != NULL; l = l->next)
        n += strcmp (((GwGuest *) l->data)->place, place) == 0;
    return n;
}

/* Its thread finds the socket closed, and leaves. */
static void
send_one_away (GwRoom *room)
{
    GwGuest *chosen = NULL;
    guint most = 0;
    for (GList *l = room->strangers.head; l != NULL; l = l->next) {
        GwGuest *guest = l->data;
        guint n = count_at_place (room, guest->place);
        if (n > most) {
            most = n;
            chosen = guest;
        }
    }
    g_queue_remove (&room->strangers, chosen);
    chosen->is_stranger = FALSE;
    if (chosen->socket != NULL)
        (void) g_socket_shutdown (chosen->socket, TRUE, TRUE, NULL); /* it may have gone by itself */
}

/* --- one connection ------------------------------------------------------------------------------------------------- */

static char *
find_place (const char *address)
{
    g_autoptr (GInetAddress) parsed = g_inet_address_new_from_string (address);
    if (parsed == NULL || g_inet_address_get_family (parsed) != G_SOCKET_FAMILY_IPV6)
        return g_strdup (address);
    guint8 bytes[16] = { 0 };
    memcpy (bytes, g_inet_address_to_bytes (parsed), PREFIX_BYTES);
    g_autoptr (GInetAddress) prefix = g_inet_address_new_from_bytes (bytes, G_SOCKET_FAMILY_IPV6);
    return g_inet_address_to_string (prefix);
}

GwGuest *
gw_room_enter (GwRoom *room, const char *address, GSocket *socket)
{
    GwGuest *guest = NULL;
    g_mutex_lock (&room->lock);
    guint here = count_here (room, address);
    if (here < room->per_address && room->n_let_in < room->max) {
        guest = g_new0 (GwGuest, 1);
        *guest = (GwGuest){ .address = g_strdup (address), .place = find_place (address), .is_stranger = TRUE,
                            .socket = socket != NULL ? g_object_ref (socket) : NULL };
        set_here (room, address, here + 1);
        if (g_queue_get_length (&room->strangers) >= room->max_strangers)
            send_one_away (room);
        g_queue_push_tail (&room->strangers, guest);
    }
    g_mutex_unlock (&room->lock);
    return guest;
}

gboolean
gw_room_let_in (GwRoom *room, GwGuest *guest)
{
    g_mutex_lock (&room->lock);
    gboolean ok = guest->is_stranger && room->n_let_in < room->max;
    if (ok) {
        g_queue_remove (&room->strangers, guest);
        guest->is_stranger = FALSE;
        guest->is_let_in = TRUE;
        room->n_let_in++;
    }
    g_mutex_unlock (&room->lock);
    return ok;
}

void
gw_room_leave (GwRoom *room, GwGuest *guest)
{
    g_mutex_lock (&room->lock);
    if (guest->is_stranger)
        g_queue_remove (&room->strangers, guest);
    room->n_let_in -= guest->is_let_in ? 1 : 0;
    set_here (room, guest->address, count_here (room, guest->address) - 1);
    g_mutex_unlock (&room->lock);
    g_clear_object (&guest->socket);
    g_free (guest->address);
    g_free (guest->place);
    g_free (guest);
}

char *
gw_room_describe (GwRoom *room, const char *address)
{
    g_mutex_lock (&room->lock);
    char *words = g_strdup_printf ("%u connections of %u from there, %u of %u in all", count_here (room, address),
                                   room->per_address, room->n_let_in, room->max);
    g_mutex_unlock (&room->lock);
    return words;
}
