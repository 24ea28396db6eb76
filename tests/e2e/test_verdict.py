# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who failed first: injected failures of every phase, and what the report must say of each. A third of the
grid in the normal run; all of it with GODWIT_SOAK (`make soak`), which also prints it as a table."""

import contextlib
import dataclasses
import fcntl
import json
import signal
import struct
import time
from collections.abc import Callable

import pytest
import rig
from rig import faults, soak
from rig.scene import LOAD, WAIT, tmpfs

STOPPED_S = 30


# --- faults: functions of the scene ---

def find(scene, who):
    """The pid of "source" or "destination" (their QEMUs), "agent", "courier a" ... or "dialer a"."""
    what, _, host = who.partition(" ")
    if host:
        return getattr(scene, what)(getattr(scene.net, host))
    return {"source": lambda: scene.vm.pid, "destination": scene.qemu_there,
            "agent": lambda: scene.agent.pid}[what]()


def kill(who, how=signal.SIGKILL):
    """It ends."""
    return lambda scene: faults.kill(find(scene, who), how=how)


def stop(who):
    """It stands still for a while, and nothing else is wrong: so long with a link that crawls is a lost one."""
    def fault(scene):
        with faults.stopped(find(scene, who)):
            scene.net.set_rate(None)
            time.sleep(STOPPED_S)
    return fault


def cut(scene):
    """The link is down until the migration has ended."""
    with scene.net.outage():
        scene.started.wait_end(60)


def lose_dialer(scene):
    """The courier cannot make connections any more, and then needs to."""
    faults.kill(scene.dialer(scene.net.a))
    time.sleep(0.3)
    scene.net.reset()


def interrupt(scene):
    """Ctrl-C."""
    scene.started.signal()


def abort(scene):
    """godwit abort, from another terminal."""
    (job,) = rig.godwit(scene.net.a, "status", "--json").report["jobs"]
    assert rig.godwit(scene.net.a, "abort", job["job"]).exit == 0


def power_off(scene):
    """The guest's own doing."""
    scene.vm.report.command("poweroff")


def delete_image(scene):
    """The source's QEMU still holds it."""
    scene.vm.disk.unlink()


