# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two hosts: network namespaces joined by a veth pair that is shaped both ways.

Addresses are of 198.18.0.0/15 (RFC 2544, for benchmarks) and exist inside the namespaces only. The
names of the namespaces hold the process id and start time of the rig that made them, so that the
next rig can clean up after one that crashed.
"""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import re
import subprocess
import time

from . import faults, paths

PREFIX = "godwit-rig"
RUN_DIR = pathlib.Path("/run/netns")
LOCK = "/run/godwit-rig.lock"
HOST_HZ = 250  # tbf must be able to send as much as passes between two timer ticks
TBF_QUEUE_S = 0.02
GSO_BYTES = 65536
_numbers = itertools.count(1)


def _command(argv, **kwargs):
    """Runs a tool of the rig's own and returns its output; its complaint becomes the exception."""
    done = subprocess.run(argv, text=True, capture_output=True, timeout=30, check=False, **kwargs)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """One host. Made by Net; `name` is "a" or "b", `address` the one of its end of the link,
    `addresses` those of all pairs."""

    def __init__(self, name, netns, addresses):
        self.name = name
        self.netns = netns
        self.addresses = addresses
        self.address = addresses[0] if addresses else None
        self.processes = []
        self._closers = []
        self.inode = (RUN_DIR / netns).stat().st_ino

    def argv(self, argv):
        """`argv` as to be executed on this host. nsenter executes it in its own place, so the
        process id is the program's."""
        return ["nsenter", f"--net={RUN_DIR / self.netns}", "--", *map(str, argv)]

    def run(self, argv, timeout=60, check=True, **kwargs):
        """Runs a program on the host to its end; a CompletedProcess with text output."""
        kwargs.setdefault("capture_output", "stdout" not in kwargs and "stderr" not in kwargs)
        kwargs.setdefault("stdin", None if "input" in kwargs else subprocess.DEVNULL)
        if kwargs["stdin"] is None:
            del kwargs["stdin"]
        return subprocess.run(self.argv(argv), text=True, timeout=timeout, check=check, **kwargs)

    def popen(self, argv, log=None, **kwargs):
        """Starts a program on the host; a Popen. Its output goes to the file `log` if that is given.
        It is ended with the Net at the latest."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        if log is not None:
            with open(log, "ab") as file:
                process = subprocess.Popen(self.argv(argv), stdout=file, stderr=file, **kwargs)
        else:
            process = subprocess.Popen(self.argv(argv), **kwargs)
        self.processes.append(process)
        return process

    def at_close(self, act):
        """Has `act()` called when the Net ends, after the processes have."""
        self._closers.append(act)

    def close(self):
        """Ends what runs here."""
        self.kill_all()
        while self._closers:
            self._closers.pop()()

    def pids(self):
        """The processes of this host, whoever started them."""
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and os.stat(f"/proc/{entry}/ns/net").st_ino == self.inode:
                    found.append(int(entry))
        return found

    def kill_all(self):
        """Kills every process of this host and waits until they are gone."""
        deadline = time.monotonic() + 10
        while pids := [p for p in self.pids() if not faults.is_zombie(p)]:
            for pid in pids:
                faults.kill(pid, wait=False)
            for process in self.processes:
                process.poll()
            if time.monotonic() > deadline:
                raise RuntimeError(f"host {self.name}: processes {pids} do not end")
            time.sleep(0.01)
        for process in self.processes:
            process.wait(10)
        self.processes.clear()


def _shape_bytes(rate):
    """Bytes a second of "100mbit"."""
    match = re.fullmatch(r"(\d+)([kmg]?)bit", rate)
    if not match:
        raise ValueError(f"rate '{rate}' is not like 100mbit")
    return int(match[1]) * {"": 1, "k": 1000, "m": 10**6, "g": 10**9}[match[2]] // 8


def _owner_is_dead(netns):
    """Whether the rig that made the namespace is gone."""
    match = re.fullmatch(PREFIX + r"-(\d+)-(\d+)-\d+-[a-z]", netns)
    return bool(match) and faults.start_time(int(match[1])) != int(match[2])


def _remove(netns):
    """Ends the processes of a namespace and deletes it."""
    try:
        host = Host("?", netns, [])
    except FileNotFoundError:
        return  # another rig was faster
    host.kill_all()
    with contextlib.suppress(RuntimeError):
        _command(["ip", "netns", "del", netns])


def remove_stale():
    """Removes the namespaces, and the processes in them, that a crashed rig has left."""
    with open(LOCK, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in RUN_DIR.glob(f"{PREFIX}-*"):
            if _owner_is_dead(path.name):
                _remove(path.name)


class Net:
    """Two hosts `a` and `b` and the link between them; a context manager.

    rate: "100mbit", "1gbit", None for unshaped; each pair has it for itself. pairs: how many veth pairs
    join the hosts. Offloads of the veth pair stay on, as they are on a real card; a wire byte counts
    with its Ethernet header.
    """

    def __init__(self, rate=None, pairs=1):
        if os.geteuid() != 0:
            raise paths.Missing("network namespaces need root")
        remove_stale()
        number = next(_numbers)
        base = f"{PREFIX}-{os.getpid()}-{faults.start_time(os.getpid())}-{number}"
        self._names = [f"{base}-{end}" for end in "ab"]
        self.rate = None
        self.hosts = []
        self.devices = [f"eth{i}" for i in range(pairs)]
        try:
            self._make(number % 250 + 1)
            self.set_rate(rate)
        except BaseException:
            self.close()
            raise

    def _make(self, third):
        for name in self._names:
            _command(["ip", "netns", "add", name])
        # the pairs' networks do not overlap with those of other Nets of this process
        nets = [f"198.{18 + i}.{third}" for i in range(len(self.devices))]
        self.hosts = [Host(end, name, [f"{net}.{i}" for net in nets])
                      for i, (end, name) in enumerate(zip("ab", self._names), 1)]
        for device in self.devices:
            _command(["ip", "-n", self._names[0], "link", "add", device, "type", "veth",
                      "peer", "name", device, "netns", self._names[1]])
        for host in self.hosts:
            # no router advertisements or duplicate detection: the link is silent when unused
            host.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"], check=False)
            _command(["ip", "-n", host.netns, "link", "set", "lo", "up"])
            for device, address in zip(self.devices, host.addresses):
                _command(["ip", "-n", host.netns, "addr", "add", f"{address}/24", "dev", device])
                _command(["ip", "-n", host.netns, "link", "set", device, "up"])
        self.a, self.b = self.hosts

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends all processes of both hosts and removes the hosts."""
        for host in self.hosts:
            host.close()
        for name in self._names:
            if (RUN_DIR / name).exists():
                _remove(name)

    def other(self, host):
        """The host at the other end of the link."""
        return self.b if host is self.a else self.a

    def set_rate(self, rate, burst=2 * GSO_BYTES):
        """Shapes both directions anew; None takes the shaping away. Anew there are `burst` bytes that go at once."""
        for host, device in itertools.product(self.hosts, self.devices):
            where = ["tc", "-n", host.netns, "qdisc"]
            if rate is not None:
                bytes_s = _shape_bytes(rate)
                at_once = max(bytes_s // HOST_HZ, burst)
                limit = at_once + max(int(bytes_s * TBF_QUEUE_S), 2 * GSO_BYTES)
                _command([*where, "replace", "dev", device, "root", "tbf", "rate", rate,
                          "burst", str(at_once), "limit", str(limit)])
            elif self.rate is not None:
                _command([*where, "del", "dev", device, "root"])
        self.rate = rate

    def cut(self, pair=None):
        """Takes the link down, or one of its pairs; open connections stay and wait."""
        for device in self.devices if pair is None else [self.devices[pair]]:
            _command(["ip", "-n", self.a.netns, "link", "set", device, "down"])

    def heal(self):
        """Ends cut(), drop(), loss() and refuse()."""
        for host in self.hosts:
            for device in self.devices:
                _command(["ip", "-n", host.netns, "link", "set", device, "up"])
            for family in ("netdev", "inet"):
                with contextlib.suppress(RuntimeError):  # there may be no table
                    _command(host.argv(["nft", "delete", "table", family, "rig"]))

    @contextlib.contextmanager
    def _healed(self, fault, *args):
        fault(*args)
        try:
            yield
        finally:
            self.heal()

    def outage(self):
        """with net.outage(): the link is down inside."""
        return self._healed(self.cut)

    def one_way_loss(self, to):
        """with net.one_way_loss(net.b): nothing arrives there inside, while it can still send."""
        return self._healed(self.drop, to)

    def refusal(self):
        """with net.refusal(): every TCP connection between the hosts is reset at its next segment, and
        none can be made."""
        return self._healed(self.refuse)

    def drop(self, to):
        """Makes everything that arrives at the host `to` vanish, as behind a dead switch port."""
        self._filter(to, "drop")

    def refuse(self):
        """Answers whatever comes over TCP by a reset, as a firewall does that lost its state."""
        devices = ", ".join(self.devices)
        for host in self.hosts:
            _command(host.argv(["nft", "-f", "-"]), input=
                     f"table inet rig {{ chain in {{ type filter hook input priority 0; "
                     f"iifname {{ {devices} }} tcp flags & rst == 0 reject with tcp reset; }}; }}\n")

    def move_address(self, host):
        """Moves the first address of a host from the first pair to the second, and the other host's
        route to it."""
        other, (old, new) = self.other(host), self.devices[:2]
        _command(["ip", "-n", host.netns, "addr", "del", f"{host.address}/24", "dev", old])
        _command(["ip", "-n", host.netns, "addr", "add", f"{host.address}/24", "dev", new])
        _command(["ip", "-n", other.netns, "route", "replace", f"{host.address}/32", "dev", new,
                  "src", other.address])

    def loss(self, percent, to=None):
        """Loses that share of the packets that arrive at `to` (None: at both)."""
        for host in (to,) if to else self.hosts:
            self._filter(host, f"numgen random mod 10000 < {int(percent * 100)} drop")

    def _filter(self, host, rule):
        """Puts a rule at the very entrance of the host, behind the wire and before its stack."""
        chains = " ".join(f"chain {device} {{ type filter hook ingress device {device} priority 0; "
                          f"{rule}; }};" for device in self.devices)
        table = f"table netdev rig {{ {chains} }}"
        _command(host.argv(["nft", "-f", "-"]), input=f"add table netdev rig\n"
                 f"delete table netdev rig\n{table}\n")

    def connections(self, host, port=None):
        """The established TCP connections of a host with the other one: ss lines. `port` is one
        that either end of the connection has."""
        wanted = self._between(host, port)
        return _command(host.argv(["ss", "-Htn", "state", "connected", wanted])).splitlines()

    def _between(self, host, port):
        """A filter of ss for the connections of a host with the other one."""
        wanted = "( " + " or ".join(f"dst {peer}" for peer in self.other(host).addresses) + " )"
        if port is not None:
            wanted += f" and ( sport = :{port} or dport = :{port} )"
        return wanted

    def reset(self, port=None):
        """Resets the TCP connections between the hosts, at both ends; returns how many there
        were."""
        count = len(self.connections(self.a, port))
        for host in self.hosts:
            _command(host.argv(["ss", "-KHtn", "state", "connected", self._between(host, port)]))
        return count

    def wire_bytes(self):
        """Bytes that have gone (from a to b, from b to a) so far."""
        sent = []
        for host in self.hosts:
            shown = json.loads(_command(["ip", "-j", "-s", "-n", host.netns, "link", "show"]))
            sent.append(sum(entry["stats64"]["tx"]["bytes"] for entry in shown
                            if entry["ifname"] in self.devices))
        return tuple(sent)

    def tcp_rate(self, seconds=1.0):
        """Bytes a second that one raw TCP connection carries from a to b: what the shaping is
        worth. Count the measuring time from the first byte that arrived."""
        sink = ("import socket,time,sys\n"
                "s=socket.create_server((sys.argv[1],0)); print(s.getsockname()[1],flush=True)\n"
                "s.settimeout(20); c,_=s.accept(); n=len(c.recv(1)); t=time.monotonic()\n"
                "while d:=c.recv(1<<20): n+=len(d)\n"
                "print(n/(time.monotonic()-t))\n")
        source = ("import socket,time,sys\n"
                  "c=socket.create_connection((sys.argv[1],int(sys.argv[2])),20)\n"
                  "end=time.monotonic()+float(sys.argv[3]); d=bytes(1<<18)\n"
                  "while time.monotonic()<end: c.sendall(d)\n")
        python = "/usr/bin/python3"
        server = self.b.popen([python, "-c", sink, self.b.address], stdout=subprocess.PIPE, text=True)
        port = server.stdout.readline().strip()
        self.a.run([python, "-c", source, self.b.address, port, seconds], timeout=seconds + 30)
        rate = float(server.stdout.readline())
        server.wait(10)
        server.stdout.close()
        return rate
