# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot move is refused before anything moves: spoiled setups with real QEMU, each refused with
exit status 2, the right cause and the values of both sides, and nothing touched on either host."""

import subprocess

import pytest
import rig
from rig import faults, leftovers

MEM = "65528K"
KEPT = ["/state", "/records", "/reports", "/qemu/", "monitor.sock", "agent.log"]


def status(vm):
    try:
        with vm.monitor() as monitor:
            return monitor.execute("query-status")["status"]
    except OSError:
        return None


def started(vm):
    """Starts QEMU, and waits until it answers."""
    vm.start(paused=True)
    faults.wait_until(lambda: status(vm) in ("prelaunch", "paused"), 20, "QEMU's answer")


class Setup:
    """A VM on a that is stopped before its first instruction, its twin on b, and an agent there."""

    def __init__(self, net, tmp_path, args=(), agent=(), **more):
        self.net, self.tmp_path = net, tmp_path
        self.vm = rig.Guest(net.a, tmp_path / "a", **{"mem": MEM, **more}, args=list(args))
        started(self.vm)
        self.twin = self.vm.twin(net.b, tmp_path / "b")
        self.agent = rig.Agent(net.b, tmp_path / "agent", agent)

    def check(self, *options):
        """godwit check; nothing may be left of it."""
        before = leftovers.snapshot(self.net, [self.tmp_path])
        done = rig.godwit(self.vm.host, "check", f"qmp:{self.vm.qmp_path}", self.agent.destination,
                          "--map", f"{self.vm.directory}={self.twin.directory}", "--json", *options)
        self._nothing_new(before)
        assert status(self.vm) in ("prelaunch", "paused")
        return done

    def _nothing_new(self, before):
        """The agent notices only a moment later that the command has closed its connection."""
        faults.wait_until(lambda: leftovers.compare(
            before, leftovers.snapshot(self.net, [self.tmp_path]), allowed=KEPT) == [],
            5, "nothing left over")

    def refused(self, cause, *parts, options=()):
        """Both the check and the move say so, and say the same."""
        done = self.check(*options)
        assert (done.exit, done.cause) == (2, cause), done
        for part in parts:
            assert part in done.report["cause"]["message"], done
        before = leftovers.snapshot(self.net, [self.tmp_path])
        moved = rig.migrate(self.vm, self.twin, self.agent, *options)
        assert (moved.exit, moved.cause) == (2, cause), moved
        self._nothing_new(before)
        return done

    def passes(self, *options):
        done = self.check(*options)
        assert done.exit == 0, done.report["cause"]
        return done


@pytest.fixture
def setup(net, tmp_path):
    def make(*args, **more):
        return Setup(net, tmp_path, *args, **more)
    return make


def verdicts(done):
    return {check["check"]: check["verdict"] for check in done.report["checks"]}


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_nothing_is_said_against_what_can_move(setup, machine):
    done = setup(machine=machine, args=["-device", "virtio-scsi-pci"]).passes()
    assert set(verdicts(done).values()) == {"ok"}, done.report["checks"]
    assert len(verdicts(done)) > 10


def test_table_for_people_has_the_reason_in_the_same_line(setup):
    spoiled = setup(mem="64M")
    done = rig.godwit(spoiled.vm.host, "check", f"qmp:{spoiled.vm.qmp_path}", spoiled.agent.destination,
                      "--map", f"{spoiled.vm.directory}={spoiled.twin.directory}")
    assert done.exit == 2
    said = done.stderr.split("\n")
    [line] = [line for line in said if line.startswith("refused")]
    assert "known-bugs" in line and "multiple of 256 KiB" in line and "--accept-risk" in line
    assert any(line.startswith("ok       machine-type") for line in said)


# --- known bugs and settings ---

def test_lost_dirty_pages_of_tcg(setup):
    spoiled = setup(mem="64M")
    spoiled.refused("qemu-bug", "03bfc2188f", "7.2", "--accept-risk tcg-dirty-pages")
    done = spoiled.passes("--accept-risk", "tcg-dirty-pages")
    assert verdicts(done)["known-bugs"] == "warning"


def test_unknown_risk(setup):
    done = setup().check("--accept-risk", "tcg-dirty")
    assert (done.exit, done.cause) == (1, "usage"), done
    assert "tcg-dirty:" in done.report["cause"]["message"]


@pytest.mark.parametrize("capability", ["multifd", "postcopy-ram", "x-ignore-shared"])
def test_capability_that_somebody_left_on(setup, capability):
    spoiled = setup()
    with spoiled.vm.monitor() as monitor:
        monitor.execute("migrate-set-capabilities",
                        capabilities=[{"capability": capability, "state": True}])
    spoiled.refused("migration-settings", f"'{capability}'", "migrate-set-capabilities")


def test_qemus_own_tls(setup):
    spoiled = setup()
    with spoiled.vm.monitor() as monitor:
        monitor.execute("migrate-set-parameters", **{"tls-creds": "tls0"})
    spoiled.refused("migration-settings", "'tls0'")


# --- disks ---

def image(path, *args):
    """Makes an image with qemu-img."""
    subprocess.run(["qemu-img", "create", "-q", *args], check=True)
    return path


def test_disk_that_is_another_file(setup, tmp_path):
    spoiled = setup(disk="1M")
    spoiled.refused("disk-not-shared", f"{spoiled.vm.directory}/", f"{spoiled.twin.directory}/")


def test_disk_that_is_one_byte_smaller(setup, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "d.img").write_bytes(bytes(1 << 20))
    (tmp_path / "two" / "d.img").write_bytes(bytes((1 << 20) - 1))
    spoiled = setup(args=["-drive", f"if=virtio,file={tmp_path}/one/d.img,format=raw"])
    options = ["--map", f"{tmp_path}/one={tmp_path}/two", "--disks", "shared"]
    spoiled.refused("disk-too-small", "1048575 bytes on the destination", "1048576", options=options)
    (tmp_path / "two" / "d.img").write_bytes(bytes(1 << 20))
    spoiled.passes(*options)


def test_disk_with_cache_unsafe(setup, tmp_path):
    (tmp_path / "d.img").write_bytes(bytes(1 << 20))
    setup(args=["-drive", f"if=virtio,file={tmp_path}/d.img,format=raw,cache=unsafe"]).refused(
        "disk-cache-unsafe", f"{tmp_path}/d.img", options=["--disks", "shared"])


def test_disk_with_snapshot_on(setup, tmp_path):
    (tmp_path / "d.img").write_bytes(bytes(1 << 20))
    setup(args=["-drive", f"if=virtio,file={tmp_path}/d.img,format=raw,snapshot=on"]).refused(
        "disk-temporary", "temporary file", options=["--disks", "shared"])


def test_image_below_a_disk(setup, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    image("", "-f", "raw", f"{tmp_path}/one/base", "1M")
    for name in ("one", "two"):
        image("", "-f", "qcow2", "-u", "-b", "base", "-F", "raw", f"{tmp_path}/{name}/top", "1M")
    spoiled = setup(args=["-drive", f"if=virtio,file={tmp_path}/one/top,format=qcow2"])
    options = ["--map", f"{tmp_path}/one={tmp_path}/two", "--disks", "shared"]
    spoiled.refused("backing-missing", f"{tmp_path}/one/base", f"{tmp_path}/two/base", options=options)
    (tmp_path / "two" / "base").write_bytes(bytes(1 << 20))
    spoiled.passes(*options)


def test_read_only_disk_is_not_forgotten(setup, tmp_path):
    (tmp_path / "cd.iso").write_bytes(bytes(1 << 20))
    spoiled = setup(args=["-drive", f"if=none,id=cd,media=cdrom,file={tmp_path}/cd.iso,format=raw",
                          "-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=cd"])
    spoiled.passes()
    spoiled.refused("disk-not-shared", "'/nowhere/cd.iso' does not exist",
                    options=["--map", f"{tmp_path}/cd.iso=/nowhere/cd.iso"])


# --- interfaces and addresses ---

def tap(host, name, mtu=1500):
    host.run(["ip", "tuntap", "add", name, "mode", "tap"])
    host.run(["ip", "link", "set", name, "mtu", str(mtu)])


TAP = ["-netdev", "tap,id=n0,ifname=gwtap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0"]


def test_missing_tap(setup, net):
    tap(net.a, "gwtap0")
    spoiled = setup(args=TAP)
    spoiled.refused("network-missing", "tap 'gwtap0'", "no interface 'gwtap0'")
    tap(net.b, "gwtap1")
    spoiled.passes("--map", "gwtap0=gwtap1")


def test_shorter_frames(setup, net):
    tap(net.a, "gwtap0", 9000)
    tap(net.b, "gwtap0", 1500)
    done = setup(args=TAP).passes()
    assert verdicts(done)["network"] == "warning"
    assert "9000" in str(done.report["checks"]) and "1500" in str(done.report["checks"])


def test_address_of_another_host(setup, net):
    spoiled = setup()
    spoiled.refused("data-address", net.a.address, net.b.address,
                    options=["--data-address", net.a.address])
    spoiled.passes("--data-address", net.b.address)


# --- other VMs ---

def test_vm_that_is_there_already(setup, net, tmp_path):
    uuid = ["-uuid", "11111111-2222-3333-4444-555555555555"]
    spoiled = setup(args=uuid)
    spoiled.passes()
    double = rig.Guest(net.b, tmp_path / "double", mem=MEM, args=uuid)
    started(double)
    spoiled.refused("vm-already-there", uuid[1], f"pid {double.pid}")


def test_vm_of_the_same_name(setup, net, tmp_path):
    spoiled = setup()
    started(rig.Guest(net.b, tmp_path / "double", mem=MEM))
    assert verdicts(spoiled.passes())["other-vm"] == "warning"


# --- program and machine ---

def test_qemu_that_the_destination_does_not_have(setup, tmp_path):
    (tmp_path / "programs").mkdir()
    config = tmp_path / "godwitd.conf"
    config.write_text(f"[qemu]\ndirectories={tmp_path}/programs\n")
    setup(agent=["--config", config]).refused("binary-missing", "qemu-system-x86_64", f"{tmp_path}/programs")


def wrapper(tmp_path, script):
    """An agent's configuration whose QEMU is a script around the real one."""
    (tmp_path / "programs").mkdir()
    program = tmp_path / "programs" / "qemu-system-x86_64"
    program.write_text(f"#!/bin/sh\nreal=/usr/bin/qemu-system-x86_64\n{script}\n")
    program.chmod(0o755)
    config = tmp_path / "godwitd.conf"
    config.write_text(f"[qemu]\ndirectories={tmp_path}/programs\n")
    return ["--config", config]