def fill_disk(scene):
    """The file system below the image has no room left, and the guest writes."""
    with contextlib.suppress(OSError), open(scene.tmp_path / "fs" / "filler", "wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()


def limit_memory(scene):
    """The source's QEMU gets no more address space than it has."""
    with open(f"/proc/{scene.vm.pid}/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    scene.net.a.run(["prlimit", "--pid", scene.vm.pid, f"--as={pages * 4096}"])


def refuse(scene):
    """A firewall between the hosts."""
    scene.net.refuse()
    scene.net.a.at_close(scene.net.heal)


# --- what a scene is made of ---

def with_blob(sides):
    """A file that QEMU opens, on these sides."""
    def prepare(host, directory):
        if host.name in sides:
            (directory / "blob").write_text("x")
    return {"prepare": prepare, "args": ["-fw_cfg", "name=opt/godwit,file={at}/a/blob"]}


def with_small_log(host, directory):
    """A directory in which no file can be made at the destination."""
    if host.name == "b":
        tmpfs(host, directory / "log", "size=1M,nr_inodes=1")
    else:
        (directory / "log").mkdir()


def with_device(host, directory):
    """A device that only the source has."""
    device = '[device "extra"]\n  driver = "virtio-rng-pci"\n  addr = "0x10"\n'
    (directory / "devices.cfg").write_text(device if host.name == "a" else "")


def with_rom(host, directory):
    """A device's ROM that is larger at the destination."""
    size = 1 << 16 if host.name == "a" else 1 << 17
    (directory / "rom").write_bytes(b"\x55\xaa" + bytes(size - 2))


def with_shared_disk(host, directory):
    """An image that both hosts see, on a small file system."""
    if host.name == "a":
        with open(tmpfs(host, directory.parent / "fs", "size=4M") / "disk.img", "wb") as file:
            file.truncate(64 << 20)


def with_nbd(host, directory):
    """A server of disks that both hosts reach."""
    if host.name == "a":
        host.popen(["nbdkit", "-f", "-U", directory.parent / "nbd.sock", "memory", "8M"])
        faults.wait_until((directory.parent / "nbd.sock").exists, 10, "nbdkit")


def with_disk(host, directory):
    """A disk with a file on each host."""
    with open(directory / "disk.img", "wb") as file:
        file.truncate(8 << 20)


def lock_disk(host, directory):
    """Somebody else writes the disk's file."""
    lock = open(directory / "disk.img", "rb")
    # what QEMU does (block/file-posix.c): byte 201 says "nobody else may write"
    fcntl.fcntl(lock, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 201, 1, 0))
    host.at_close(lock.close)


def with_locked_disk(host, directory):
    """A disk whose file at the destination somebody else writes."""
    with_disk(host, directory)
    if host.name == "b":
        lock_disk(host, directory)


def lock_disk_there(scene):
    """Somebody begins to write to the destination's file."""
    lock_disk(scene.net.b, scene.twin.directory)


def kill_nbd(scene):
    """The server of the disks is gone."""
    (pid,) = faults.named(scene.net.a.pids(), b"nbdkit")
    faults.kill(pid)


def mend_disk(scene):
    """Room again, and the guest goes on: QEMU had stopped it."""
    with scene.vm.monitor() as monitor:
        assert monitor.execute("query-status")["status"] == "io-error"
        (scene.tmp_path / "fs" / "filler").unlink()
        monitor.execute("cont")


def heal(scene):
    """The firewall goes."""
    scene.net.heal()


# --- phases: how a migration is brought into one, and fails there ---

def at_start(scene, row):
    """What is wrong is wrong from the start; a rehearsal would find most of it before anything moves."""
    options = row.options if row.phase == "rehearsal" else ("--no-rehearse", *row.options)
    return rig.migrate(scene.vm, scene.twin, row.dest(scene) or scene.agent, *options)


def at_launch(scene, row):
    """The destination's QEMU is about to start."""
    with scene.launching(*row.options) as started:
        row.fault(scene)
    return started.wait()


def in_copy(scene, row):
    """Memory is copied."""
    started = scene.start(*row.options)
    row.fault(scene)
    return started.wait()


def in_agents_copy(scene, row):
    """Memory is copied, and an agent of the source's host runs the job, which is started again."""
    config = scene.tmp_path / "agent-a.conf"
    config.write_text(rig.scene.NO_RESTART)
    agent = rig.Agent(scene.net.a, scene.tmp_path / "agent-a", ("--config", config))
    started = scene.start("--agent", agent.destination)
    agent.kill()
    agent.start()
    done = started.wait()
    agent.stop()
    return done


def in_switchover(scene, row):
    """The guest stands still; the last of its memory, or its device state, is on its way."""
    started = scene.switch_over("last ram" if row.phase == "last memory" else "device state")
    row.fault(scene)
    started.wait_end()
    scene.net.set_rate(None)  # or what the kernel still has to send is found
    return started.wait()


def in_handover(scene, row):
    """The destination has the right to start, and has not been able to read so."""
    started, qemu = scene.hand_over()
    if row.fault == "lose agent":
        scene.agent.kill()
        done = started.wait()
        faults.kill(qemu)
        scene.agent.start()
        return done
    faults.kill(qemu, wait=False)
    faults.cont(scene.agent.pid)
    return started.wait()


def after(scene, row):
    """The VM runs at the destination."""
    started = scene.start("--max-bandwidth", "40M", phase="verifying")
    row.fault(scene)
    return started.wait()


PHASES = {"rehearsal": at_start, "start": at_start, "prepare": at_launch, "copy": in_copy,
          "copy by agent": in_agents_copy, "last memory": in_switchover, "switchover": in_switchover,
          "handover": in_handover, "after": after}
NEXT_WORKS = ("copy", "last memory", "switchover", "handover")


# --- the grid ---

@dataclasses.dataclass
class Row:
    """One failure, and what must be said of it. `words` are in the evidence."""
    name: str
    phase: str
    fault: Callable | str | None
    code: str | None
    side: str | None
    words: str = ""
    exit: int = 3
    runs_on: str = "source"
    result: str = "stayed"
    scene: dict = dataclasses.field(default_factory=dict)
    options: tuple = ()
    dest: Callable = lambda scene: None
    mend: Callable = lambda scene: None  # before the guest is looked at
    works_next: bool = True              # the next migration does
    gone: tuple = ()                     # what the fault itself removes
    sample: bool = False                 # in the normal run too


LAUNCHING = dict(before_qemu=WAIT)
NOWHERE = dict(runs_on="nowhere")
DISK = dict(prepare=with_shared_disk, disk="{at}/fs/disk.img",
                load=dataclasses.replace(LOAD, diskrate=50))
NBD = dict(prepare=with_nbd, modules=("virtio_blk",),
               args=["-blockdev", "driver=nbd,server.type=unix,server.path={at}/nbd.sock,node-name=disk0",
                     "-device", "virtio-blk-pci,drive=disk0"])
NOT_READABLE = ("chmod 0 {at}/b/blob; exec setpriv --bounding-set=-dac_override,-dac_read_search "
                "/usr/bin/qemu-system-x86_64 \"$@\"")

GRID = [
    # --- preparing
    Row("no agent", "start", None, "destination-unreachable", "destination", "nobody.sock", exit=8,
        dest=lambda scene: f"unix:{scene.tmp_path}/nobody.sock"),
    Row("ssh refused", "start", None, "ssh-failed", "destination", "refused", exit=8,
        dest=lambda scene: f"ssh://{scene.net.b.address}:9", sample=True),
    Row("device unmigratable", "start", None, "migration-blocked", "source", "nvme", exit=2,
        scene=dict(args=["-drive", "if=none,id=none,file=null-co://,format=raw",
                             "-device", "nvme,drive=none,serial=1"])),
    Row("migration blocked", "start", None, "migration-blocked", "source", "ivshmem", exit=2,
        scene=dict(args=["-object", "memory-backend-ram,id=shm,size=1M,share=on",
                             "-device", "ivshmem-plain,memdev=shm,master=off"])),
    Row("file missing", "rehearsal", None, "rehearsal-launch-failed", "destination", "b/blob", exit=2,
        scene=with_blob("a")),
    Row("ROM of another size", "rehearsal", None, "rom-differs", "destination", "e1000.rom",
        exit=2, scene=dict(prepare=with_rom, args=["-device", "e1000,romfile={at}/a/rom"])),
    Row("file missing", "start", None, "destination-launch-failed", "destination", "b/blob",
        scene=with_blob("a"), sample=True),
    Row("file not readable", "start", None, "permission-denied", "destination", "Permission denied",
        scene=dict(**with_blob("ab"), before_qemu=NOT_READABLE)),
    Row("no room for a log", "start", None, "disk-full", "destination", "No space left on device",
        scene=dict(prepare=with_small_log, args=["-debugcon", "file:{at}/a/log/x"]), sample=True),
    Row("no memory there", "start", None, "out-of-memory", "destination", "Cannot allocate memory",
        scene=dict(before_qemu="ulimit -v 300000"), sample=True),
    Row("QEMU crashes there", "start", None, "destination-launch-failed", "destination", "signal 11",
        scene=dict(before_qemu="kill -SEGV $$")),
    Row("QEMU aborts there", "start", None, "destination-launch-failed", "destination", "signal 6",
        scene=dict(before_qemu="kill -ABRT $$")),
    Row("image deleted", "prepare", delete_image, "destination-launch-failed", "destination",
        "No such file", scene={**DISK, **LAUNCHING}, gone=("disk.img",)),
    Row("agent killed", "prepare", kill("agent"), "agent-lost", "destination", scene=LAUNCHING),
    Row("firewall", "prepare", refuse, "link-connect", "link", scene=LAUNCHING, mend=heal, sample=True),
    Row("Ctrl-C", "prepare", interrupt, "aborted", "none", exit=5, scene=LAUNCHING),
    Row("source killed", "prepare", kill("source"), "source-lost", "source", "signal 9",
        scene=LAUNCHING, **NOWHERE),
    Row("no memory here", "prepare", limit_memory, "out-of-memory", "source", "qemu", scene=LAUNCHING,
        **NOWHERE),
    # --- copying memory
    Row("source killed", "copy", kill("source"), "source-lost", "source", "signal 9", **NOWHERE,
        sample=True),
    Row("source crashes", "copy", kill("source", signal.SIGSEGV), "source-lost", "source", "signal 11",
        **NOWHERE),
    Row("source aborts", "copy", kill("source", signal.SIGABRT), "source-lost", "source", "signal 6",
        **NOWHERE),
    Row("source terminated", "copy", kill("source", signal.SIGTERM), "source-lost", "source",
        "terminating on signal 15", **NOWHERE),
    Row("source stands still", "copy", stop("source"), "qmp-timeout", "source"),
    Row("destination killed", "copy", kill("destination"), "qemu-died", "destination", "signal 9",
        sample=True),
    Row("destination crashes", "copy", kill("destination", signal.SIGSEGV), "qemu-died", "destination",
        "signal 11"),
    Row("destination aborts", "copy", kill("destination", signal.SIGABRT), "qemu-died", "destination",
        "signal 6"),
    Row("destination stands still", "copy", stop("destination"), "qmp-timeout", "destination"),
    Row("agent stands still", "copy", stop("agent"), "rpc-timeout", "destination"),
    Row("agent killed", "copy", kill("agent"), "agent-lost", "destination", scene=dict(config=rig.scene.NO_RESTART),
        sample=True),
    Row("source's agent killed", "copy by agent", None, "agent-lost", "source"),
    Row("courier killed here", "copy", kill("courier a"), "courier-died", "source", "signal 9"),
    Row("courier killed there", "copy", kill("courier b"), "courier-died", "destination", "signal 9",
        sample=True),
    Row("dialer killed", "copy", lose_dialer, "courier-died", "source",
        options=("--link-deadline", "3")),
    Row("link cut", "copy", cut, "link-lost", "link", options=("--link-deadline", "3"), sample=True),
    Row("guest off", "copy", power_off, "guest-powered-off", "source", "guest-shutdown", **NOWHERE),
    Row("disk full", "copy", fill_disk, "disk-full", "source", "No space left on device", scene=DISK,
        mend=mend_disk, sample=True),
    Row("disk server killed", "copy", kill_nbd, "disk-error", "source", scene=NBD, works_next=False,
        gone=("nbdkit", "nbd.sock"), options=("--max-bandwidth", "20M")),
    Row("Ctrl-C", "copy", interrupt, "aborted", "none", exit=5, sample=True),
    Row("godwit abort", "copy", abort, "aborted", "none", exit=5),
    Row("device missing", "start", None, "devices-differ", "destination", "virtio-rng", exit=2,
        scene=dict(prepare=with_device, args=["-readconfig", "{at}/a/devices.cfg"])),
    Row("device of the board missing", "start", None, "state-rejected", "destination", "hpet",
        scene=dict(before_qemu='set -- "$@" -machine hpet=off'), sample=True),
    Row("ROM of another size", "start", None, "rom-differs", "destination", "e1000.rom", exit=2,
        scene=dict(prepare=with_rom, args=["-device", "e1000,romfile={at}/a/rom"])),
    # --- the last of memory, with the guest stopped
    Row("destination killed", "last memory", kill("destination"), "qemu-died", "destination", "signal 9",
        sample=True),
    Row("courier killed here", "last memory", kill("courier a"), "courier-died", "source", "signal 9"),
    Row("courier killed there", "last memory", kill("courier b"), "courier-died", "destination",
        "signal 9"),
    Row("Ctrl-C", "last memory", interrupt, "aborted", "none", exit=5),
    # --- switching over
    Row("source killed", "switchover", kill("source"), "source-lost", "source", "signal 9", **NOWHERE),
    Row("destination killed", "switchover", kill("destination"), "qemu-died", "destination", "signal 9"),
    Row("destination stands still", "switchover", stop("destination"), "qmp-timeout", "destination"),
    Row("agent killed", "switchover", kill("agent"), "agent-lost", "destination"),
    Row("courier killed here", "switchover", kill("courier a"), "courier-died", "source", "signal 9"),
    Row("courier killed there", "switchover", kill("courier b"), "courier-died", "destination",
        "signal 9", sample=True),
    Row("link cut", "switchover", cut, "link-lost", "link"),
    Row("Ctrl-C", "switchover", interrupt, "aborted", "none", exit=5),
    Row("disk in use there", "start", None, "disk-locked", "destination", "lock", exit=2,
        scene=dict(prepare=with_locked_disk, disk="{at}/a/disk.img"), options=("--disks", "shared")),
    Row("disk in use there", "copy", lock_disk_there, "image-locked", "destination", "lock", works_next=False,
        scene=dict(prepare=with_disk, disk="{at}/a/disk.img"), options=("--disks", "shared", "--max-bandwidth", "20M")),
    # --- the destination has the right to start
    Row("destination killed", "handover", "kill", "qemu-died", "destination", "signal 9"),
    Row("agent killed", "handover", "lose agent", "agent-lost", "destination", exit=6,
        result="undecided", runs_on="unknown"),
    # --- after
    Row("destination killed", "after", kill("destination"), "qemu-died", "destination", "signal 9",
        exit=4, result="moved", runs_on="nowhere", sample=True),
    Row("source killed", "after", kill("source"), None, None, exit=0, result="moved",
        runs_on="destination"),
    Row("Ctrl-C", "after", interrupt, None, None, exit=0, result="moved", runs_on="destination"),
]


def expect_place(scene, row):
    """The guest runs where the report says, and nowhere else."""
    ticks = scene.vm.ticks
    if row.runs_on in ("source", "destination"):
        here, there = ("a", "b") if row.runs_on == "source" else ("b", "a")
        mark = ticks.mark()
        ticks.wait_side(here, 100, since=mark)
        assert ticks.is_silent(there, 0.2)
        scene.vm.report.check()
    else:
        assert ticks.is_silent("a", 0.5) and ticks.is_silent("b", 0.1)


def expect_told(row, done):
    """The report says it, with evidence."""
    report, told = done.report, done.report["cause"] or {}
    assert (told.get("code"), told.get("side"), done.exit) == (row.code, row.side, row.exit), done
    assert (report["result"], report["runs_on"], report["exit"]) == (row.result, row.runs_on, row.exit), done
    assert row.words in json.dumps(told.get("evidence")), done
    assert not told or (told["title"] and told["remedy"] and told["evidence"])
    times = [event["at_ms"] for event in report["timeline"]]
    assert times == sorted(times)


def expect_story(scene, row, done):
    """godwit explain tells it to people, and marks where it began."""
    told = rig.godwit(scene.net.a, "explain", done.report["job"])
    (first,) = [line for line in told.stdout.splitlines() if line.startswith(">")]
    assert row.side in first and row.words in first and "qemu-exit" in first, told.stdout
    code = rig.godwit(scene.net.a, "explain", row.code)
    assert code.exit == 0 and code.stdout.startswith(f"{row.code}: "), code.stdout


@pytest.mark.parametrize("row", [row for row in GRID if row.sample or soak.ROUNDS],
                         ids=lambda row: f"{row.phase}-{row.name.replace(' ', '-')}")
def test_first_failure(net, tmp_path, row, record_property):
    scene = rig.Scene(net, tmp_path, **row.scene)
    done = PHASES[row.phase](scene, row)
    assert done.report is not None, done
    row.mend(scene)
    record_property("row", f"{row.phase:<11} {row.name:<26} {done.cause or '-':<26} "
                           f"{(done.report['cause'] or {}).get('side', '-'):<12} {done.exit}  "
                           f"{done.report['runs_on']:<12} {done.seconds:5.1f} s")
    expect_told(row, done)
    if row.name == "destination killed":
        expect_story(scene, row, done)
    expect_place(scene, row)
    if row.result == "stayed" and "agent" not in row.name:
        gone = [str(scene.vm.directory), str(scene.vm.pid)] if row.runs_on == "nowhere" else []
        scene.expect_clean(gone=[*row.gone, *gone])
        if soak.ROUNDS and row.works_next and row.runs_on == "source" and row.phase in NEXT_WORKS:
            scene.expect_next_works()
