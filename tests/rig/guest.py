# SPDX-License-Identifier: LGPL-2.1-or-later
"""A VM with the guest of tests/guest in it.

Every path of its own lies below its directory, so that `--map DIRECTORY=OTHER` makes it a VM of the
other host; kernel and initrd are the same files on both, like a shared image store.

Channels "connect": QEMU connects to sockets in its directory on which the rig listens before any
QEMU starts there, so no tick is lost for want of a reader, whoever starts the QEMU. Channels
"listen": QEMU listens, as management tools configure it, and the rig connects as soon as it does.
Channels "serial": like "connect", but over the two serial ports of a VM without virtio-serial; the
kernel then has no console.
"""

import dataclasses
import os
import pathlib

from . import faults, guestagent, initrd, paths
from .qmp import Qmp
from .report import GuestError, Report
from .tick import Ticks

# Short paths, because a unix socket's may have 107 bytes only.
SOCKET_PATH_MAX = 107

# quiet: the serial console costs most of the boot; the others save probing under emulation
KERNEL_ARGS = ("quiet mitigations=off nokaslr no_timer_check tsc=reliable "
               "random.trust_cpu=on audit=0 apparmor=0 i8042.noaux i8042.nokbd panic=0")


@dataclasses.dataclass
class Load:
    """What the guest does with its memory and disk; sizes are "64M", rates "20M/s" or "max".

    mem: memory that is rewritten, at the rate `dirty`, in `order` random or sequential, with
    `content` zero, small (random; 16 words a page change), heap (0.57 after compression; the same
    change), text (a third after compression) or random.
    fill: more memory that is only checked. check: how fast all of it is verified.
    diskrate: records a second, if the VM has a disk.
    """
    mem: str = "32M"
    dirty: str = "0"
    content: str = "random"
    fill: str = "0"
    fill_content: str = "text"
    order: str = "random"
    check: str = "20M/s"
    diskrate: int = 0
    seed: int = 1

    def words(self):
        """The words of the kernel's command line."""
        return [f"gw.{name}={value}" for name, value in dataclasses.asdict(self).items()]


