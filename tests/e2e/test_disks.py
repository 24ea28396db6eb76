# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks that the hosts do not share move with the VM: every record that the guest was told is written is
in the destination's image, both images are equal, and whatever fails, the guest keeps its own disk."""

import random
import re
import socket
import subprocess
import time

import pytest
import rig
from rig import disk, faults, leftovers

MEM = "131064K"
LOAD = rig.Load(mem="16M", dirty="2M/s", content="text", diskrate=200)
# What stays on purpose: ownership records and reports; the rig's own connections.
KEPT = ["/journal", "/qemu/", "/state", "monitor.sock", "agent.sock", "agent.log"]


def sh(*argv):
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True).stdout


def drive(number, path, driver="raw", protocol="file", backing=()):
    """A virtio-blk disk on the image at `path`."""
    argv = ["-blockdev", f"driver={protocol},node-name=d{number}-file,filename={path}", *backing,
            "-blockdev", f"driver={driver},node-name=d{number},file=d{number}-file",
            "-device", f"virtio-blk-pci,drive=d{number},id=virtio-d{number}"]
    return argv


def fill(path, megabytes, used):
    """A raw image of which the first `used` MiB after the guest's records are random bytes."""
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)
        file.seek(2 << 20)
        block = random.Random(7).randbytes(1 << 20)
        for i in range(used):
            file.write(i.to_bytes(8, "little") + block[8:])


class Scene:
    """A guest that writes records to its first disk, with images that only the source has."""

    def __init__(self, net, tmp_path, images, load=LOAD, boots=True, config="", **more):
        self.net, self.tmp_path = net, tmp_path
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        args = images(tmp_path / "a")
        self.vm = rig.Guest(net.a, tmp_path / "a", load=load, mem=MEM, args=args,
                            modules=["virtio_blk"], **more)
        self.vm.start()
        if boots:
            self.vm.wait_boot()
        self.twin = self.vm.twin(net.b, tmp_path / "b")
        (tmp_path / "godwitd.conf").write_text(config)
        self.agent = rig.Agent(net.b, tmp_path / "agent", ("--config", tmp_path / "godwitd.conf"))
        self.before = leftovers.snapshot(net, [tmp_path])

    def move(self, *options):
        return rig.migrate(self.vm, self.twin, self.agent, *options)

    def nothing_left(self):
        after = leftovers.snapshot(self.net, [self.tmp_path])
        assert leftovers.compare(self.before, after, allowed=KEPT) == []
        assert leftovers.compare(after, self.before, allowed=KEPT) == [], "something is gone"
        with self.vm.monitor() as monitor:
            assert monitor.execute("query-jobs") == []
            nodes = [node["node-name"] for node in monitor.execute("query-named-block-nodes", flat=True)]
            assert [node for node in nodes if node.startswith("gw-")] == []

    def stays(self, done, exit, cause, side, words=""):
        assert done.report is not None, done
        told = done.report["cause"]
        assert (done.exit, told["code"], told["side"]) == (exit, cause, side), (told, done)
        assert words in str(told["evidence"]), done
        mark = self.vm.ticks.mark()
        self.vm.ticks.wait_side("a", 100, since=mark)
        acked = self.vm.report.acked
        self.vm.report.wait_status(lambda status: status.disk > acked + 10)
        self.vm.report.check()
        self.nothing_left()

    def arrived(self, done, image="d0.img"):
        """Every acknowledged record is in the destination's raw image, and the guest goes on with it."""
        assert done.exit == 0, (done.report["cause"], done)
        assert not any(event["event"] in ("disk-error", "block-error") for event in done.report["timeline"])
        moved_at = self.vm.report.acked
        self.vm.report.wait_status(lambda status: status.disk > moved_at + 100)
        self.vm.report.check()
        acked = self.vm.report.acked
        self.twin.find().stop()
        records = disk.read(self.tmp_path / "b" / image)
        assert records.damage == [] and records.missing() == []
        assert records.last >= acked and all(records.has(n) for n in range(1, acked + 1))


    def next_works(self):
        """The second try after a fault; here of some faults, in the soak of all."""
        if rig.soak.ROUNDS:
            self.net.set_rate(None)
            self.arrived(self.move())


def raw(megabytes=64, used=16):
    def images(directory):
        fill(directory / "d0.img", megabytes, used)
        return drive(0, directory / "d0.img")
    return images


