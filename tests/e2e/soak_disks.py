# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of 2 GiB, and twenty moves in a row: `make soak`, not `make test`."""

import subprocess
import time

import pytest
import rig
from rig import disk, faults, leftovers

from test_disks import (FS_LOAD, MEM, Scene, a_disk_is_dead, drive, file_system_arrived, fill,
                        images_are_equal, loop, move_between_versions, odd_source, qcow2, raw, sh,
                        shared_base, spoil_a_copy, start_to_switchover, two_behind_an_iothread)

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


def test_file_system_check_is_clean_of_an_overlay(net, tmp_path):
    def images(directory):
        disk.make_file_system(directory / "base.img", 128, tmp_path / "root")
        sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", directory / "d0.img")
        return drive(0, directory / "d0.img", "qcow2")
    scene = Scene(net, tmp_path, images, **FS_LOAD)
    net.set_rate("200mbit")
    file_system_arrived(scene, scene.move("--codec", "off"), tmp_path / "b/d0.img", tmp_path / "flat")


def test_file_system_check_is_clean_of_a_device(net, tmp_path):
    disk.make_file_system(tmp_path / "one", 128, tmp_path / "root")
    (tmp_path / "two").write_bytes(bytes(128 << 20))
    here, there = loop(net.b, tmp_path / "one"), loop(net.b, tmp_path / "two")
    scene = Scene(net, tmp_path, lambda directory: drive(0, here, protocol="host_device"), **FS_LOAD)
    net.set_rate("200mbit")
    done = scene.move("--codec", "off", "--map", f"{here}={there}", "--overwrite-images")
    file_system_arrived(scene, done, there)


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


@pytest.mark.parametrize("event", ["STOP", "pre-switchover"])
def test_link_is_cut_for_a_moment_in_the_switchover(net, tmp_path, event):
    """It moves, or the guest runs on at the source and the next try moves it."""
    scene = Scene(net, tmp_path, raw(64, 4))
    mark = scene.vm.ticks.mark()
    started, pid = start_to_switchover(net, scene, event)
    with net.outage():
        faults.cont(pid)
        time.sleep(1)
    done = started.wait()
    gap = scene.vm.ticks.gap(since=mark)
    assert gap < 8000, f"stopped for {gap} ms: {done}"
    if done.exit != 0:
        scene.stays(done, 3, done.cause, done.report["cause"]["side"])
        done = scene.move()
    scene.arrived(done)


@pytest.mark.parametrize("event", ["STOP", "pre-switchover"])
def test_server_of_the_image_hangs_in_the_switchover(net, tmp_path, event):
    """QEMU waits for it, deaf: the copies lose their link, and the guest runs on."""
    scene = Scene(net, tmp_path, raw(64, 4))
    mark = scene.vm.ticks.mark()
    started, pid = start_to_switchover(net, scene, event)
    done = started.wait()
    gap = scene.vm.ticks.gap(since=mark)
    assert gap < 8000, f"stopped for {gap} ms: {done}"
    assert not faults.start_time(pid), "the server is left"
    scene.stays(done, 3, "disk-not-in-step", "destination")
    scene.arrived(scene.move())


def test_disk_that_takes_two_seconds_to_read(net, tmp_path):
    """It moves late, or is refused with the right cause; the guest stands still for neither."""
    scene = Scene(net, tmp_path, odd_source(net.b, tmp_path, 8, "delay-read=2"))
    mark = scene.vm.ticks.mark()
    done = rig.migrate(scene.vm, scene.twin, scene.agent, timeout=300)
    assert scene.vm.ticks.gap(since=mark) < 8000
    if done.exit != 0:
        scene.stays(done, 3, "disk-no-answer", "source")
    else:
        scene.arrived(done)


