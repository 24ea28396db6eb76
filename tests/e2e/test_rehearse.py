# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rehearsal: what the destination's QEMU would reject is found before anything moves, and a guest
that can move passes without noticing."""

import shlex
import statistics

import pytest
import rig
from rig import disk, leftovers

MEM = "131064K"
LOAD = rig.Load(mem="16M", dirty="4M/s", content="text", diskrate=300)
BUSY = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,id=net0",
        "-device", "virtio-scsi-pci,id=scsi0",
        "-blockdev", "driver=null-co,node-name=nul,size=1048576,read-zeroes=on",
        "-device", "scsi-hd,drive=nul,bus=scsi0.0"]


def wrapper(directory, body):
    """A directory with a QEMU that changes its command line as `body`, Python over `argv`, says."""
    directory.mkdir()
    path = directory / "qemu-system-x86_64"
    path.write_text("#!/usr/bin/python3 -B\nimport os, sys\n"
                    "real = '/usr/bin/qemu-system-x86_64'\nargv = sys.argv[1:]\n"
                    "def change(name, old, new):\n"
                    "    for i, word in enumerate(argv):\n"
                    "        if i and argv[i - 1] == name:\n"
                    "            argv[i] = word.replace(old, new)\n"
                    f"if '-S' in argv:\n"
                    + "".join(f"    {line}\n" for line in body.splitlines())
                    + "os.execv(real, [real, *argv])\n")
    path.chmod(0o755)
    return directory


def boot(net, tmp_path, directory=None, load=LOAD, machine="q35", args=BUSY, **more):
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


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_busy_guest_passes_without_noticing(net, tmp_path, machine):
    vm, twin, agent = boot(net, tmp_path, machine=machine)
    done = check(vm, twin, agent)
    before = leftovers.snapshot(net, [tmp_path])
    stops, gaps = [], []
    for _ in range(8):
        mark = vm.ticks.mark()
        done = check(vm, twin, agent)
        assert done.exit == 0, done
        assert outcome(done)["result"] == "done", outcome(done)["text"]
        assert [c["verdict"] for c in done.report["checks"] if c["check"] == "rehearsal"] == ["ok"]
        assert outcome(done)["attempts"] == 1, done
        stops.append(outcome(done)["stop_us"] / 1000)
        gaps.append(vm.ticks.gap(since=mark))
    print(f"{machine}: stops {stops}\ngaps {gaps}\n{outcome(done)}")
    assert statistics.median(gaps) <= 40 and max(gaps) <= 100, gaps
    assert leftovers.compare(before, leftovers.snapshot(net, [tmp_path])) == []
    vm.report.check()
    assert not vm.report.errors