def test_a_raw_disk_moves(net, tmp_path):
    scene = Scene(net, tmp_path, raw())
    done = scene.move()
    scene.arrived(done)
    [told] = done.report["disks"]
    assert told["action"] == "copy" and told["target"] == f"{tmp_path}/b/d0.img", told
    assert (tmp_path / "b/d0.img").stat().st_size == 64 << 20
    assert (tmp_path / "b/d0.img").stat().st_blocks * 512 < 24 << 20, "sparse stays sparse"
    assert done.report["disk_bytes"] < 24 << 20
    assert told["equal"] is True


def equal(scene, name="d0.img", driver="raw"):
    """Whether both sides' images hold the same; nobody may have them open."""
    done = subprocess.run(["qemu-img", "compare", "-f", driver, "-F", driver, scene.tmp_path / "a" / name,
                           scene.tmp_path / "b" / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def qcow2(directory):
    """An overlay, with options of its own, on a base that only the source has."""
    fill(directory / "base.img", 64, 8)
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", "-o",
       "cluster_size=32k,lazy_refcounts=on", directory / "d0.img")
    return drive(0, directory / "d0.img", "qcow2")


def chain_by_name(directory):
    """The command line names the image below, which is on both sides."""
    fill(directory / "base.img", 64, 8)
    fill(directory.parent / "b" / "base.img", 64, 12)  # another one
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", directory / "d0.img")
    return ["-blockdev", f"driver=file,node-name=base-file,filename={directory}/base.img,read-only=on",
            "-blockdev", "driver=raw,node-name=base,file=base-file,read-only=on",
            "-blockdev", f"driver=file,node-name=d0-file,filename={directory}/d0.img",
            "-blockdev", "driver=qcow2,node-name=d0,file=d0-file,backing=base",
            "-device", "virtio-blk-pci,drive=d0,id=virtio-d0"]


def shared_base(directory):
    """Both hosts have the image below at the same place: only the overlay is copied."""
    fill(directory.parent / "base.img", 64, 32)
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", directory.parent / "base.img", "-F", "raw",
       directory / "d0.img")
    return drive(0, directory / "d0.img", "qcow2")


def old_style(directory):
    """-drive, whose nodes have no names; and an NVRAM of an odd size."""
    fill(directory / "d0.img", 64, 8)
    (directory / "vars.fd").write_bytes(bytes(range(256)) * 512)
    return ["-drive", f"if=virtio,file={directory}/d0.img,format=raw",
            "-drive", f"if=none,id=nvram,file={directory}/vars.fd,format=raw",
            "-device", "virtio-blk-pci,drive=nvram"]


def two_behind_an_iothread(directory):
    fill(directory / "d0.img", 64, 8)
    fill(directory / "d1.img", 32, 32)
    argv = ["-object", "iothread,id=io0"]
    for number in (0, 1):
        argv += drive(number, directory / f"d{number}.img")
        argv[-1] += ",iothread=io0"
    return argv


def images_are_equal(net, tmp_path, images, driver, names):
    """The guest is paused right before, so that it writes nothing at the destination."""
    scene = Scene(net, tmp_path, images)
    scene.vm.report.wait_status(lambda status: status.disk > 50)
    with scene.vm.monitor() as monitor:
        monitor.execute("stop")
    done = scene.move()
    assert done.exit == 0, done
    assert [told["action"] for told in done.report["disks"]] == ["copy"] * len(names)
    pid = scene.twin.find().pid  # it waits, and has not opened its images for writing yet
    scene.twin.stop()
    faults.wait_gone(pid)
    for name in names:
        equal(scene, name, driver)


@pytest.mark.parametrize("images, driver, names", [
    (chain_by_name, "qcow2", ["d0.img"]), (old_style, "raw", ["d0.img", "vars.fd"])])
def test_images_are_equal(net, tmp_path, images, driver, names):
    images_are_equal(net, tmp_path, images, driver, names)


FS_LOAD = {"kernel_args": "gw.fs=/dev/vda gw.disk=/fs/records gw.diskspan=1M",
           "load": rig.Load(mem="16M", dirty="2M/s", diskrate=50)}


def file_system_arrived(scene, done, image, flat=None):
    """The guest's file system check finds nothing, and each file that it has synced is whole."""
    assert done.exit == 0 and done.report["disks"][0]["equal"], done
    moved_at = scene.vm.report.acked
    scene.vm.report.wait_status(lambda status: status.disk > moved_at + 20)
    scene.vm.report.check()
    acked = scene.vm.report.acked
    pid = scene.twin.find().pid
    faults.kill(pid)
    faults.wait_gone(pid)
    if flat is not None:  # a thread of the killed QEMU may hold the image a moment longer
        convert = ["qemu-img", "convert", "-O", "raw", image, flat]
        faults.wait_until(lambda: subprocess.run(convert, check=False).returncode == 0, 10, "the image")
    records, wrong = disk.read_file_system(flat or image, acked, scene.tmp_path / "found")
    assert wrong == [] and records.damage == [] and records.last >= acked


