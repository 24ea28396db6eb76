# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rehearsal: a guest that can move passes without noticing. What it refuses is in test_spoiled.py."""

import bisect
import contextlib
import os
import pathlib
import statistics

import pytest
import rig
from rig import disk, faults, leftovers, soak, spoil

MEM = "131064K"
LOAD = rig.Load(mem="16M", dirty="4M/s", content="text", diskrate=300)
IDLE = rig.Load(mem="16M")
OLD = "qemu-system-x86_64"
BUSY = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,id=net0",
        "-device", "virtio-scsi-pci,id=scsi0",
        "-blockdev", "driver=null-co,node-name=nul,size=1048576,read-zeroes=on",
        "-device", "scsi-hd,drive=nul,bus=scsi0.0"]


def boot(net, tmp_path, directory=None, load=IDLE, machine="q35", args=BUSY, **more):
    """A booted guest on a, its twin for b, and an agent on b that takes its QEMUs from `directory`."""
    vm = rig.Guest(net.a, tmp_path / "a", load=load, mem=MEM, machine=machine, args=args, **more)
    vm.start()
    options = []
    if directory:
        config = tmp_path / "godwitd.conf"
        config.write_text(f"[qemu]\ndirectories={directory}\n")
        options = ["--config", config]
    agent = rig.Agent(net.b, tmp_path / "agent", options)
    vm.wait_boot()
    return vm, vm.twin(net.b, tmp_path / "b"), agent


def check(vm, twin, agent, *options):
    return rig.godwit(vm.host, "check", f"qmp:{vm.qmp_path}", agent.destination, "--map",
                      f"{vm.directory}={twin.directory}", "--json", *options)


def outcome(done):
    return done.report["rehearsal"]


def silence_ms(vm, at_us):
    """How long the guest was silent around that time of the wall clock."""
    times = [tick.real_ns for tick in vm.ticks.all]
    after = bisect.bisect_right(times, at_us * 1000)
    return (times[after] - times[after - 1]) / 1e6


