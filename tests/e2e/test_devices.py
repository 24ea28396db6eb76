# SPDX-License-Identifier: LGPL-2.1-or-later
"""The VM that arrives is the VM that left: machine type, devices and their places, what came and
went at run time, its files, its disks, its user."""

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import socket
import tempfile

import pytest
import rig
from rig import disk, faults, leftovers

LOAD = rig.Load(mem="16M", dirty="2M/s", content="text", fill="8M")
MEM = "131064K"
ROOT_PORTS = [word for i in range(4)
              for word in ("-device", f"pcie-root-port,id=rp{i},chassis={i + 1}")]


def boot(net, directory, load=LOAD, prepare=None, mem=MEM, **more):
    """A booted guest in directory/a on a, its twin in directory/b, an agent on b."""
    for name in ("a", "b") if prepare else ():
        (directory / name).mkdir()
        prepare(directory / name)
    vm = rig.Guest(net.a, directory / "a", load=load, mem=mem, **more)
    vm.start()
    agent = rig.Agent(net.b, directory / "agent")
    vm.wait_boot()
    return vm, vm.twin(net.b, directory / "b"), agent


def move(vm, twin, agent, *options, **more):
    """The move must be a clean one."""
    mark = vm.ticks.mark()
    done = rig.migrate(vm, twin, agent, *options, **more)
    assert done.exit == 0, str(done)
    vm.ticks.wait_side(twin.side, 100, since=mark)
    seen = vm.ticks.move(vm.side, twin.side, since=mark)
    assert (seen.overlap_ms, seen.lost, seen.repeated) == (0, 0, 0), seen
    return done


