/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QEMU guest agent, for the guest's clock.
 *
 * A guest's clock does not see the time in which the guest stands still, so after a move it is behind by
 * the downtime, and all moves add up until something in the guest sets it right.  The agent in the
 * guest (qemu-ga, on a virtio port named org.qemu.guest_agent.0) reads and sets that clock.  Its socket
 * takes one client, and the agent may hang or be gone while the port looks open, so it is spoken to only
 * where QEMU says that nobody else is there, each talk has a deadline, and a guest that does not answer is
 * nothing but that.  What comes from it is the guest's to choose: lines are bounded, numbers too.
 * Protocol: QEMU's docs/interop/qemu-ga.rst; guest-sync-delimited tells an answer from an old one.
 */
#ifndef GW_GUESTAGENT_H
#define GW_GUESTAGENT_H

#include "host.h"

#define GW_GUEST_AGENT_LINE_MAX 4096u /* bytes of an answer */

/* The label of the chardev that the agent's port has in `info qtree`; NULL: there is none.  Pure.
 * (transfer full) */
char *gw_guest_agent_find_chardev (const char *qtree);

/* The path of the unix socket that QEMU listens on for the chardev `label`, from the answer of
 * query-chardev; else NULL and `*ret_why`, a literal.  Pure.  (transfer full) */
char *gw_guest_agent_find_socket (JsonArray *chardevs, const char *label, const char **ret_why);

/* Takes an answer off the front of `buffer`: what is before 0xff goes when `delimited`, and then a line.
 * NULL: it is not complete, or too long, which empties the buffer.  (transfer full) */
char *gw_guest_agent_take_line (GByteArray *buffer, gboolean delimited);

/* The number of {"return": N}; FALSE: it is something else.  Pure. */
gboolean gw_guest_agent_read_number (const char *line, gint64 *ret_number);

/* Asks the guest at `path` for its time and, where `sets` and it is behind `aim_us` by more than can be told
 * from noise, sets it.  At most 6 seconds.  In a thread of its own: blocks. */
void gw_guest_agent_talk (const char *path, gboolean sets, gint64 aim_us, GwGuestClock *ret_clock);

#endif
