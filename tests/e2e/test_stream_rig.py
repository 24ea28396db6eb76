# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records migration streams of real QEMUs, for test_stream_record.py.  There is no test in here.

A Machine is a QEMU with a lot of devices and a boot sector that keeps dirtying 448 KiB.  A Recorder
is a relay between two of them that writes down what passes, a file for each connection and
direction.
"""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from rig import paths, qemu10

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Not a multiple of 256 KiB: QEMU before 9.0 loses dirty pages of such blocks under TCG.
RAM_KIB = 131064
RAM_BYTES = RAM_KIB * 1024
VGA_WINDOW = (0xA0000, 0xC0000)

# Real mode: for each segment 0x2000, 0x2100 .. 0x8f00 add one to the words at 0, 64 and 2048, then
# once more from the start.  Every page it touches changes in few bytes, as XBZRLE likes it.  Turning
# CR0.WP over makes TCG forget its cached translations, without which QEMU before 9.0 may not notice
# later stores.
BOOT_CODE = bytes.fromhex(
    "fa"              # cli
    "0f20c0"          # again: mov eax, cr0
    "663500000100"    # xor eax, 0x10000
    "0f22c0"          # mov cr0, eax
    "b80020"          # mov ax, 0x2000
    "8ed8"            # next: mov ds, ax
    "ff060000"        # inc word [0]
    "ff064000"        # inc word [64]
    "ff060008"        # inc word [2048]
    "050001"          # add ax, 0x100
    "3d0090"          # cmp ax, 0x9000
    "72ea"            # jb next
    "ebd9")           # jmp again


def build_dir():
    return pathlib.Path(os.environ.get("GODWIT_BUILD", ROOT / "build"))


def program(name):
    """The path of a built program, or None."""
    for path in (build_dir() / name, build_dir() / "src" / "stream" / name, build_dir() / "src" / "ramcodec" / name):
        if path.exists():
            return str(path)
    return None


# --- two QEMUs ----------------------------------------------------------------------------------

def qemu72():
    return [shutil.which("qemu-system-x86_64")] if shutil.which("qemu-system-x86_64") else None


def qemu100():
    """(argv, None) or (None, reason): the rig unpacks it from Debian 13 into cache/."""
    try:
        return [str(qemu10.directory() / qemu10.PROGRAM)], None
    except paths.Missing as missing:
        return None, str(missing)


# --- QMP ------------------------------------------------------------------------------------------

class Qmp:
    def __init__(self, path, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.socket.settimeout(timeout)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        request = {"execute": command}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.file.write(json.dumps(request) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise ConnectionError(f"QEMU closed its monitor during {command}")
            reply = json.loads(line)
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise RuntimeError(f"{command}: {reply['error']['desc']}")

    def hmp(self, line):
        return self("human-monitor-command", **{"command-line": line})

    def wait_status(self, wanted, timeout=120):
        deadline = time.monotonic() + timeout
        while True:
            info = self("query-migrate")
            if info.get("status") in wanted:
                return info
            if info.get("status") in ("failed", "cancelled"):
                raise RuntimeError(f"migration {info}")
            assert time.monotonic() < deadline, info
            time.sleep(0.05)

    def wait_rounds(self, rounds, timeout=60):
        deadline = time.monotonic() + timeout
        while True:
            info = self("query-migrate")
            if info.get("ram", {}).get("dirty-sync-count", 0) >= rounds:
                return
            if info.get("status") == "completed" or time.monotonic() > deadline:
                raise RuntimeError(f"not {rounds} rounds: {info}")
            time.sleep(0.02)

    def close(self):
        self.file.close()
        self.socket.close()


# --- machines -------------------------------------------------------------------------------------

DEVICES = [
    "-device", "virtio-blk-pci,drive=d0,bootindex=0",
    "-netdev", "hubport,id=n0,hubid=0", "-device", "virtio-net-pci,netdev=n0,romfile=",
    "-netdev", "hubport,id=n1,hubid=1", "-device", "e1000,netdev=n1,romfile=",
    "-device", "virtio-rng-pci",
    "-device", "virtio-serial-pci,id=vs0",
    "-chardev", "null,id=c0", "-device", "virtserialport,chardev=c0,bus=vs0.0,name=org.test.0",
    "-device", "virtio-balloon-pci",
    "-device", "qemu-xhci,id=xhci", "-device", "usb-kbd,bus=xhci.0",
    "-device", "usb-tablet,bus=xhci.0",
    "-device", "ahci,id=ahci1", "-device", "ide-hd,drive=d1,bus=ahci1.0",
    "-device", "VGA",
]


class Machine:
    def __init__(self, qemu, directory, machine, extra=(), incoming=None, devices=DEVICES):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="godwit-stream-", dir="/dev/shm")
        os.close(handle)
        self.ram_file = pathlib.Path(name)  # postcopy wants it in a tmpfs
        for name in ("d0", "d1"):
            self._make_disk(self.directory / f"{name}.img")
        argv = list(qemu) + [
            "-nodefaults", "-display", "none", "-no-user-config", "-accel", "tcg",
            "-M", f"{machine},memory-backend=mem0", "-m", f"{RAM_KIB}K",
            "-object", f"memory-backend-file,id=mem0,size={RAM_KIB}K,share=on,"
                       f"mem-path={self.ram_file}",
            "-uuid", "5f3c1b7e-94a5-4c9b-8f7b-1d2e3f405162",
            "-blockdev", self._blockdev("d0"), "-blockdev", self._blockdev("d1"),
            "-qmp", f"unix:{self.directory}/qmp,server=on,wait=off",
            *devices, *extra]
        if incoming:
            argv += ["-incoming", incoming]
        self.log = open(self.directory / "log", "wb")
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL)
        try:
            self.qmp = Qmp(self.directory / "qmp")
        except Exception as exc:
            self.stop()
            raise RuntimeError((self.directory / "log").read_text()[-500:]) from exc

    def _blockdev(self, name):
        return json.dumps({"driver": "raw", "node-name": name, "file": {
            "driver": "file", "filename": str(self.directory / f"{name}.img"),
            "locking": "off"}})

    @staticmethod
    def _make_disk(path):
        with open(path, "wb") as disk:
            disk.write(BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa")
            disk.truncate(8 << 20)

    def capabilities(self, *names):
        if names:
            self.qmp("migrate-set-capabilities",
                     capabilities=[{"capability": name, "state": True} for name in names])

    def wait_boot(self, timeout=60):
        """The boot sector runs: the word at 0x20000 moves."""
        deadline = time.monotonic() + timeout
        while True:
            with open(self.ram_file, "rb", buffering=0) as ram:
                first = os.pread(ram.fileno(), 2, 0x20000)
                time.sleep(0.05)
                if os.pread(ram.fileno(), 2, 0x20000) != first:
                    return
            assert time.monotonic() < deadline, "the boot sector does not run"

    def pmemsave(self, path):
        self.qmp("pmemsave", val=0, size=RAM_BYTES, filename=str(path))

    def stop(self):
        if getattr(self, "qmp", None):
            self.qmp.close()
        self.process.kill()
        self.process.wait(30)
        self.log.close()
        self.ram_file.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# --- the relay ------------------------------------------------------------------------------------

class Recorder:
    """Passes connections on `listen` to `target` and keeps both directions of connection N in
    DIR/N.fwd and DIR/N.back."""

    def __init__(self, directory, listen, target):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.target = str(target)
        self.count = 0
        self.threads = []
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(listen))
        self.server.listen(16)
        self.acceptor = threading.Thread(target=self._accept)
        self.acceptor.start()

    def _accept(self):
        while True:
            try:
                source, _ = self.server.accept()
            except OSError:
                return
            sink = socket.socket(socket.AF_UNIX)
            sink.connect(self.target)
            for a, b, name in ((source, sink, "fwd"), (sink, source, "back")):
                path = self.directory / f"{self.count}.{name}"
                thread = threading.Thread(target=self._pass, args=(a, b, path))
                thread.start()
                self.threads.append(thread)
            self.count += 1

    @staticmethod
    def _pass(a, b, path):
        with open(path, "wb", buffering=0) as out:
            while True:
                try:
                    data = a.recv(1 << 16)
                except OSError:
                    data = b""
                out.write(data)
                try:
                    if not data:
                        b.shutdown(socket.SHUT_WR)
                        return
                    b.sendall(data)
                except OSError:
                    if not data:
                        return

    def close(self):
        """After both QEMUs are gone, or their connections are."""
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.acceptor.join(10)
        for thread in self.threads:
            thread.join(30)


# --- a recording ----------------------------------------------------------------------------------

class Recording:
    """What a recorded migration left: the files of its streams and the stopped source's RAM."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.main = self.directory / "stream"
        self.back = None
        self.multifd = []
        self.preempt = None
        self.pmem = self.directory / "pmem"
        self.ram = self.directory / "ram.saved"

    def keep_ram(self, source):
        source.pmemsave(self.pmem)
        shutil.copyfile(source.ram_file, self.ram)