def command_line(vm):
    return pathlib.Path(f"/proc/{vm.pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def machine_type(monitor):
    return monitor.execute("qom-get", path="/machine", property="type")


def picture(vm):
    """All that QEMU tells of the devices: the PCI tree, and every device with its bus and
    properties, in whatever order they were made."""
    with vm.monitor() as monitor:
        pci = monitor.execute("query-pci")
        for bus in pci:
            bus["devices"].sort(key=lambda device: (device["slot"], device["function"]))
        lines = [line.strip() for line in monitor.human("info qtree").replace("\r", "").split("\n")]
    blocks, block = [], []
    for line in lines:
        if line.startswith(("dev: ", "bus: ")):
            blocks.append("\n".join(block))
            block = []
        block.append(line.replace(str(vm.directory), "DIR"))
    return pci, sorted([*blocks, "\n".join(block)])


def expect_same(before, after):
    """Compares two pictures; says what is different."""
    assert ([block for block in before[1] if block not in after[1]] ==
            [block for block in after[1] if block not in before[1]])
    assert before[0] == after[0]


# --- machine type and places ---

IMPLICIT = ["-device", "virtio-rng-pci", "-device", "e1000",
            "-device", "virtio-balloon-pci,id=balloon0", "-netdev", "user,id=n0",
            "-device", "virtio-net-pci,netdev=n0", "-device", "qemu-xhci,id=xhci",
            "-device", "usb-tablet", "-device", "usb-kbd", "-device", "virtio-scsi-pci,id=scsi0",
            "-device", "VGA", "-drive", "if=none,id=empty,file=null-co://,format=raw",
            "-device", "scsi-hd,drive=empty"]


@pytest.mark.parametrize("alias, resolved", [("q35", "pc-q35-7.2"), ("pc", "pc-i440fx-7.2")])
def test_machine_type_and_every_place_stay(net, tmp_path, alias, resolved):
    vm, twin, agent = boot(net, tmp_path, machine=alias, args=IMPLICIT)
    before = picture(vm)
    done = move(vm, twin, agent)
    expect_same(before, picture(twin))
    with twin.monitor() as monitor:
        assert machine_type(monitor) == f"{resolved}-machine"
    line = command_line(twin)
    assert line[line.index("-machine") + 1] == resolved
    told = [r for r in done.report["rewrites"] if r["option"] == "-machine"]
    assert [(r["from"], r["to"]) for r in told] == [(alias, resolved)]
    vm.report.check()


def test_devices_in_json_and_files_in_json(net, tmp_path):
    """Those of -device that are JSON are made after all others, whatever their order."""
    image = tmp_path / "shared.img"
    image.write_bytes(bytes(1 << 20))
    args = ["-blockdev", json.dumps({"driver": "raw", "node-name": "json0",
                                     "file": {"driver": "file", "filename": str(image)}}),
            "-device", json.dumps({"driver": "virtio-blk-pci", "drive": "json0", "id": "json-disk",
                                   "serial": "0123"}),
            "-device", json.dumps({"driver": "virtio-rng-pci", "max-bytes": 1000, "period": 7}),
            "-device", "e1000", "-device", json.dumps({"driver": "virtio-balloon-pci"}),
            "-drive", f"if=virtio,file={tmp_path}/other.img,format=raw", "-device", "virtio-rng-pci"]
    (tmp_path / "other.img").write_bytes(bytes(1 << 20))
    vm, twin, agent = boot(net, tmp_path, args=args)
    before = picture(vm)
    move(vm, twin, agent)
    expect_same(before, picture(twin))
    vm.report.check()


# --- what came and went at run time ---

def plug(monitor, driver, **properties):
    """Adds a device, and waits until the guest has given a PCI one its addresses."""
    monitor.execute("device_add", driver=driver, **properties)
    faults.wait_until(lambda: all(region["address"] != -1
                                  for region in regions(monitor, properties["id"])),
                      20, f"the guest's notice of {driver}")


def regions(monitor, name):
    found = [device for bus in monitor.execute("query-pci") for device in bus["devices"]]
    for bridge in found:
        found += bridge.get("pci_bridge", {}).get("devices", [])
    return [region for device in found if device["qdev_id"] == name
            for region in device["regions"] if region["bar"] < 6]  # the ROM is not in use


def unplug(monitor, name):
    """Removes a device; the guest must agree."""
    monitor.execute("device_del", id=name)
    deadline = 20
    while monitor.wait_event("DEVICE_DELETED", deadline)["data"].get("device") != name:
        pass


def plug_all(vm, monitor, slots):
    """Hot-plugs one of each kind; `slots` gives the bus and address of the PCI ones."""
    monitor.execute("object-add", qom_type="rng-random", id="entropy", filename="/dev/urandom")
    plug(monitor, "virtio-rng-pci", id="rng1", rng="entropy", max_bytes=2000, period=500,
         **slots["rng1"])
    monitor.execute("netdev_add", type="user", id="net1")
    plug(monitor, "virtio-net-pci", id="nic1", netdev="net1", mac="52:54:00:12:34:99",
         **slots["nic1"])
    plug(monitor, "virtio-balloon-pci", id="balloon1", deflate_on_oom=True, **slots["balloon1"])
    plug(monitor, "usb-tablet", id="tablet1", bus="xhci.0", port="3")
    monitor.execute("chardev-add", id="wire1", backend={"type": "socket", "data": {
        "addr": {"type": "unix", "data": {"path": f"{vm.directory}/wire.sock"}},
        "server": True, "wait": False}})
    plug(monitor, "virtserialport", id="port1", bus="ports.0", chardev="wire1", name="godwit.wire",
         nr=5)


SLOTS = {
    "q35": {"rng1": {"bus": "rp0"}, "nic1": {"bus": "rp1"}, "balloon1": {"bus": "rp2"}},
    "pc": {"rng1": {"addr": "0x10"}, "nic1": {"addr": "0x12"}, "balloon1": {}},
}


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_what_came_and_went_at_run_time(net, tmp_path, machine):
    ports = ROOT_PORTS if machine == "q35" else []
    last = {"bus": "rp3"} if machine == "q35" else {}
    place = ",bus=rp3" if machine == "q35" else ""
    vm, twin, agent = boot(net, tmp_path, machine=machine, args=[
        *ports, "-device", f"virtio-rng-pci,id=rng0{place}",  # without it the next would move up
        "-device", "qemu-xhci,id=xhci", "-device", "usb-mouse,id=mouse0,bus=xhci.0"])
    with vm.monitor() as monitor:
        plug_all(vm, monitor, SLOTS[machine])
        unplug(monitor, "rng0")
        unplug(monitor, "mouse0")
    before = picture(vm)
    move(vm, twin, agent)
    expect_same(before, picture(twin))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(twin.directory / "wire.sock"))
    # what was plugged before the move can go after it, and its place is free for another
    with twin.monitor() as monitor:
        ids = {entry["name"] for entry in monitor.execute("qom-list", path="/machine/peripheral")}
        assert {"rng1", "nic1", "balloon1", "tablet1", "port1"} <= ids
        assert not {"rng0", "mouse0"} & ids
        unplug(monitor, "nic1")
        monitor.execute("netdev_del", id="net1")
        unplug(monitor, "tablet1")
        plug(monitor, "virtio-rng-pci", id="rng2", **last)
    there = picture(twin)
    back = twin.twin(net.a, tmp_path / "c")
    move(twin, back, rig.Agent(net.a, tmp_path / "agent2"))
    expect_same(there, picture(back))
    with back.monitor() as monitor:
        assert not [line for line in monitor.human("info network").splitlines() if "net1" in line]
        unplug(monitor, "rng2")
    vm.report.check()