def test_file_system_check_is_clean(net, tmp_path):
    def images(directory):
        disk.make_file_system(directory / "d0.img", 32, tmp_path / "root")
        return drive(0, directory / "d0.img")
    scene = Scene(net, tmp_path, images, **FS_LOAD)
    file_system_arrived(scene, scene.move(), tmp_path / "b/d0.img")


# --- what is refused, and what is not copied ---

def test_image_that_is_there_already(net, tmp_path):
    scene = Scene(net, tmp_path, raw())
    (tmp_path / "b/d0.img").write_bytes(b"precious" + bytes(504))
    scene.before = leftovers.snapshot(net, [tmp_path])
    scene.stays(scene.move(), 2, "disk-not-shared", "destination", "--overwrite-images")
    assert (tmp_path / "b/d0.img").read_bytes()[:8] == b"precious"
    done = scene.move("--overwrite-images")
    scene.arrived(done)
    assert sorted(path.name for path in (tmp_path / "b").glob("d0*")) == ["d0.img"]


def copied(started, name="d0"):
    """How many percent of the disk are copied, as the progress said last; 100 when it is in step."""
    said = re.findall(f"{name} (\\d+)%|{name} (in step|running)", started.stderr())
    return 0 if not said else 100 if said[-1][1] else int(said[-1][0])


def small_file_system(net, directory, megabytes):
    directory.mkdir()
    sh("mount", "-t", "tmpfs", "-o", f"size={megabytes}M", "none", directory)
    net.b.at_close(lambda: subprocess.run(["umount", "-l", directory], check=False))


def test_places_that_take_no_image(net, tmp_path):
    """All seen before anything is touched; the guest has not even begun."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    fill(tmp_path / "a/d0.img", 256, 192)
    vm = rig.Guest(net.a, tmp_path / "a", mem=MEM, args=drive(0, tmp_path / "a/d0.img"))
    vm.start(paused=True)
    faults.wait_until(vm.qmp_path.exists, 20, "the monitor")
    small_file_system(net, tmp_path / "small", 100)
    (tmp_path / "conf").write_text(f"[disks]\ndirectories={tmp_path}/images\n")
    free = rig.Agent(net.b, tmp_path / "agent")
    strict = rig.Agent(net.b, tmp_path / "agent2", ["--config", tmp_path / "conf"])
    for agent, place, words in ((free, tmp_path / "small", "MiB are free"),
                                (free, tmp_path / "nowhere", "no directory"),
                                (strict, tmp_path / "b", "[disks] directories")):
        done = rig.godwit(net.a, "check", f"qmp:{vm.qmp_path}", agent.destination, "--json", "--map",
                          f"{tmp_path}/a/d0.img={place}/d0.img", "--map", f"{tmp_path}/a={tmp_path}/b")
        assert (done.exit, done.cause) == (2, "disk-no-place"), done
        assert words in done.report["cause"]["message"], done


# --- faults ---

def servers(host):
    """The pids of the programs that serve images on a host."""
    return [pid for pid in host.pids() if b"qemu-nbd" in open(f"/proc/{pid}/cmdline", "rb").read()]


def test_server_of_the_image_is_killed(net, tmp_path):
    net.set_rate("100mbit")
    scene = Scene(net, tmp_path, raw(64, 48))
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent)
    faults.wait_until(lambda: copied(started) >= 10, 30, "the copy")
    [pid] = servers(net.b)
    faults.kill(pid)
    scene.stays(started.wait(), 3, "disk-image-failed", "destination", "killed by signal 9")
    scene.next_works()


def test_abort_in_the_copy(net, tmp_path):
    net.set_rate("100mbit")
    scene = Scene(net, tmp_path, raw(64, 48))
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent)
    faults.wait_until(lambda: 'phase="copying disks"' in started.stderr(), 30, "the copy")
    started.signal()
    scene.stays(started.wait(), 5, "aborted", "none")
    net.set_rate(None)
    scene.arrived(scene.move())


def test_link_is_cut_in_the_copy(net, tmp_path):
    net.set_rate("100mbit")
    scene = Scene(net, tmp_path, raw(64, 48))
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent)
    faults.wait_until(lambda: copied(started) >= 10, 30, "the copy")
    with net.outage():
        faults.wait_until(lambda: "link down for" in started.stderr(), 30, "the cut")
        time.sleep(1)
    scene.arrived(started.wait())


def test_destination_disk_is_full(net, tmp_path):
    small = tmp_path / "small"
    small_file_system(net, small, 200)
    net.set_rate("400mbit")
    scene = Scene(net, tmp_path, raw(128, 96))
    scene.before = leftovers.snapshot(net, [tmp_path])
    options = ["--map", f"{tmp_path}/a/d0.img={small}/d0.img"]
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, *options)
    faults.wait_until(lambda: 'phase="copying disks"' in started.stderr(), 30, "the copy")
    with open(small / "other", "wb") as file:
        file.write(bytes(150 << 20))
    done = started.wait()
    (small / "other").unlink()
    scene.stays(done, 3, "disk-copy-failed", "destination", "space")
    scene.next_works()


def spoil_a_copy(net, tmp_path, verify, phase, *options):
    """One sector of the destination's image is spoiled: in the copy, or after it was compared."""
    net.set_rate("100mbit")
    scene = Scene(net, tmp_path, raw(64, 32))
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--verify", verify, *options)
    faults.wait_until(lambda: f'phase="{phase}"' in started.stderr() and copied(started) >= 30, 60, phase)
    if verify == "full":
        time.sleep(2)  # the comparison while the guest runs is over
    with open(tmp_path / "b/d0.img", "r+b") as file:
        file.seek(3 << 20)
        file.write(b"spoiled!")
    scene.stays(started.wait(), 3, "disk-differs", "destination", f"first at byte {3 << 20}")
    return scene


