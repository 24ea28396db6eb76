# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's ticks, stamped on arrival, and what can be read from them.

A guest ticks each millisecond with a number that is used up only when the line has left, so a
number that is missing was lost on the way, and one that comes twice was sent by two guests.
"""

import array
import bisect
import dataclasses
import fcntl
import pathlib
import socket
import subprocess
import sys
import threading
import time
from typing import NamedTuple

from . import faults
from .stamp import HEAD

PIPE_BYTES = 1 << 20


class Tick(NamedTuple):
    """One tick: when it arrived (CLOCK_MONOTONIC and CLOCK_REALTIME, ns), on which side."""
    t_ns: int
    real_ns: int
    side: str
    boot: str
    seq: int


@dataclasses.dataclass
class Jitter:
    """Distances between neighbouring ticks of one side."""
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    count: int


@dataclasses.dataclass
class Move:
    """What the ticks say about a move from one side to another.

    gap_ms: the longest silence in the window, at gap_at_ns; switch_ms: from the last tick of the old
    side to the first of the new one (None when the new side never ticked); overlap_ms: how long the
    new side ticked before the old one had ended, 0 in a sound move; lost, repeated, reordered:
    numbers, within one boot; boots: the boots seen, in order.
    """
    gap_ms: float
    gap_at_ns: int
    switch_ms: float | None
    overlap_ms: float
    lost: int
    repeated: int
    reordered: int
    boots: list


def gaps_ms(ticks):
    """The distances between neighbouring ticks."""
    return [(after.t_ns - before.t_ns) / 1e6 for before, after in zip(ticks, ticks[1:])]


def jitter_of(ticks):
    """The Jitter of a list of ticks; at least two are needed."""
    gaps = sorted(gaps_ms(ticks))
    if not gaps:
        raise ValueError("no jitter of fewer than two ticks")
    at = [gaps[min(len(gaps) - 1, int(len(gaps) * share))] for share in (0.5, 0.99, 0.999)]
    return Jitter(*at, gaps[-1], len(ticks))


def count_numbers(ticks):
    """(lost, repeated, reordered) of the numbers, counted within each boot."""
    lost = repeated = reordered = 0
    seen = {}
    for tick in ticks:
        numbers = seen.setdefault(tick.boot, [])
        if numbers and tick.seq < numbers[-1]:
            reordered += 1
        numbers.append(tick.seq)
    for numbers in seen.values():
        different = len(set(numbers))
        repeated += len(numbers) - different
        lost += max(numbers) - min(numbers) + 1 - different
    return lost, repeated, reordered


def move_of(ticks, old, new):
    """The Move from side `old` to side `new` in a list of ticks."""
    ticks = [tick for tick in ticks if tick.side in (old, new)]
    old_times = [tick.t_ns for tick in ticks if tick.side == old]
    new_times = [tick.t_ns for tick in ticks if tick.side == new]
    gaps = gaps_ms(ticks) or [0.0]
    widest = max(range(len(gaps)), key=gaps.__getitem__)
    switch_ms = (new_times[0] - old_times[-1]) / 1e6 if old_times and new_times else None
    return Move(gaps[widest], ticks[widest].t_ns if ticks else 0, switch_ms,
                max(0.0, -switch_ms) if switch_ms is not None else 0.0,
                *count_numbers(ticks), list(dict.fromkeys(tick.boot for tick in ticks)))


class Ticks:
    """The ticks of a VM on all its sides. The times are those of time.monotonic_ns()."""

    def __init__(self):
        self._ticks = []
        self._sides = []
        self._paths = []    # of the sockets that were made here
        self._partial = {}  # connection: bytes of a line that has not ended
        self.garbage = []   # lines that are no tick
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = pathlib.Path(__file__).with_name("stamp.py")
        self._process = subprocess.Popen([sys.executable, "-B", script], stdin=theirs,
                                         stdout=subprocess.PIPE)
        theirs.close()
        fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def close(self):
        """Ends the stamping process; the ticks stay."""
        self._orders.close()
        self._process.wait(10)
        self._thread.join(10)
        self._process.stdout.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _side_number(self, side):
        if side not in self._sides:
            self._sides.append(side)
        return self._sides.index(side)

    def listen(self, side, path):
        """Accepts at `path` whatever QEMU connects there; when this returns, one may start."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(16)
            self._paths.append(pathlib.Path(path))
            handles = array.array("i", [listener.fileno()])
            self._orders.sendmsg([f"L {self._side_number(side)}".encode()],
                                 [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)])

    def follow(self, side, path):
        """Connects to `path` as soon as a QEMU listens there, and again after it has gone."""
        self._orders.send(f"P {self._side_number(side)} {path}".encode())

    def _collect(self):
        stream = self._process.stdout
        while len(head := stream.read(HEAD.size)) == HEAD.size:
            t_ns, real_ns, side, connection, length = HEAD.unpack(head)
            data = self._partial.pop(connection, b"") + stream.read(length)
            *lines, rest = data.split(b"\n")
            if rest and length:
                self._partial[connection] = rest
            for line in lines:
                self._take(line, t_ns, real_ns, self._sides[side])

    def _take(self, line, t_ns, real_ns, side):
        try:
            kind, boot, seq = line.split()
            if kind != b"T":
                raise ValueError(kind)
            self._ticks.append(Tick(t_ns, real_ns, side, boot.decode("ascii"), int(seq)))
        except ValueError:
            self.garbage.append((t_ns, side, line))

    @property
    def all(self):
        """All ticks so far, in the order of arrival."""
        return self._ticks[:]

    @staticmethod
    def mark():
        """Now, for `since` and `until`."""
        return time.monotonic_ns()

    def window(self, since=None, until=None, side=None):
        """The ticks that arrived in [since, until], of one side or of all."""
        ticks = self.all
        first = bisect.bisect_left(ticks, since, key=lambda t: t.t_ns) if since else 0
        last = bisect.bisect_right(ticks, until, key=lambda t: t.t_ns) if until else len(ticks)
        return [tick for tick in ticks[first:last] if side in (None, tick.side)]

    def wait_side(self, side, count=1, timeout=30, since=None):
        """Waits until `count` ticks of a side have arrived, counted from `since`."""
        faults.wait_until(lambda: len(self.window(since, None, side)) >= count, timeout,
                          f"{count} ticks of side {side}", interval=0.02)

    def is_silent(self, side, seconds=0.5):
        """Watches a side for a while; true when not one tick came."""
        since = self.mark()
        time.sleep(seconds)
        return not self.window(since, None, side)

    def jitter(self, side=None, since=None, until=None):
        """The Jitter of a side in a window."""
        return jitter_of(self.window(since, until, side))

    def gap(self, since=None, until=None):
        """The longest silence in ms in a window, whatever the side; the time from the last tick to
        `until` (None: now) counts too."""
        ticks = self.window(since, until)
        if not ticks:
            return ((until or self.mark()) - since) / 1e6 if since else 0.0
        tail = ((until or self.mark()) - ticks[-1].t_ns) / 1e6
        return max([tail, *gaps_ms(ticks)])

    def move(self, old, new, since=None, until=None):
        """The Move from side `old` to side `new` in a window."""
        return move_of(self.window(since, until), old, new)