def slow_down(source, mib=4):
    """So slow that the boot sector is never caught up with."""
    source.qmp("migrate-set-parameters", max_bandwidth=mib << 20, downtime_limit=1)


def let_finish(source):
    source.qmp("migrate-set-parameters", max_bandwidth=1 << 40, downtime_limit=2000)


def record_file(qemu, directory, machine, capabilities=(), rounds=0, prepare=None, extra=(),
                uri="exec:cat>{}"):
    """`migrate exec:cat>FILE`: no return path."""
    recording = Recording(directory)
    with Machine(qemu, recording.directory / "src", machine, extra=extra) as source:
        source.wait_boot()
        source.capabilities(*capabilities)
        if prepare:
            prepare(source)
        slow_down(source)
        source.qmp("migrate", uri=uri.format(recording.main))
        if rounds:
            source.qmp.wait_rounds(rounds)
        let_finish(source)
        source.qmp.wait_status(("completed",))
        recording.keep_ram(source)
    return recording


def wait_for_requests(back, timeout=10):
    """Until the return path has more than pongs."""
    deadline = time.monotonic() + timeout
    while back.stat().st_size < 64 and time.monotonic() < deadline:
        time.sleep(0.02)


def record_pair(qemu, directory, machine, capabilities=(), rounds=2, postcopy=False, parameters=None,
                target=None):
    """From one QEMU to another through a Recorder."""
    recording = Recording(directory)
    base = recording.directory
    base.mkdir(parents=True, exist_ok=True)
    caps = ("events", "return-path", *capabilities)
    with Machine(target or qemu, base / "dst", machine, incoming="defer") as sink, \
            Machine(qemu, base / "src", machine) as source:
        source.wait_boot()
        for end in (source, sink):
            end.capabilities(*caps)
            if parameters:
                end.qmp("migrate-set-parameters", **parameters)
        sink.qmp("migrate-incoming", uri=f"unix:{base}/in.sock")
        recorder = Recorder(base / "wire", base / "out.sock", base / "in.sock")
        try:
            slow_down(source)
            source.qmp("migrate", uri=f"unix:{base}/out.sock")
            source.qmp.wait_rounds(rounds)
            if postcopy:
                # Slower than the guest, which runs at the destination and asks for its pages.
                source.qmp("migrate-set-parameters", max_postcopy_bandwidth=200 << 10)
                source.qmp("migrate-start-postcopy")
                wait_for_requests(base / "wire" / "0.back")
                source.qmp("migrate-set-parameters", max_postcopy_bandwidth=0)
            let_finish(source)
            source.qmp.wait_status(("completed",))
            recording.keep_ram(source)
        finally:
            source.stop()
            sink.stop()
            recorder.close()
    recording.main = base / "wire" / "0.fwd"
    recording.back = base / "wire" / "0.back"
    others = [base / "wire" / f"{i}.fwd" for i in range(1, recorder.count)]
    if "multifd" in capabilities:
        recording.multifd = others
    elif others:
        recording.preempt = others[0]
    return recording