def test_a_copy_that_differs_is_never_started(net, tmp_path):
    spoil_a_copy(net, tmp_path, "auto", "copying disks").next_works()


def test_resume_after_an_abort(net, tmp_path):
    """Aborted at 80 %; the second try sends at most a quarter of the disk."""
    net.set_rate("200mbit")
    scene = Scene(net, tmp_path, raw(128, 120))
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--resume-disks")
    faults.wait_until(lambda: copied(started) >= 80, 60, "80 %")
    started.signal()
    done = started.wait()
    assert (done.exit, done.cause) == (5, "aborted"), done
    image = tmp_path / "b/d0.img"
    assert image.stat().st_blocks * 512 > 80 << 20, "it is kept, as asked"
    refused = rig.godwit(net.a, "check", f"qmp:{scene.vm.qmp_path}", scene.agent.destination, "--map",
                         f"{tmp_path}/a={tmp_path}/b", "--disks", "shared", "--json")
    assert refused.exit == 2, "what is not complete is no shared disk"
    net.set_rate(None)
    done = scene.move("--resume-disks")
    [told] = done.report["disks"]
    assert told["resumed"] and told["equal"] and told["copied_bytes"] <= 32 << 20, told
    assert done.report["disk_bytes"] <= 34 << 20
    scene.arrived(done)


# --- odd and dead disks ---

def loop(host, path):
    """A block device over the file."""
    device = sh("losetup", "--find", "--show", path).strip()
    host.at_close(lambda: subprocess.run(["losetup", "-d", device], check=False))
    return device


def test_block_devices(net, tmp_path):
    """Onto a device only if told, and of the very size; the guest's disk is that device then."""
    fill(tmp_path / "one", 64, 16)
    (tmp_path / "two").write_bytes(b"precious" + bytes((64 << 20) - 8))
    (tmp_path / "small").write_bytes(bytes((64 << 20) - 512))
    here, there, small = (loop(net.b, tmp_path / name) for name in ("one", "two", "small"))
    scene = Scene(net, tmp_path, lambda directory: drive(0, here, protocol="host_device"))
    scene.stays(scene.move("--map", f"{here}={there}"), 2, "disk-not-shared", "destination", "--overwrite")
    scene.stays(scene.move("--map", f"{here}={small}", "--overwrite-images"), 2, "disk-too-small",
                "destination", "67108352 bytes")
    done = scene.move("--map", f"{here}={there}", "--overwrite-images")
    assert done.exit == 0 and done.report["disks"][0]["equal"], done
    moved_at = scene.vm.report.acked
    scene.vm.report.wait_status(lambda status: status.disk > moved_at + 100)
    acked = scene.vm.report.acked
    scene.vm.report.check()
    faults.kill(scene.twin.find().pid)
    records = disk.read(there)
    assert records.damage == [] and records.missing() == [] and records.last >= acked