def rehearse(vm, twin, agent, times, may_warn=()):
    """Checks the VM so many times in a row; each must pass at the first attempt. Returns how long the
    guest was silent when it was stopped, in ms. (The longest silence of all tells how many processors
    the host has for a second QEMU that starts.)"""
    gaps, stops = [], []
    for _ in range(times):
        done = check(vm, twin, agent)
        assert done.exit == 0, f"{done}"
        assert outcome(done)["result"] == "done", outcome(done)["text"]
        assert {check: verdict for check, verdict in spoil.verdicts(done).items()
                if verdict != "ok" and check not in may_warn} == {}, done.report["checks"]
        assert outcome(done)["attempts"] == 1, outcome(done)
        assert outcome(done)["words"] == "", outcome(done)
        gaps.append(round(silence_ms(vm, outcome(done)["stopped_us"] + outcome(done)["stop_us"] // 2), 1))
        stops.append(outcome(done)["stop_us"] / 1000)
    print(f"gaps {gaps} ms, stops {stops} ms, {outcome(done)}")
    return gaps


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_busy_guest_passes_without_noticing(net, tmp_path, machine):
    image = tmp_path / "shared.img"
    image.write_bytes(bytes(4 << 20))
    vm, twin, agent = boot(net, tmp_path, load=LOAD, machine=machine, disk=image,
                           modules=["virtio_net", "virtio_scsi", "sd_mod"])
    vm.report.wait_status(lambda status: status.disk > 400)
    check(vm, twin, agent)
    before = leftovers.snapshot(net, [tmp_path])
    gaps = rehearse(vm, twin, agent, 20 if soak.ROUNDS else 5)
    slack = 1 if soak.ROUNDS else 3  # a sample may share its processors
    assert statistics.median(gaps) <= 40 * slack and max(gaps) <= 100 * slack, gaps
    assert leftovers.compare(before, leftovers.snapshot(net, [tmp_path]), allowed=["/journal"]) == []
    vm.report.check()
    acked = vm.report.acked
    vm.stop()
    records = disk.read(image)
    assert records.damage == [] and records.missing() == [] and records.last >= acked


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_idle_guest_passes(net, tmp_path, machine):
    vm, twin, agent = boot(net, tmp_path, machine=machine)
    rehearse(vm, twin, agent, 3)
    vm.report.check()


def test_paused_guest_stays_paused(net, tmp_path):
    vm, twin, agent = boot(net, tmp_path)
    with vm.monitor() as monitor:
        monitor.execute("stop")
        done = check(vm, twin, agent)
        assert (done.exit, outcome(done)["result"]) == (0, "done"), done
        assert monitor.execute("query-status")["status"] == "paused"


def test_guest_runs_on_when_the_command_is_killed_in_the_stop(net, tmp_path):
    """Killed as soon as the stop is seen: QEMU works off what it was told all the same."""
    vm, twin, agent = boot(net, tmp_path)
    with vm.monitor() as monitor:
        for _ in range(5):
            command = rig.start_godwit(net.a, "check", f"qmp:{vm.qmp_path}", agent.destination,
                                       "--map", f"{vm.directory}={twin.directory}")
            monitor.wait_event("STOP", timeout=20)
            faults.kill(command.pid)
            command.process.wait(10)
            mark = vm.ticks.mark()
            vm.ticks.wait_side("a", 50, timeout=10, since=mark)
            assert monitor.execute("query-status")["status"] == "running"
            holders = [pid for pid in os.listdir("/proc") if pid.isdigit() and is_holder(pid, net.a)]
            for pid in holders:  # they would end by themselves, and hold the monitor until then
                faults.kill(int(pid))
    vm.report.check()


def is_holder(pid, host):
    """Whether the process is the one that keeps the monitor's socket open."""
    with contextlib.suppress(OSError):
        return (pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0") and
                os.stat(f"/proc/{pid}/ns/net").st_ino == host.inode)
    return False


def test_migrate_rehearses_first(net, tmp_path):
    vm, twin, agent = boot(net, tmp_path)
    done = rig.migrate(vm, twin, agent)
    assert done.exit == 0 and outcome(done)["result"] == "done", done
    vm.ticks.wait_side("b", 100)
    vm.report.check()


def test_no_rehearse(net, tmp_path):
    vm, twin, agent = boot(net, tmp_path)
    done = check(vm, twin, agent, "--no-rehearse")
    assert done.exit == 0 and outcome(done) is None, done


def test_budget_that_is_too_small(net, tmp_path):
    """The guest runs on, and the reason is in the report."""
    vm, twin, agent = boot(net, tmp_path)
    done = check(vm, twin, agent, "--rehearse-budget", "1")
    assert done.exit == 0 and outcome(done)["result"] == "not-done", done
    assert "--rehearse-budget is 1 ms" in outcome(done)["text"]
    mark = vm.ticks.mark()
    vm.ticks.wait_side("a", 100, since=mark)


def test_device_that_cannot_be_had_twice(net, tmp_path):
    """The reason is in the report, and the VM may move."""
    vm, twin, agent = boot(net, tmp_path, args=[
        "-object", "memory-backend-ram,id=shm,size=1M", "-device", "ivshmem-plain,memdev=shm,master=on"])
    done = check(vm, twin, agent)
    assert done.exit == 0 and outcome(done)["result"] == "not-done", done
    assert "ivshmem" in outcome(done)["text"]


@pytest.mark.parametrize("way", ["7.2-to-10.0", "10.0-to-7.2", "10.0-to-10.0"])
@pytest.mark.parametrize("machine", ["pc-q35-7.2", "pc-i440fx-7.2"])
def test_other_version_passes(net, tmp_path, way, machine):
    try:
        new = rig.qemu10.directory()
    except rig.Missing as error:
        pytest.skip(str(error))
    source, target = (OLD if side == "7.2" else new / OLD for side in way.split("-to-"))
    vm, twin, agent = boot(net, tmp_path, target.parent if target != OLD else "/usr/bin",
                           machine=machine, qemu=str(source),
                           args=[*BUSY, "-device", "qemu-xhci", "-device", "usb-tablet"])
    rehearse(vm, twin, agent, 3, ["qemu-version"] if way == "10.0-to-7.2" else [])
    vm.report.check()


# A program that says of itself all that QEMU 10.0 says, and is 7.2 when it has to take the VM.
OLDER = """change('pc-{board}-10.0', '10.0', '7.2')
os.execv('/usr/bin/qemu-system-x86_64', ['/usr/bin/qemu-system-x86_64', *argv])"""


@pytest.mark.parametrize("board", ["q35", "i440fx"])
def test_devices_that_are_older_there_are_refused(net, tmp_path, board):
    """QEMU 10.0 with its own machine type, to the devices of 7.2: nothing but the rehearsal can tell."""
    try:
        new = rig.qemu10.directory()
    except rig.Missing as error:
        pytest.skip(str(error))
    programs = spoil.wrapper(tmp_path / "programs", OLDER.format(board=board), real=new / OLD)
    vm, twin, agent = boot(net, tmp_path, programs, machine=f"pc-{board}-10.0", qemu=str(new / OLD))
    done = check(vm, twin, agent)
    assert (done.exit, done.cause, outcome(done)["result"]) == (2, "rehearsal-rejected", "refused"), done
    for name in (f"pc-{board}-10.0", f"pc-{board}-7.2"):
        assert name in done.report["cause"]["message"]
    assert {check for check, verdict in spoil.verdicts(done).items() if verdict == "refused"} == {"rehearsal"}
    vm.report.check()
