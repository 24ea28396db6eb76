# SPDX-License-Identifier: LGPL-2.1-or-later
"""Couriers, and a QEMU that loads, go before others on their hosts; a VM that has arrived does not."""

import os
import pathlib

import pytest
import rig
from rig import faults

OURS = os.getpriority(os.PRIO_PROCESS, 0)


def threads(pid):
    """The nice values of its threads."""
    return {os.getpriority(os.PRIO_PROCESS, int(tid)) for tid in os.listdir(f"/proc/{pid}/task")}


def group(pid):
    """The nice value of its session, or None where the kernel has no such groups.

    Nor has a session that nobody made: the file of init's, and of all that inherit it, is empty.
    """
    try:
        words = pathlib.Path(f"/proc/{pid}/autogroup").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return None
    return int(words[-1]) if words else None


def check(pid, nice):
    assert threads(pid) == {OURS + nice}
    assert group(pid) in (nice, None)


def only(host, name):
    pids = faults.named(host.pids(), name)
    assert len(pids) == 1, (name, pids)
    return pids[0]


def table(pid):
    """How many descriptors it has room for, without the pauses of a table that grows under several threads."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("FDSize:")[1].split()[0])


def wait_first(host, nice):
    """Its courier has what it is to have once it says that it is ready."""
    def is_so():
        pids = faults.named(host.pids(), b"godwit-courier")
        return pids and threads(pids[0]) == {OURS + nice} and group(pids[0]) in (nice, None)
    faults.wait_until(is_so, 20, f"a courier of nice value {nice} on host {host.name}", 0.002)


@pytest.mark.parametrize("text, nice", [("", -10), ("[limits]\nnice=0\n", 0)])
def test_the_way_is_first_and_who_has_arrived_is_not(tmp_path, text, nice):
    config = tmp_path / "godwitd.conf"
    config.write_text(text)
    with rig.Net() as net:
        vm = rig.Guest(net.a, tmp_path / "a").start().wait_boot()
        before = group(vm.process.pid)
        held = tmp_path / "held"
        agent = rig.Agent(net.b, tmp_path / "agent", args=("--config", config),
                          env={"GODWIT_POINT": f"stop=started:written={held}"})
        started = rig.start_migrate(vm, vm.twin(net.b, tmp_path / "b"), agent, "--no-rehearse", "--keep-source")
        wait_first(net.b, nice)
        wait_first(net.a, -10)  # of the command, which reads no such file
        faults.wait_until(lambda: threads(vm.process.pid) == {OURS, OURS - 10}, 20, "the thread that migrates", 0.002)
        faults.wait_stop(held, 60, "the handover")
        arriving = only(net.b, b"qemu-system-x86_64")
        check(arriving, nice)
        assert min(table(pid) for pid in (arriving, agent.pid, started.pid)) >= 1024
        assert threads(vm.process.pid) == {OURS}
        assert group(vm.process.pid) == before
        faults.cont(agent.pid)
        done = started.wait(60)
        assert done.exit == 0, done
        check(arriving, 0)
        vm.ticks.wait_side("b", 200)