def test_memory_disks_and_buses_that_were_plugged(net, tmp_path):
    """Memory at its address, disks with their backends, a controller and what sits on it."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.img").write_bytes(bytes(1 << 20))
    vm, twin, agent = boot(net, tmp_path, mem="196600K,slots=4,maxmem=1G", args=ROOT_PORTS,
                           kernel_args="swiotlb=512")  # it is large where memory may come
    with vm.monitor() as monitor:
        for i in range(2):
            monitor.execute("object-add", qom_type="memory-backend-ram", id=f"mem{i}", size=128 << 20)
            monitor.execute("device_add", driver="pc-dimm", id=f"dimm{i}", memdev=f"mem{i}",
                            slot=2 * i + 1, addr=(4 << 30) + (1 - i) * (512 << 20))
        monitor.execute("blockdev-add", driver="raw", node_name="one", read_only=True, file={
            "driver": "file", "filename": f"{tmp_path}/one.img"})
        plug(monitor, "virtio-blk-pci", id="disk1", drive="one", bus="rp0", serial="first")
        plug(monitor, "virtio-scsi-pci", id="scsi1", bus="rp1")
        monitor.execute("blockdev-add", driver="file", node_name="two-file",
                        filename=f"{tmp_path}/two.img")
        monitor.execute("blockdev-add", driver="raw", node_name="two", file="two-file")
        monitor.execute("device_add", driver="scsi-hd", id="disk2", drive="two", bus="scsi1.0",
                        scsi_id=3, lun=2)
        monitor.execute("device_add", driver="scsi-cd", id="cd1", bus="scsi1.0")
        dimms = monitor.execute("query-memory-devices")
    before = picture(vm)
    # the guest writes next to nothing in the new memory, whose size meets the bug
    move(vm, twin, agent, "--accept-risk", "tcg-dirty-pages")
    expect_same(before, picture(twin))
    with twin.monitor() as monitor:
        there = monitor.execute("query-memory-devices")
    for dimm in dimms + there:
        del dimm["data"]["hotplugged"]  # the destination has it from the beginning
    assert dimms == there
    vm.report.check()


# --- paths ---

def test_longest_map_wins_and_a_file_has_its_own(net, tmp_path):
    def prepare(directory):
        (directory / "deep").mkdir()
        for name in ("plain", "deep/one", "deep/two", "deeper"):
            (directory / name).write_text("x")
    (tmp_path / "elsewhere").mkdir()
    for name in ("two", "lonely"):
        (tmp_path / "elsewhere" / name).write_text("x")
    at = tmp_path / "a"
    vm, twin, agent = boot(net, tmp_path, prepare=prepare, args=[
        word for i, name in enumerate(("plain", "deep/one", "deep/two", "deeper"))
        for word in ("-fw_cfg", f"name=opt/org.test/{i},file={at}/{name}")])
    move(vm, twin, agent, "--map", f"{at}/deep={tmp_path}/elsewhere",
         "--map", f"{at}/deep/one={tmp_path}/elsewhere/lonely")
    files = [word.rpartition("file=")[2] for word in command_line(twin) if "opt/org.test" in word]
    assert files == [f"{tmp_path}/{name}" for name in
                     ("b/plain", "elsewhere/lonely", "elsewhere/two", "b/deeper")]


def test_relative_paths(net, tmp_path):
    """QEMU's working directory is not the one in which the command or the agent runs."""
    def prepare(directory):
        (directory / "sub").mkdir()
        (directory / "sub" / "blob").write_text("x")
    (tmp_path / "shared.img").write_bytes(bytes(1 << 20))
    vm, twin, agent = boot(net, tmp_path, prepare=prepare, cwd=tmp_path / "a" / "sub", args=[
        "-fw_cfg", "name=opt/org.test,file=blob", "-pidfile", "../qemu.pid",
        "-drive", "if=virtio,format=raw,file=../../shared.img"])
    before = picture(vm)
    move(vm, twin, agent)
    expect_same(before, picture(twin))
    line = command_line(twin)
    assert f"name=opt/org.test,file={tmp_path}/b/sub/blob" in line
    assert (tmp_path / "b" / "qemu.pid").read_text().strip() == str(twin.pid)