def test_one_of_two_disks_cannot_be_read(net, tmp_path):
    """The end of the second disk is gone: the copy fails, and tells which disk and that it is the source."""
    fill(tmp_path / "one", 64, 60)
    device = loop(net.b, tmp_path / "one")

    def images(directory):
        fill(directory / "d0.img", 64, 16)
        return [*drive(0, directory / "d0.img"), "-drive", f"if=none,id=d1,file={device},format=raw",
                "-device", "virtio-blk-pci,drive=d1"]
    scene = Scene(net, tmp_path, images)
    with open(tmp_path / "one", "r+b") as file:
        file.truncate(32 << 20)
    scene.before = leftovers.snapshot(net, [tmp_path])
    done = scene.move("--map", f"{device}={tmp_path}/b/d1.img")
    scene.stays(done, 3, "disk-copy-failed", "source", "d1")


def test_directory_that_cannot_be_written(net, tmp_path):
    scene = Scene(net, tmp_path, raw())
    (tmp_path / "ro").mkdir()
    sh("mount", "--bind", tmp_path / "ro", tmp_path / "ro")
    net.b.at_close(lambda: subprocess.run(["umount", "-l", tmp_path / "ro"], check=False))
    sh("mount", "-o", "remount,ro,bind", tmp_path / "ro")
    scene.before = leftovers.snapshot(net, [tmp_path])
    done = scene.move("--map", f"{tmp_path}/a/d0.img={tmp_path}/ro/d0.img")
    scene.stays(done, 3, "disk-image-failed", "destination", "Read-only file system")
    scene.next_works()


def start_to_switchover(net, scene, event, *options):
    """A move whose image's server stands still from the moment of that event on: "STOP" is when QEMU waits
    for the last writes, "pre-switchover" when the mirrors are ended.  The move, and the server's pid."""
    with scene.vm.monitor(60) as monitor:
        started = rig.start_migrate(scene.vm, scene.twin, scene.agent, *options)
        monitor.wait_event("STOP")  # of the rehearsal
        monitor.wait_event("STOP")
        [pid] = servers(net.b)
        while event != "STOP" and monitor.wait_event("MIGRATION")["data"]["status"] != event:
            pass
        faults.stop(pid)
    return started, pid


def test_link_is_cut_for_good_in_the_switchover(net, tmp_path):
    """The guest stands still for no longer than the disks may take, and runs on with its own disk."""
    scene = Scene(net, tmp_path, raw(64, 4))
    mark = scene.vm.ticks.mark()
    started, pid = start_to_switchover(net, scene, "pre-switchover", "--link-deadline", "4")
    net.cut()
    faults.cont(pid)
    done = started.wait()
    gap = scene.vm.ticks.gap(since=mark)
    net.heal()
    scene.stays(done, 3, done.cause, done.report["cause"]["side"])
    assert done.report["runs_on"] == "source" and gap < 8000, f"stopped for {gap} ms: {done}"
    scene.arrived(scene.move())


def test_shared_by_another_name(net, tmp_path):
    """A bind mount is another path to the same file: it is recognised, and not copied onto itself."""
    (tmp_path / "store").mkdir()
    (tmp_path / "other").mkdir()
    fill(tmp_path / "store/d0.img", 64, 8)
    sh("mount", "--bind", tmp_path / "store", tmp_path / "other")
    net.b.at_close(lambda: subprocess.run(["umount", "-l", tmp_path / "other"], check=False))
    scene = Scene(net, tmp_path, lambda directory: drive(0, tmp_path / "store/d0.img"))
    done = scene.move("--map", f"{tmp_path}/store={tmp_path}/other")
    assert done.exit == 0 and [told["action"] for told in done.report["disks"]] == ["shared"], done
    assert done.report["disk_bytes"] == 0
    moved_at = scene.vm.report.acked
    scene.vm.report.wait_status(lambda status: status.disk > moved_at + 50)
    scene.vm.report.check()


class Server:
    """A disk of 1 MiB on an nbdkit that hangs or fails on command."""

    def __init__(self, host, directory):
        self.socket, self.control, self.broken = (directory / name for name in ("nbd", "control", "broken"))
        host.popen(["nbdkit", "-f", "-U", str(self.socket), "--filter=pause", "--filter=error", "memory",
                    "1M", f"pause-control={self.control}", "error-rate=100%", "error=EIO",
                    f"error-file={self.broken}"], log=directory / "nbdkit.log")
        faults.wait_until(self.socket.exists, 10, "nbdkit")

    def say(self, letter):
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.control))
            control.sendall(letter)
            control.recv(1)

    def spoil(self, how):
        if how == "hangs":
            self.say(b"p")
        else:
            self.broken.touch()

    def heal(self, how):
        if how == "hangs":
            self.say(b"r")
        else:
            self.broken.unlink()


