/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The source's addresses, and what is to be said when there is no first path. */
#include "dial-internal.h"

#define ATTEMPTS 3            /* at an address that answers with an error, before the first path */

static void
address_clear (Address *address)
{
    g_clear_pointer (&address->text, g_free);
    g_clear_error (&address->error);
    *address = (Address){ .text = NULL };
}

void
gw_dial_addresses_clear (GwDial *dial)
{
    for (guint i = 0; i < GW_REDIAL_ADDRESSES; i++)
        address_clear (&dial->addresses[i]);
}

/* --- before the first path ------------------------------------------------------------------------------- */

/* Before the first path an address that answers wrongly is given up; one that is silent is tried
 * until the deadline. */
void
gw_dial_address_failed (GwDial *dial, int number, GError *error)
{
    Address *address = &dial->addresses[number];
    GwCause cause = gw_error_get_cause (error);
    g_clear_error (&address->error);
    address->error = error;
    if (cause != GW_CAUSE_TIMED_OUT)
        address->n_errors++;
    address->is_hopeless = cause == GW_CAUSE_LINK_AUTH || address->n_errors >= ATTEMPTS;
}

gboolean
gw_dial_address_is_hopeless (const GwDial *dial, int number)
{
    return !dial->has_met && dial->addresses[number].is_hopeless;
}

/* What an address answered says more than its silence, and a wrong answer more than a refusal. */
static const GError *
find_worst (const GwDial *dial, gboolean *ret_is_hopeless)
{
    const GError *worst = NULL;
    *ret_is_hopeless = TRUE;
    for (guint i = 0; i < GW_REDIAL_ADDRESSES; i++) {
        const Address *address = &dial->addresses[i];
        if (address->text == NULL)
            continue;
        *ret_is_hopeless = *ret_is_hopeless && address->is_hopeless;
        if (address->error != NULL &&
            (worst == NULL || gw_error_get_cause (address->error) == GW_CAUSE_LINK_AUTH))
            worst = address->error;
    }
    return worst;
}

static gboolean
check_source (const GwDial *dial, gboolean is_late, GError **error)
{
    gboolean hopeless;
    const GError *worst = find_worst (dial, &hopeless);
    if (!hopeless && !is_late)
        return TRUE;
    return gw_fail (error,
                    gw_error_get_cause (worst) == GW_CAUSE_LINK_AUTH ? GW_CAUSE_LINK_AUTH
                                                                     : GW_CAUSE_LINK_CONNECT,
                    "no connection to any of %u addresses: %s", dial->options->addresses->len,
                    worst != NULL ? worst->message : "no answer");
}

gboolean
gw_dial_check (const GwDial *dial, GError **error)
{
    gboolean is_late = g_get_monotonic_time () >= dial->deadline_us;
    if (dial->has_met)
        return TRUE;
    if (dial->options->side == GW_SIDE_SOURCE)
        return check_source (dial, is_late, error);
    return !is_late ||
           gw_fail (error, GW_CAUSE_LINK_CONNECT,
                    "the source did not connect within %d s (%u other connections were dropped)",
                    GW_DIAL_ACCEPT_MS / 1000, dial->n_dropped);
}

/* --- at run time --------------------------------------------------------------------------------------------- */

gboolean
gw_dial_add_address (GwDial *dial, const char *text, GError **error)
{
    g_autofree char *canonical = NULL;
    if (dial->redial == NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "the destination dials no addresses");
    g_autoptr (GSocketAddress) address = gw_courier_address_parse (text, &canonical, error);
    if (address == NULL)
        return FALSE;
    int number = gw_redial_add (dial->redial, g_get_monotonic_time ());
    if (number < 0)
        return gw_fail (error, GW_CAUSE_USAGE, "more than %d addresses", GW_REDIAL_ADDRESSES);
    dial->addresses[number].text = g_steal_pointer (&canonical);
    return TRUE;
}

static int
find_address (const GwDial *dial, const char *text)
{
    for (int i = 0; i < GW_REDIAL_ADDRESSES; i++)
        if (g_strcmp0 (dial->addresses[i].text, text) == 0)
            return i;
    return -1;
}

gboolean
gw_dial_remove_address (GwDial *dial, const char *text, int *ret_address, GError **error)
{
    g_autofree char *canonical = NULL;
    g_autoptr (GSocketAddress) address = gw_courier_address_parse (text, &canonical, error);
    if (address == NULL)
        return FALSE;
    int number = find_address (dial, canonical);
    if (number < 0)
        return gw_fail (error, GW_CAUSE_USAGE, "'%s' is none of the addresses", text);
    for (guint i = 0; i < GW_DIAL_SLOTS; i++)
        if (dial->slots[i].address == number)
            gw_dial_slot_clear (&dial->slots[i]);
    gw_redial_remove (dial->redial, number);
    address_clear (&dial->addresses[number]);
    *ret_address = number;
    return TRUE;
}
