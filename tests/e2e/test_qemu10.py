# SPDX-License-Identifier: LGPL-2.1-or-later
"""Between QEMU 7.2 and QEMU 10.0, in both directions."""

import json

import pytest
import rig
from rig import faults

LOAD = rig.Load(mem="32M", dirty="8M/s", content="text", fill="32M")
MEM = "196600K"
OLD = "qemu-system-x86_64"


@pytest.fixture(scope="module")
def new():
    """The directory with QEMU 10.0. It comes from a package archive, which a test run must be able
    to do without, also in CI."""
    try:
        return rig.qemu10.directory()
    except rig.Missing as error:
        pytest.skip(str(error))


def boot(net, tmp_path, source, directory, machine):
    """A guest on a in the QEMU `source`; the agent on b takes its QEMUs from `directory`."""
    vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=MEM, machine=machine, qemu=str(source),
                   args=["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0",
                         "-device", "qemu-xhci", "-device", "usb-tablet"])
    vm.start()
    config = tmp_path / "godwitd.conf"
    config.write_text(f"[qemu]\ndirectories={directory}\n")
    agent = rig.Agent(net.b, tmp_path / "agent", ["--config", config])
    vm.wait_boot()
    return vm, vm.twin(net.b, tmp_path / "b"), agent


def version(vm):
    with vm.monitor() as monitor:
        return monitor.version["major"]


@pytest.mark.parametrize("way", ["7.2-to-10.0", "10.0-to-7.2"])
def test_busy_guest_moves_clean(net, tmp_path, new, way):
    is_up = way == "7.2-to-10.0"
    source, directory = (OLD, new) if is_up else (new / OLD, "/usr/bin")
    vm, twin, agent = boot(net, tmp_path, source, directory, "pc-q35-7.2")
    majors = (7, 10) if is_up else (10, 7)
    assert version(vm) == majors[0]
    done = rig.migrate(vm, twin, agent)
    assert done.report and done.report["result"] == "moved", done
    # QEMU promises nothing for the way down, and the report says so
    assert ("older than the source's" in json.dumps(done.report["checks"])) == (not is_up)
    vm.ticks.wait_side("b", 300)
    move = vm.ticks.move("a", "b")
    assert (move.overlap_ms, move.lost, move.repeated) == (0, 0, 0), move
    vm.report.check()
    assert version(twin) == majors[1]
    assert done.exit == 0, done


@pytest.mark.parametrize("way", ["7.2-to-10.0", "10.0-to-7.2", "10.0-to-10.0"])
def test_postcopy_and_its_recovery(tmp_path, new, way):
    """Neither version's states, connections and tricks disturb a recovery after a killed courier."""
    source, directory = {"7.2-to-10.0": (OLD, new), "10.0-to-7.2": (new / OLD, "/usr/bin"),
                         "10.0-to-10.0": (new / OLD, new)}[way]
    with rig.Net(rate="100mbit") as net:
        machine = "q35" if way == "10.0-to-10.0" else "pc-q35-7.2"
        vm, twin, agent = boot(net, tmp_path, source, directory, machine)
        started = rig.start_migrate(vm, twin, agent, "--postcopy", "now")
        faults.wait_until(lambda: 'phase="fetching memory"' in started.stderr() or
                          not started.is_running(), 60, "postcopy")
        (courier, *_) = sorted(pid for pid in net.b.pids()
                               if b"godwit-courier\0" in open(f"/proc/{pid}/cmdline", "rb").read())
        faults.kill(courier)
        done = started.wait(120)
        assert done.report and (done.report["result"], done.report["mode"]) == ("moved", "postcopy"), done
        told = done.report["postcopy"]
        assert (told["recoveries"], told["attempts"]) == (1, 1), done
        vm.ticks.wait_side("b", 300)
        move = vm.ticks.move("a", "b")
        assert (move.overlap_ms, move.lost, move.repeated) == (0, 0, 0), move
        vm.report.check()


def test_there_and_back(net, tmp_path, new):
    vm, twin, agent = boot(net, tmp_path, OLD, new, "q35")
    done = rig.migrate(vm, twin, agent)
    assert done.exit == 0, done
    mark = vm.ticks.mark()
    vm.ticks.wait_side("b", 100)
    last, back = twin.twin(net.a, tmp_path / "c"), rig.Agent(net.a, tmp_path / "back")
    done = rig.migrate(twin, last, back)
    assert done.report["result"] == "moved", done
    vm.ticks.wait_side("a", 100, since=mark)
    vm.report.check()
    assert version(last) == 7


def test_newest_machine_type_is_refused(net, tmp_path, new):
    vm, twin, agent = boot(net, tmp_path, new / OLD, "/usr/bin", "q35")
    with vm.monitor() as monitor:
        machine = monitor.execute("qom-get", path="/machine", property="type")
    done = rig.migrate(vm, twin, agent)
    assert (done.exit, done.cause) == (2, "machine-missing"), done
    assert machine.removesuffix("-machine") in done.report["cause"]["message"]
    mark = vm.ticks.mark()
    vm.ticks.wait_side("a", 100, since=mark)
    vm.report.check()