def odd_source(host, directory, megabytes, *options):
    """The images of a guest whose second disk is a local file with an nbdkit below it, which is as slow as the
    options say, and fails to read as long as there is a file "broken"."""
    image, server, odd = (directory / name for name in ("below", "below.sock", "a/d1.img"))
    image.write_bytes(b"")

    def images(_):
        fill(image, megabytes, megabytes // 2)
        host.popen(["nbdkit", "-f", "-U", str(server), "--filter=error", "--filter=delay", "file", str(image),
                    "error=EIO", "error-pread-rate=100%", f"error-file={directory}/broken", *options],
                   log=directory / "below.log")
        faults.wait_until(server.exists, 10, "nbdkit")
        odd.touch()
        host.at_close(lambda: subprocess.run(["umount", "-l", odd], check=False, capture_output=True))
        host.popen(["qemu-storage-daemon", "--blockdev",
                    f"driver=nbd,node-name=n,server.type=unix,server.path={server}", "--export",
                    f"type=fuse,id=e,node-name=n,mountpoint={odd},writable=on"], log=directory / "fuse.log")
        faults.wait_until(lambda: odd.stat().st_size > 0, 10, "the file")
        fill(directory / "a/d0.img", 64, 4)
        return [*drive(0, directory / "a/d0.img"), *drive(1, odd)]
    return images


def test_slow_disk_that_fails_in_the_copy(net, tmp_path):
    """Each read of the source's disk takes a while; then none succeeds, and later they do again."""
    images = odd_source(net.b, tmp_path, 96, "delay-read=150ms", "delay-write=5ms")
    scene = Scene(net, tmp_path, images)
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent)
    faults.wait_until(lambda: copied(started, "d1") >= 10, 30, "the copy")
    (tmp_path / "broken").touch()
    done = started.wait()
    (tmp_path / "broken").unlink()
    scene.stays(done, 3, "disk-copy-failed", "source", "d1")
    scene.next_works()


def a_disk_is_dead(net, tmp_path, how, words):
    """A disk that both hosts reach: it is seen before the guest is stopped."""
    server = Server(net.b, tmp_path)

    def images(directory):
        fill(directory / "d0.img", 64, 8)
        return [*drive(0, directory / "d0.img"),
                "-blockdev", f"driver=nbd,node-name=n0,server.type=unix,server.path={server.socket}",
                "-device", "virtio-blk-pci,drive=n0"]
    scene = Scene(net, tmp_path, images)
    server.spoil(how)
    done = scene.move()
    told = done.report["cause"]
    assert (done.exit, told["code"], told["side"]) == (3, "disk-no-answer", "source"), done
    assert "'n0'" in told["message"] and words in told["message"], told
    assert not any(event["event"] == "stop" for event in done.report["timeline"])
    scene.vm.report.check()
    server.heal(how)
    if rig.soak.ROUNDS:
        done = scene.move()
        assert [told["action"] for told in done.report["disks"]] == ["copy", "shared"], done
        scene.arrived(done)


def test_a_disk_hangs_that_the_guest_does_not_use(net, tmp_path):
    a_disk_is_dead(net, tmp_path, "hangs", "does not answer")


# --- other versions ---

def move_between_versions(net, tmp_path, way):
    """The mirror of QEMU 10 runs in the background, that of 7.2 writes every block to both."""
    try:
        new = rig.qemu10.directory()
    except rig.Missing as error:  # it comes from a package archive
        pytest.skip(str(error))
    old = "qemu-system-x86_64"
    source, directory = (old, new) if way == "7.2-to-10.0" else (str(new / old), "/usr/bin")
    scene = Scene(net, tmp_path, raw(), qemu=source, machine="pc-q35-7.2")
    (tmp_path / "conf").write_text(f"[qemu]\ndirectories={directory}\n")
    scene.agent = rig.Agent(net.b, tmp_path / "agent2", ["--config", tmp_path / "conf"])
    done = scene.move()
    assert done.report["disks"][0]["equal"], done
    scene.arrived(done)


def test_from_qemu_10(net, tmp_path):
    move_between_versions(net, tmp_path, "10.0-to-7.2")