# --- disks ---

def locks(pid, path):
    """How many byte ranges of the file a process has locked, the way QEMU locks images."""
    wanted = os.stat(path).st_ino
    found = 0
    for entry in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            lines = entry.read_text().splitlines()
            found += len([line for line in lines if line.startswith("lock:")
                          and line.split()[6].rpartition(":")[2] == str(wanted)])
    return found


def test_shared_disk_under_load(net, tmp_path):
    image = tmp_path / "shared.img"
    image.write_bytes(bytes(4 << 20))
    load = rig.Load(mem="16M", dirty="2M/s", content="text", diskrate=200)
    vm, twin, agent = boot(net, tmp_path, load=load, disk=image)
    assert locks(vm.pid, image) > 0
    move(vm, twin, agent, "--keep-source")
    assert vm.is_alive(), "--keep-source"
    assert (locks(vm.pid, image), locks(twin.pid, image) > 0) == (0, True)
    moved_at = vm.report.acked
    vm.report.wait_status(lambda status: status.disk > moved_at + 100)
    vm.report.check()
    acked = vm.report.acked
    twin.stop()
    records = disk.read(image)
    assert records.damage == [] and records.missing() == []
    assert records.last >= acked and all(records.has(n) for n in range(1, acked + 1))
    assert locks(vm.pid, image) == 0


def test_paused_vm_with_a_shared_disk(net, tmp_path):
    """It arrives paused, and takes its disk when somebody lets it run."""
    image = tmp_path / "shared.img"
    image.write_bytes(bytes(4 << 20))
    load = rig.Load(mem="16M", dirty="2M/s", content="text", diskrate=100)
    vm, twin, agent = boot(net, tmp_path, load=load, disk=image)
    vm.report.wait_status(lambda status: status.disk > 20)
    with vm.monitor() as monitor:
        monitor.execute("stop")
    done = rig.migrate(vm, twin, agent)
    assert done.exit == 0 and done.report["state"] == "paused", done
    assert not vm.is_alive()
    assert vm.ticks.is_silent("b", 0.3)
    with twin.monitor() as monitor:
        assert monitor.status() == "paused"
        monitor.execute("cont")
    vm.ticks.wait_side("b", 100)
    acked = vm.report.acked
    vm.report.wait_status(lambda status: status.disk > acked + 20)
    vm.report.check()
    assert locks(twin.pid, image) > 0
    twin.stop()
    records = disk.read(image)
    assert records.damage == [] and records.missing() == []


# --- how QEMU was started ---

def test_server_that_waits_for_a_client(net, tmp_path):
    """The source waited for somebody to connect; the destination must not."""
    path = tmp_path / "a" / "wait.sock"
    vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=MEM, args=[
        "-serial", f"unix:{path},server=on", "-chardev",
        f"socket,id=second,path={tmp_path}/a/second.sock,server=on",
        "-device", "virtserialport,bus=ports.0,chardev=second"])
    vm.start()
    with contextlib.ExitStack() as stack:
        for name in ("second.sock", "wait.sock"):  # QEMU makes the -chardev first
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            faults.wait_until(lambda: client.connect_ex(str(tmp_path / "a" / name)) == 0, 20, name)
        vm.wait_boot()
        twin, agent = vm.twin(net.b, tmp_path / "b"), rig.Agent(net.b, tmp_path / "agent")
        done = move(vm, twin, agent)
    assert len([r for r in done.report["rewrites"] if r["to"] == "wait=off"]) == 2
    for name in ("second.sock", "wait.sock"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "b" / name))


