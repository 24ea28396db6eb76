# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a migration may leave behind: looked at before and after, and compared.

Other tests may run beside this one, so only what belongs to the given hosts or names one of the
given directories counts.
"""

import contextlib
import dataclasses
import os
import pathlib

from . import faults, hosts


@dataclasses.dataclass
class Snapshot:
    """Sets of texts, one set a kind of thing."""
    processes: set
    unix_sockets: set
    tcp_sockets: set
    files: set
    mounts: set
    namespaces: set


def _own_line():
    """This process and its ancestors: the test, not what is tested."""
    pids, pid = set(), os.getpid()
    while pid > 1:
        pids.add(pid)
        with open(f"/proc/{pid}/stat", "rb") as file:
            pid = int(file.read().rpartition(b")")[2].split()[1])
    return pids


def _belongs(pid, dirs, inodes):
    """Whether a process is on one of the hosts, or names or stands in one of the directories."""
    with contextlib.suppress(OSError):
        if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
            return True
    texts = []
    with contextlib.suppress(OSError):
        texts.append(pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace"))
    with contextlib.suppress(OSError):
        texts.append(os.readlink(f"/proc/{pid}/cwd") + "/")
    return any(f"{directory}" in text for directory in dirs for text in texts)


def _processes(dirs, inodes):
    found = set()
    own = _own_line()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in own or faults.is_zombie(int(entry)):
            continue
        if _belongs(entry, dirs, inodes):
            with contextlib.suppress(OSError):
                line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
                found.add(f"{entry} (since {faults.start_time(entry)}): {line.decode()[:200]}")
    return found


def _unix_sockets(text, dirs):
    """The names of unix sockets in the text of /proc/net/unix; dirs None takes all."""
    names = [line.split(None, 7)[7:] for line in text.splitlines()[1:]]
    return {name[0] for name in names if name
            and (dirs is None or any(name[0].startswith(f"{d}") for d in dirs))}


# Closed by everyone; the kernel delivers what is left, or waits for the other end's kernel.
KERNELS_OWN = ("TIME-WAIT", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSING", "LAST-ACK")


def _on_hosts(ends):
    """(unix sockets, tcp sockets) of the hosts."""
    unix, tcp = set(), set()
    for host in ends:
        text = host.run(["cat", "/proc/net/unix"]).stdout
        unix |= {f"{host.name}: {name}" for name in _unix_sockets(text, None)}
        for line in host.run(["ss", "-Htan"]).stdout.splitlines():
            fields = line.split()
            if fields[0] not in KERNELS_OWN:
                tcp.add(f"{host.name}: {' '.join(fields[:1] + fields[3:5])}")
    return unix, tcp


def _files(dirs):
    return {str(path) for directory in dirs for path in pathlib.Path(directory).rglob("*")}


def _mounts(dirs):
    places = [line.split()[4] for line in open("/proc/self/mountinfo", encoding="utf-8")]
    return {place for place in places if any(place.startswith(f"{d}") for d in dirs)}


def _namespaces():
    """The named network namespaces of this process's rigs."""
    return {path.name for path in hosts.RUN_DIR.glob(f"{hosts.PREFIX}-{os.getpid()}-*")}


def snapshot(net=None, dirs=()):
    """A Snapshot of the hosts of `net` (None: no hosts) and of what concerns `dirs`, which need not
    exist: also give those where the programs under test put files of their own."""
    ends = net.hosts if net else []
    dirs = [pathlib.Path(d).absolute() for d in dirs]
    unix = _unix_sockets(pathlib.Path("/proc/net/unix").read_text("utf-8", "replace"), dirs)
    host_unix, tcp = _on_hosts(ends)
    return Snapshot(_processes(dirs, {host.inode for host in ends}), unix | host_unix, tcp,
                    _files(dirs), _mounts(dirs), _namespaces())


def compare(before, after, allowed=()):
    """What is there after and was not before: texts "kind: thing", without those that contain one of
    the texts in `allowed`. Empty when nothing was left."""
    left = []
    for field in dataclasses.fields(Snapshot):
        for thing in sorted(getattr(after, field.name) - getattr(before, field.name)):
            if not any(text in thing for text in allowed):
                left.append(f"{field.name}: {thing}")
    return left


def lost(before, after):
    """What was there before and is not after: for a migration that was undone."""
    return compare(after, before)
