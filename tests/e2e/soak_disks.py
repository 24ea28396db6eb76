# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of 2 GiB, and twenty moves in a row: `make soak`, not `make test`."""

import subprocess

import pytest
import rig
from rig import disk, faults

from test_disks import MEM, Scene, drive, fill, loop, move_between_versions, raw, sh, spoil_a_copy

LINK = "80mbit"                       # ten megabytes a second
RECORDS = {"idle": 1, "half": 80, "twice": 320}  # a second, as asked for, each with 64 KiB more behind it
RUNS = 20


def big_raw(directory):
    fill(directory / "d0.img", 2048, 256)
    return drive(0, directory / "d0.img")


def big_qcow2(directory):
    fill(directory / "base.img", 2048, 128)
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", directory / "d0.img")
    return drive(0, directory / "d0.img", "qcow2")


@pytest.mark.parametrize("load", RECORDS)
@pytest.mark.parametrize("kind", ["raw", "qcow2", "device"])
def test_two_gibibytes(net, tmp_path, kind, load):
    """The guest writes at 0, half and twice the rate of the link while memory is copied."""
    options, image = [], tmp_path / "b/d0.img"
    images = big_qcow2 if kind == "qcow2" else big_raw
    if kind == "device":
        fill(tmp_path / "one", 2048, 256)
        with open(tmp_path / "two", "wb") as file:
            file.truncate(2048 << 20)
        here, image = loop(net.b, tmp_path / "one"), loop(net.b, tmp_path / "two")
        images = lambda directory: drive(0, here, protocol="host_device")  # noqa: E731
        options = ["--map", f"{here}={image}", "--overwrite-images"]
    scene = Scene(net, tmp_path, images, kernel_args="gw.diskbulk=64K" if load != "idle" else "",
                  load=rig.Load(mem="16M", dirty="2M/s", content="text", diskrate=RECORDS[load]))
    net.set_rate(LINK)
    done = rig.migrate(scene.vm, scene.twin, scene.agent, *options, timeout=500)
    net.set_rate(None)
    assert done.exit == 0, done
    assert not any(event["event"] in ("disk-error", "block-error") for event in done.report["timeline"])
    assert done.report["disks"][0]["equal"]
    moved_at = scene.vm.report.acked
    scene.vm.report.wait_status(lambda status: status.disk > moved_at + 2)
    scene.vm.report.check()
    acked = scene.vm.report.acked
    pid = scene.twin.find().pid
    faults.kill(pid)
    flat = image
    if kind == "qcow2":
        flat = tmp_path / "flat"
        subprocess.run(["qemu-img", "convert", "-O", "raw", image, flat], check=True)
    records = disk.read(flat)
    assert records.damage == [] and records.missing() == []
    assert records.last >= acked


def test_twenty_moves_with_two_throttled_disks(net, tmp_path):
    """The setup of a mirror that was ready, fell behind in the memory phase, and failed at the end."""
    (tmp_path / "a").mkdir()
    for number in (0, 1):
        fill(tmp_path / f"a/d{number}.img", 256, 32)
    vm = rig.Guest(net.a, tmp_path / "a", mem=MEM, modules=["virtio_blk"],
                   load=rig.Load(mem="32M", dirty="10M/s", content="random", diskrate=500),
                   args=[*drive(0, tmp_path / "a/d0.img"), *drive(1, tmp_path / "a/d1.img")])
    vm.start().wait_boot()
    agents = {"a": rig.Agent(net.a, tmp_path / "ga"), "b": rig.Agent(net.b, tmp_path / "gb")}
    hosts = {"a": net.a, "b": net.b}
    stops = []
    for run in range(RUNS):
        other = "b" if vm.side == "a" else "a"
        twin = vm.twin(hosts[other], tmp_path / f"{other}{run}")
        mark = vm.ticks.mark()
        done = rig.migrate(vm, twin, agents[other], "--max-bandwidth", "100M")
        assert done.exit == 0, f"move {run}: {done}"
        assert [told["equal"] for told in done.report["disks"]] == [True, True]
        events = [event["event"] for event in done.report["timeline"]]
        assert "disk-error" not in events and "block-error" not in events, f"move {run}"
        vm.ticks.wait_side(other, 200, since=mark)
        stops.append(done.report["downtime_ms"])
        vm = twin
    vm.report.check()
    acked = vm.report.acked
    faults.kill(vm.find().pid)
    records = disk.read(vm.directory / "d0.img")
    assert records.damage == [] and records.missing() == [] and records.last >= acked
    print(f"downtime of {RUNS} moves, ms: {sorted(stops)}")


def test_without_asking_nothing_is_resumed(net, tmp_path):
    """What an earlier try left is replaced, and no option is needed for that."""
    net.set_rate("200mbit")
    scene = Scene(net, tmp_path, raw(128, 96))
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--resume-disks")
    faults.wait_until(lambda: 'phase="copying disks"' in started.stderr(), 30, "the copy")
    started.signal()
    assert started.wait().exit == 5
    net.set_rate(None)
    done = scene.move()
    [told] = done.report["disks"]
    assert not told["resumed"] and told["copied_bytes"] >= 96 << 20, told
    scene.arrived(done)
    assert sorted(path.name for path in (tmp_path / "b").glob("d0*")) == ["d0.img"]


def test_a_copy_that_was_compared_and_differs_later(net, tmp_path):
    """Only --verify full sees what nobody wrote through QEMU."""
    spoil_a_copy(net, tmp_path, "full", "copying memory", "--max-bandwidth", "12M")


def test_source_image_was_deleted(net, tmp_path):
    """QEMU has it open: it can be copied, and the guest gets its disk back a name."""
    scene = Scene(net, tmp_path, raw())
    (tmp_path / "a/d0.img").unlink()
    scene.arrived(scene.move())


def test_to_qemu_10(net, tmp_path):
    move_between_versions(net, tmp_path, "7.2-to-10.0")
