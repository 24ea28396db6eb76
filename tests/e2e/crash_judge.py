# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must hold after a cell of the crash grid (soak_crash.py), whatever was done in it.

Reconcile settles what is open. The guest never ran on both sides: no tick came twice, the side changed once at the
most, and never could two QEMUs write the disk, by the locks that they hold on it. It runs on one side, or has ended with
its QEMU; the report does not say otherwise, and its cause names the victim. No record that the guest was told to be on its
disk is missing; its memory is whole."""

import json
import time

import rig
from rig import disk, faults, imagelocks, tick

QEMU = b"qemu-system-x86_64"

# What a report may name as the cause, by victim and action: codes, and the sides that they accuse. None: nothing that the
# victim does or does not do is a reason to fail. Silence of ten seconds need not be one, but may be; of a courier it is the
# link's to everybody else.
_SILENT = "rpc-timeout agent-lost timed-out switchover-timeout undecided"
_HUNG = "qmp-timeout switchover-timeout timed-out rpc-timeout"
_DIED = "qemu-died qmp-gone qmp-connect source-lost destination-launch-failed"
_LEFT = "agent-lost undecided destination-unreachable"
_LINK = "link-lost link-connect"
CAUSES = {
    ("command", "kill"): None,
    ("command", "stop"): None,
    ("source agent", "kill"): ("agent-lost", "source"),
    ("source agent", "end"): ("agent-lost aborted", "source"),
    ("source agent", "stop"): (_SILENT, "source"),
    ("destination agent", "kill"): (_LEFT, "destination"),
    ("destination agent", "end"): (_LEFT, "destination"),
    ("destination agent", "stop"): (_SILENT, "destination"),
    ("source courier", "kill"): ("courier-died", "source"),
    ("source courier", "stop"): (f"{_LINK} {_HUNG}", "source link"),
    ("destination courier", "kill"): ("courier-died", "destination"),
    ("destination courier", "stop"): (f"{_LINK} {_HUNG}", "destination link"),
    ("source QEMU", "kill"): (_DIED, "source"),
    ("source QEMU", "stop"): (_HUNG, "source"),
    ("destination QEMU", "kill"): (_DIED, "destination"),
    ("destination QEMU", "stop"): (_HUNG, "destination"),
    ("link", "cut"): (_LINK, "link"),
    ("reply", "lost"): ("rpc-timeout agent-lost undecided", "destination"),
}


def the_end(world, attempt, done, row):
    """The command has ended, and all are back. Adds to the row what is seen; of a command that was killed, what the agent
    says that had its job."""
    if done is not None:
        the_report(attempt, done, row)
    settled = settle(world)
    if done is None and attempt.cell.coordinator == "agent":
        job = world.last_job()
        row |= {"told": job["result"], "cause": job.get("cause")}
    row["reconciled"] = [job["result"] for job in settled]
    place = runner(world)
    row["runs"] = {world.vm.side: "source", world.twin.side: "destination", None: "nowhere"}[place]
    one_guest(world, attempt, row)
    one_writer(world, place)
    if place is None:
        assert may_be_lost(attempt, row), f"the guest stands still: {row}"
    told = (row.get("result", row.get("told")), row["runs"])
    assert told not in (("moved", "source"), ("stayed", "destination")), f"the report is wrong: {row}"


def the_report(attempt, done, row):
    """What the command says."""
    assert done.report, done
    cause = done.report["cause"] or {}
    row |= {"exit": done.exit, "cause": done.cause, "side": cause.get("side"), "result": done.report["result"]}
    assert row["struck"] or done.exit == 0, done
    assert not (row["struck"] and attempt.must_go_on) or done.exit == 0, f"it does not go on: {done}"
    if done.exit not in (0, 4):
        codes, sides = CAUSES[attempt.cell.victim, attempt.cell.action] or ("", "")
        assert done.cause in codes.split() and cause["side"] in sides.split(), f"the cause is not {codes} of {sides}: {done}"


def is_at_rest(world):
    """No job runs on either host."""
    for agent in world.agents.values():
        told = rig.godwit(agent.host, "history", "--json", "--agent", agent.destination).report
        if any(job["state"] == "running" for job in told["jobs"]):
            return False
    return True


def settle(world):
    """Asks until nothing is open: the last answer that had a job in it."""
    last = []
    deadline = time.monotonic() + 60
    while True:
        done = world.reconcile()
        if done.report["jobs"]:
            last = done.report["jobs"]
        if done.exit == 0 and not done.report["jobs"] and is_at_rest(world):
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"reconcile does not settle it: {json.dumps(done.report)[:3000]}")
        time.sleep(0.3)


def runner(world):
    """The side that runs: waits for ticks of one, and that the other is silent."""
    mark = world.vm.ticks.mark()
    sides = (world.vm.side, world.twin.side)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        time.sleep(0.25)
        counts = {side: len(world.vm.ticks.window(mark, None, side)) for side in sides}
        running = [side for side in sides if counts[side] >= 30]
        assert len(running) < 2, "the guest runs on both sides"
        if running:
            return running[0]
        if not any(faults.named(host.pids(), QEMU) for host in world.net.hosts):
            break
    return None


def one_guest(world, attempt, row):
    """It never ran on both sides: a second guest sends numbers again that the first has sent."""
    ticks = world.vm.ticks.window(attempt.mark)
    changes = sum(a.side != b.side for a, b in zip(ticks, ticks[1:]))
    assert changes <= 1, f"the guest went to and fro {changes} times"
    lost, repeated, reordered = tick.count_numbers(ticks)
    assert (repeated, reordered) == (0, 0), f"{repeated} ticks came twice, {reordered} too late"
    assert lost == 0 or row["runs"] == "nowhere", f"{lost} ticks are missing"


def one_writer(world, place):
    """The QEMU on the side that runs holds the image, and no other; none does where none runs."""
    sides = {pid: host.name for host in world.net.hosts for pid in faults.named(host.pids(), QEMU)}
    expected = [place] if place else []

    def found():
        return [sides[pid] for pid in imagelocks.writers(sides, world.vm.disk)]

    faults.wait_until(lambda: found() == expected, 15, f"one writer of the disk, on {place}, not {found()}", 0.1)


def may_be_lost(attempt, row):
    """A guest ends with its QEMU: the source's before it moved, the destination's since."""
    return attempt.cell.action == "kill" and attempt.cell.victim.endswith("QEMU") and row["struck"]


def whole(world, row):
    """Memory, and every record that the guest was told to be on its disk."""
    acked = world.vm.report.acked
    if row["runs"] == "nowhere":
        world.vm.report.assert_clean()
    else:
        world.vm.report.check()
    found = disk.read(world.vm.disk)
    assert not found.damage, found.damage
    assert acked == 0 or (found.last >= acked and found.has(acked)), (found.last, acked)
    assert not found.missing(), found.missing()