def test_machine_type_that_the_destination_does_not_have(setup, tmp_path):
    agent = wrapper(tmp_path, 'case "$*" in "-machine help") $real -machine help | grep -v q35-7.2; exit;; esac\n'
                              'exec $real "$@"')
    setup(agent=agent).refused("machine-missing", "pc-q35-7.2", "7.2")


def test_device_that_cannot_be_migrated(setup):
    setup(args=["-device", "ivshmem-plain,memdev=m0,master=off",
                "-object", "memory-backend-ram,id=m0,size=1M,share=on"]).refused(
        "migration-blocked", "ivshmem")


def test_device_whose_state_is_of_a_newer_version(setup, tmp_path):
    agent = wrapper(tmp_path, """case "$*" in *-dump-vmstate*) $real "$@" |
        sed '/^  "e1000": {/,/^    "Desc/ s/version_id": [0-9]*/version_id": 0/'; exit;; esac
exec $real "$@" """)
    setup(args=["-device", "e1000"], agent=agent).refused("state-version", "'e1000'", "version 2", "0 to 0")


def test_programs_are_asked_once(setup, tmp_path):
    """Of an ELF program the answers are kept, and they are the same the next time."""
    vm = setup()
    first = vm.passes()
    kept = sorted((tmp_path / "agent" / "qemu").iterdir())
    times = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 2
    assert verdicts(vm.passes()) == verdicts(first)
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_device_that_the_destination_does_not_have(setup, tmp_path):
    agent = wrapper(tmp_path, """case "$*" in "-device help") $real -device help | grep -v '"e1000"'; exit;; esac
exec $real "$@" """)
    setup(args=["-device", "e1000,id=net0"], agent=agent).refused("device-missing", "'net0' (e1000)", "7.2")
