# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the checks let pass, with a warning where one is due. What they refuse is in test_spoiled.py."""

import subprocess

import pytest
import rig
from rig.spoil import MEM, Setup, hold, verdicts


@pytest.fixture
def setup(net, tmp_path):
    def make(*args, **more):
        return Setup(net, tmp_path, *args, **more)
    return make


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_nothing_is_said_against_what_can_move(setup, machine):
    done = setup(machine=machine, args=["-device", "virtio-scsi-pci"]).passes()
    assert set(verdicts(done).values()) == {"ok"}, done.report["checks"]
    assert len(verdicts(done)) > 20


def test_table_for_people_has_the_reason_in_the_same_line(setup):
    spoiled = setup(mem="64M")
    done = rig.godwit(spoiled.vm.host, "check", f"qmp:{spoiled.vm.qmp_path}", spoiled.agent.destination,
                      "--map", f"{spoiled.vm.directory}={spoiled.twin.directory}")
    assert done.exit == 2
    said = done.stderr.split("\n")
    [line] = [line for line in said if line.startswith("refused")]
    assert "known-bugs" in line and "multiple of 256 KiB" in line and "--accept-risk" in line
    assert any(line.startswith("ok       machine-type") for line in said)


def test_accepted_risk(setup):
    done = setup(mem="64M").passes("--accept-risk", "tcg-dirty-pages")
    assert verdicts(done)["known-bugs"] == "warning"


def test_unknown_risk(setup):
    done = setup().check("--accept-risk", "tcg-dirty")
    assert (done.exit, done.cause) == (1, "usage"), done
    assert "tcg-dirty:" in done.report["cause"]["message"]


def test_images_that_are_there(setup, tmp_path):
    """An overlay with what is below it, a disk of the same size, and a CD."""
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        for image in ("base", "disk", "cd.iso"):
            (directory / image).write_bytes(bytes(1 << 20))
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "base", "-F", "raw",
                        f"{directory}/top", "1M"], check=True)
    setup(args=["-drive", f"if=virtio,file={tmp_path}/one/top,format=qcow2",
                "-drive", f"if=virtio,file={tmp_path}/one/disk,format=raw",
                "-drive", f"if=none,id=cd,media=cdrom,file={tmp_path}/one/cd.iso,format=raw",
                "-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=cd"]).passes(
        "--map", f"{tmp_path}/one={tmp_path}/two", "--disks", "shared")


def test_disk_is_shared_by_proof(setup, tmp_path):
    """Under another path, without a word of the user's: what the source wrote beside the disk was read by
    the destination, and is gone."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").symlink_to(tmp_path / "one")
    (tmp_path / "one" / "disk").write_bytes(bytes(1 << 20))
    done = setup(args=["-drive", f"if=virtio,file={tmp_path}/one/disk,format=raw"]).passes(
        "--map", f"{tmp_path}/one={tmp_path}/two")
    [text] = [check["text"] for check in done.report["checks"] if check["check"] == "disks"]
    assert "a token that the source wrote beside it was read on the destination" in text
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["disk"]


def test_disk_that_only_looks_the_same(setup, tmp_path):
    """The same content under the same name is no proof."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "disk").write_bytes(bytes(1 << 20))
    setup(args=["-drive", f"if=virtio,file={tmp_path}/one/disk,format=raw"]).refused(
        "disk-not-shared", f"{tmp_path}/one/disk", f"{tmp_path}/two/disk",
        options=["--map", f"{tmp_path}/one={tmp_path}/two"])


# --- the link ---

def test_link_is_tried(net, tmp_path):
    """Its rate is that of the shaped link, within what the queues of a short try allow."""
    net.set_rate("200mbit")
    done = Setup(net, tmp_path).passes()
    assert 15e6 < done.report["probe"]["rate_bps"] < 35e6, done.report["probe"]
    assert 0 < done.report["probe"]["rtt_us"] < 100000, done.report["probe"]
    assert verdicts(done)["link"] == "ok"


def test_link_that_cannot_be(net, tmp_path):
    """The check refuses it, where the move would fail."""
    vm = Setup(net, tmp_path)
    with net.refusal():
        done = vm.check()
    assert (done.exit, done.cause) == (2, "link-connect"), done
    assert net.b.address in done.report["cause"]["message"]


# --- interfaces and addresses ---

def tap(host, name, mtu=1500):
    host.run(["ip", "tuntap", "add", name, "mode", "tap"])
    host.run(["ip", "link", "set", name, "mtu", str(mtu)])


TAP = ["-netdev", "tap,id=n0,ifname=gwtap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0"]


def test_tap_of_another_name(setup, net):
    tap(net.a, "gwtap0")
    tap(net.b, "gwtap1")
    done = setup(args=TAP).passes("--map", "gwtap0=gwtap1")
    assert set(verdicts(done).values()) == {"ok"}, done.report["checks"]
    assert net.b.run(["ip", "-br", "link"]).stdout.count("gwt") == 1


def test_shorter_frames(setup, net):
    tap(net.a, "gwtap0", 9000)
    tap(net.b, "gwtap0", 1500)
    done = setup(args=TAP).passes()
    assert verdicts(done)["network"] == "warning"
    assert "9000" in str(done.report["checks"]) and "1500" in str(done.report["checks"])


def test_address_of_the_destination(setup, net):
    setup().passes("--data-address", net.b.address)


# --- other VMs ---

def test_vm_of_the_same_name(setup, net, tmp_path):
    spoiled = setup()
    hold(rig.Guest(net.b, tmp_path / "double", mem=MEM))
    assert verdicts(spoiled.passes())["other-vm"] == "warning"


# --- program ---

def test_programs_are_asked_once(setup, tmp_path):
    """Of an ELF program the answers are kept, and they are the same the next time."""
    vm = setup()
    first = vm.passes()
    kept = sorted((tmp_path / "agent" / "qemu").iterdir())
    times = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 2
    assert verdicts(vm.passes()) == verdicts(first)
    assert [path.stat().st_mtime_ns for path in kept] == times