def test_daemonized_vm_with_a_pidfile(net, tmp_path):
    pidfile = tmp_path / "a" / "qemu.pid"
    vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=MEM,
                   args=["-daemonize", "-pidfile", str(pidfile)])
    assert vm.start().process.wait(20) == 0
    vm.process = None
    vm.find().wait_boot()
    assert pidfile.read_text().strip() == str(vm.pid)
    twin, agent = vm.twin(net.b, tmp_path / "b"), rig.Agent(net.b, tmp_path / "agent")
    move(vm, twin, agent)
    assert (tmp_path / "b" / "qemu.pid").read_text().strip() == str(twin.pid)
    assert not pidfile.exists()
    agent.stop()
    mark = vm.ticks.mark()
    vm.ticks.wait_side("b", 100, since=mark)
    assert twin.is_alive()


@pytest.fixture
def public():
    """A directory that every user can reach, which pytest's own are not."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="godwit-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def user_of(pid):
    return pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name


@pytest.mark.parametrize("how", ["runas", "started-as"])
def test_another_user(net, public, how, monkeypatch):
    """-runas opens its files as root and then becomes the user; the other one never was root."""
    monkeypatch.setenv("GODWIT_STATE", str(public / "state"))
    nobody = pwd.getpwnam("nobody")

    def prepare(directory):
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    drop = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    wrapper = public / "qemu-system-x86_64"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(drop)} qemu-system-x86_64 "$@"\n')
    wrapper.chmod(0o755)
    more = {"args": ["-runas", "nobody"]} if how == "runas" else {"qemu": str(wrapper)}
    image = public / "shared.img"
    image.write_bytes(bytes(1 << 20))
    image.chmod(0o600)
    if how != "runas":
        os.chown(image, nobody.pw_uid, nobody.pw_gid)
    vm, twin, agent = boot(net, public, prepare=prepare, channels="listen", disk=image, **more)
    assert user_of(vm.pid) == "nobody"
    move(vm, twin, agent)
    assert user_of(twin.pid) == "nobody"
    assert os.stat(twin.qmp_path).st_uid == (0 if how == "runas" else nobody.pw_uid)
    vm.report.check()


# --- check ---

MIGRATION_STATE = ("", "-capabilities", "-parameters")


def test_check_touches_nothing_and_says_the_plan(net, tmp_path):
    vm, twin, agent = boot(net, tmp_path, args=IMPLICIT)
    before, there = leftovers.snapshot(net, [tmp_path]), picture(vm)
    with vm.monitor() as monitor:
        state = [monitor.execute(f"query-migrate{what}") for what in MIGRATION_STATE]
    argv = ["check", f"qmp:{vm.qmp_path}", agent.destination,
            "--map", f"{vm.directory}={twin.directory}"]
    mark = vm.ticks.mark()
    told, shown = rig.godwit(net.a, *argv, "--json"), rig.godwit(net.a, *argv)
    assert (told.exit, shown.exit) == (0, 0), (told, shown)
    assert {c["verdict"] for c in told.report["checks"]} <= {"ok", "warning"}
    assert ("q35", "pc-q35-7.2") in [(r["from"], r["to"]) for r in told.report["rewrites"]]
    for text in ("q35 -> pc-q35-7.2", f"{twin.directory}/qmp.sock",
                 "rig can move; nothing was touched"):
        assert text in shown.stdout, shown.stdout
    after = leftovers.snapshot(net, [tmp_path])
    # the agent remembers what a QEMU program says of itself; that is its own state, no part of a job
    assert leftovers.compare(before, after, allowed=["/state", "/journal", "/agent/qemu/", "monitor.sock"]) == []
    assert leftovers.lost(before, after) == []
    with vm.monitor() as monitor:
        assert state == [monitor.execute(f"query-migrate{what}") for what in MIGRATION_STATE]
    expect_same(there, picture(vm))
    assert vm.ticks.gap(since=mark) < 100, "the guest was stopped"
    move(vm, twin, agent)