class Guest:
    """A VM on one host. Nothing runs until start(); see tests/rig/README.md for the arguments."""

    def __init__(self, host, directory, load=None, mem="524280K", smp=1, machine="q35", cpu=None,
                 disk=None, channels="connect", args=(), modules=(), qemu="qemu-system-x86_64",
                 kernel_args="", accel="tcg", cwd=None, agent=False):
        self.load = load or Load()
        self.config = {"mem": mem, "smp": smp, "machine": machine, "cpu": cpu, "args": tuple(args),
                       "qemu": qemu, "kernel_args": kernel_args, "accel": accel, "disk": disk,
                       "cwd": cwd, "agent": agent}
        self.channels = channels
        self.kernel = paths.kernel() / "vmlinuz"
        self.initrd = initrd.build((*(["virtio_blk"] if disk else []), *modules),
                                   guestagent.files() if agent else ())
        self.ticks = Ticks()
        self.report = Report()
        host.at_close(self.ticks.close)
        host.at_close(self.report.close)
        self._settle(host, directory)

    def _settle(self, host, directory):
        """Makes the VM one of that host and directory, with listening channels."""
        self.host = host
        self.side = host.name
        self.directory = pathlib.Path(directory).absolute()
        self.process = None
        self.pid = None
        self._began = (0, 0)  # report lines and time at start()
        if len(str(self.directory / "monitor.sock")) > SOCKET_PATH_MAX:
            raise ValueError(f"{self.directory} is too long for sockets in it")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._make_disk()
        for channel, path in ((self.ticks, "tick.sock"), (self.report, "report.sock")):
            open_channel = channel.follow if self.channels == "listen" else channel.listen
            open_channel(self.side, self.directory / path)

    def _make_disk(self):
        """disk "64M" is a new image in the directory, a path an image that the sides share."""
        disk = self.config["disk"]
        if disk is None or "/" in str(disk):
            self.disk = None if disk is None else pathlib.Path(disk)
            return
        self.disk = self.directory / "disk.img"
        with open(self.disk, "xb") as file:
            file.truncate(int(disk[:-1]) << {"K": 10, "M": 20, "G": 30}[disk[-1]])

    def twin(self, host, directory):
        """The same VM on the other host: its directory, an empty disk of the same size if the disk
        is not shared, and listening channels. No QEMU is started."""
        other = object.__new__(Guest)
        other.__dict__.update(self.__dict__)
        other._settle(host, directory)
        return other

    @property
    def qmp_path(self):
        """The monitor that is free for the program under test."""
        return self.directory / "qmp.sock"

    def monitor(self, timeout=10):
        """A Qmp on the monitor that belongs to the rig; one at a time."""
        return Qmp(self.directory / "monitor.sock", timeout)

    @property
    def argv(self):
        """The QEMU command line, without -incoming."""
        config, at = self.config, self.directory
        argv = [config["qemu"], "-name", "rig", "-nodefaults", "-no-user-config", "-display", "none",
                "-machine", config["machine"], "-accel", config["accel"],
                "-m", config["mem"], "-smp", str(config["smp"])]
        if config["cpu"]:
            argv += ["-cpu", config["cpu"]]
        argv += ["-qmp", f"unix:{at}/qmp.sock,server=on,wait=off",
                 "-qmp", f"unix:{at}/monitor.sock,server=on,wait=off",
                 "-kernel", str(self.kernel), "-initrd", str(self.initrd),
                 "-append", self._kernel_line(), *self._channel_argv()]
        if self.disk:
            argv += ["-blockdev", f"driver=file,node-name=disk0-file,filename={self.disk}",
                     "-blockdev", "driver=raw,node-name=disk0,file=disk0-file",
                     "-device", "virtio-blk-pci,drive=disk0,id=virtio-disk0"]
        return [*argv, *config["args"]]

    def _kernel_line(self):
        # without virtio-serial the names spare the guest from waiting for ports
        where = (["gw.report=/dev/ttyS0", "gw.tick=/dev/ttyS1"] if self.channels == "serial"
                 else ["console=ttyS0"])
        words = [*where, KERNEL_ARGS, *self.load.words(), self.config["kernel_args"]]
        return " ".join(words).strip()

    def _channel_argv(self):
        """The console and the two channels."""
        at = self.directory
        listens = ",server=on,wait=off" if self.channels == "listen" else ""
        sockets = {name: ["-chardev", f"socket,id={name},path={at}/{name}.sock{listens}"]
                   for name in ("report", "tick")}
        if self.channels == "serial":
            return [word for name, socket in sockets.items()
                    for word in (*socket, "-serial", f"chardev:{name}")]
        argv = ["-chardev", f"file,id=console,path={at}/console.log", "-serial", "chardev:console",
                "-device", "virtio-serial-pci,id=ports"]
        for name, socket in sockets.items():
            argv += [*socket,
                     "-device", f"virtserialport,bus=ports.0,chardev={name},name=godwit.{name}"]
        if self.config["agent"]:
            argv += ["-chardev", f"socket,id=agent,path={at}/agent.sock,server=on,wait=off",
                     "-device", "virtserialport,bus=ports.0,chardev=agent,name=org.qemu.guest_agent.0"]
        return argv

    def start(self, incoming=False, paused=False):
        """Starts QEMU; `incoming` has it wait for a migration (defer), `paused` hold the guest."""
        argv = self.argv + (["-incoming", "defer"] if incoming else []) + (["-S"] if paused else [])
        self._began = (len(self.report.lines), self.ticks.mark())
        for name in ("qmp.sock", "monitor.sock"):
            (self.directory / name).unlink(missing_ok=True)  # of a QEMU that was killed here
        self.process = self.host.popen(argv, log=self.directory / "qemu.log",
                                       cwd=self.config["cwd"])
        self.pid = self.process.pid
        return self

    def wait_boot(self, timeout=60, ticks=100):
        """Waits until the guest is up, has filled its memory and ticks."""
        try:
            self._wait_report(lambda text: text.startswith("READY "), timeout)
            self.ticks.wait_side(self.side, ticks, timeout, self._began[1])
        except (GuestError, TimeoutError) as error:
            raise GuestError(f"{error}\nqemu: {self.log_tail('qemu.log')}\n"
                             f"console: {self.log_tail('console.log')}") from error
        self.report.assert_clean()
        return self

    def _wait_report(self, predicate, timeout):
        """Like report.wait(), but notices a QEMU that ends."""
        for _ in range(timeout * 2):
            try:
                return self.report.wait(predicate, 0.5, self._began[0])
            except GuestError:
                if self.process and self.process.poll() is not None:
                    raise GuestError(f"QEMU ended with status {self.process.returncode}") from None
        raise GuestError(f"the guest is not up after {timeout} s")

    def log_tail(self, name, size=1000):
        """The end of a log in the directory: qemu.log or console.log."""
        path = self.directory / name
        return path.read_bytes()[-size:].decode("utf-8", "replace") if path.exists() else "(none)"

    def find(self, timeout=30):
        """Finds the QEMU that somebody else has started in this directory, by its monitor."""
        with self.monitor(timeout) as monitor:
            self.pid = monitor.pid
        return self

    def is_alive(self):
        """Whether the QEMU runs."""
        return self.pid is not None and not faults.is_zombie(self.pid)

    def stop(self):
        """Kills the QEMU."""
        if self.process:
            self.process.kill()
            self.process.wait(10)
        elif self.pid:
            faults.kill(self.pid)

    def cpu_seconds(self):
        """CPU time that the QEMU has used so far."""
        with open(f"/proc/{self.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