def source_qemu(version):
    if version == "7.2":
        return "qemu-system-x86_64"
    try:
        return str(rig.qemu10.directory() / "qemu-system-x86_64")
    except rig.Missing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_guest_that_writes_four_times_as_fast_as_the_link(net, tmp_path, version):
    """All over its disk; it is in step all the same, if need be by writing to both."""
    scene = Scene(net, tmp_path, raw(128, 120), kernel_args="gw.diskbulk=256K gw.diskspan=64K",
                  qemu=source_qemu(version), machine="pc-q35-7.2",
                  load=rig.Load(mem="16M", dirty="1M/s", content="text", diskrate=160))
    net.set_rate(LINK)
    done = rig.migrate(scene.vm, scene.twin, scene.agent, "--codec", "off", timeout=400)
    assert done.exit == 0 and done.report["disks"][0]["equal"], done
    scene.vm.report.check()


def limits(scene):
    """The bytes a second that the guest may write to each of its disks; 0 is any."""
    with scene.vm.monitor() as monitor:
        devices = monitor.execute("query-block")
    return [device["inserted"]["bps_wr"] for device in devices if "inserted" in device]


@pytest.mark.parametrize("options", [(), ("--throttle-disks", "4M")])
def test_disks_that_never_get_in_step(net, tmp_path, options):
    """One is written to all the time, the other one is copied by so little that it would take hours: given up
    with the rates; before that, if that is allowed, the guest is held back."""
    def images(directory):
        fill(directory / "d1.img", 64, 60)
        return [*raw(32, 16)(directory), *drive(1, directory / "d1.img")]
    scene = Scene(net, tmp_path, images, kernel_args="gw.diskbulk=256K gw.diskspan=64K",
                  load=rig.Load(mem="16M", dirty="1M/s", content="text", diskrate=160))
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--max-bandwidth", "16K", *options)
    if options:
        faults.wait_until(lambda: min(limits(scene)) == 4 << 20, 200, "the limit", interval=1)
    done = started.wait(200)
    assert limits(scene) == [0, 0]
    assert "/s are copied" in done.report["cause"]["message"], done
    assert ("only 4.0" in done.report["cause"]["message"]) == bool(options), done
    scene.stays(done, 7, "not-converged", "source")


def test_link_is_cut_for_good_while_memory_is_copied(net, tmp_path):
    """Every write of the guest waits for both; it goes on when the link is given up."""
    scene = Scene(net, tmp_path, raw())
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--max-bandwidth", "8M",
                                "--link-deadline", "4")
    faults.wait_until(lambda: 'phase="copying memory"' in started.stderr(), 30, "precopy")
    net.cut()
    done = started.wait()
    net.heal()
    assert done.exit == 3 and done.report["runs_on"] == "source", done
    scene.stays(done, 3, done.cause, done.report["cause"]["side"])
    scene.arrived(scene.move())


@pytest.mark.parametrize("images, driver, names", [
    (qcow2, "qcow2", ["d0.img"]), (shared_base, "qcow2", ["d0.img"]),
    (two_behind_an_iothread, "raw", ["d0.img", "d1.img"])])
def test_more_images_are_equal(net, tmp_path, images, driver, names):
    images_are_equal(net, tmp_path, images, driver, names)


def test_a_disk_fails_that_the_guest_does_not_use(net, tmp_path):
    a_disk_is_dead(net, tmp_path, "fails", "error")


def test_source_image_was_deleted(net, tmp_path):
    """QEMU has it open: it can be copied, and the guest gets its disk back a name."""
    scene = Scene(net, tmp_path, raw())
    (tmp_path / "a/d0.img").unlink()
    scene.arrived(scene.move())


def test_shared_image_was_made_anew(net, tmp_path):
    """Another file has the name of the one that QEMU has open: that is no shared disk."""
    (tmp_path / "store").mkdir()
    path = tmp_path / "store/d0.img"
    fill(path, 64, 8)
    scene = Scene(net, tmp_path, lambda directory: drive(0, path))
    path.unlink()
    fill(path, 64, 8)
    scene.before = leftovers.snapshot(net, [tmp_path])
    scene.stays(scene.move(), 2, "disk-not-shared", "destination")


def test_to_qemu_10(net, tmp_path):
    move_between_versions(net, tmp_path, "7.2-to-10.0")
