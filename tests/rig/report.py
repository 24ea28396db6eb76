# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's reports and the host's commands to it; tests/guest/guest.h describes the lines."""

import dataclasses
import pathlib
import selectors
import socket
import threading
import time
from typing import NamedTuple

RETRY_S = 0.005


class GuestError(AssertionError):
    """The guest has found something wrong, or does not answer."""


class Line(NamedTuple):
    """One line of the guest: arrival (CLOCK_MONOTONIC, ns), side, text."""
    t_ns: int
    side: str
    text: str


@dataclasses.dataclass
class Status:
    """A line "S ..." of the guest, which comes once a second."""
    boot: str
    seq: int
    checked: int   # pages verified
    rounds: int    # walks over all pages
    bad: int       # pages found bad
    written: int   # pages rewritten
    disk: int      # last disk record written
    dropped: int   # ticks that the channel did not take
    late: int      # ticks skipped because the guest came too late
    lost: int      # report lines that did not fit into the queue

    @classmethod
    def parse(cls, text):
        """The Status of a line "S boot seq name=value ..."."""
        _, boot, seq, *pairs = text.split()
        values = {name: int(value) for name, _, value in (pair.partition("=") for pair in pairs)}
        return cls(boot=boot, seq=int(seq), **values)


class Report:
    """The report channel of a VM on all its sides. A thread reads it."""

    def __init__(self):
        self._selector = selectors.DefaultSelector()
        self._wake, waker = socket.socketpair()
        self._selector.register(waker, selectors.EVENT_READ, self._drain_wake(waker))
        self._made = []      # paths of the sockets that were made here
        self._sides = set()  # where the guest may be
        self._paths = {}     # path: side, of those not connected
        self._heard = None   # (side, connection) that spoke last
        self._changed = threading.Condition()
        self._lines = []
        self._is_open = True
        self.errors = []     # Lines "E ..."
        self.boots = []      # boot ids, in order
        self.acked = 0       # last disk record whose write the guest has reported
        self._status = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def _drain_wake(waker):
        return lambda: waker.recv(64)

    def close(self):
        """Ends the connections; the lines stay."""
        self._is_open = False
        self._wake.send(b"x")
        self._thread.join(10)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()
        self._wake.close()
        for path in self._made:
            path.unlink(missing_ok=True)

    # --- connections ---

    def listen(self, side, path):
        """Accepts at `path` whatever QEMU connects there; when this returns, one may start."""
        self._sides.add(side)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(16)
        self._made.append(pathlib.Path(path))
        self._selector.register(listener, selectors.EVENT_READ,
                                lambda: self._add(listener.accept()[0], side, None))
        self._wake.send(b"x")

    def follow(self, side, path):
        """Connects to `path` as soon as a QEMU listens there, and again after it has gone."""
        self._sides.add(side)
        self._paths[str(path)] = side
        self._wake.send(b"x")

    def _add(self, connection, side, path):
        partial = bytearray()
        self._selector.register(connection, selectors.EVENT_READ,
                                lambda: self._read(connection, side, path, partial))

    def _read(self, connection, side, path, partial):
        try:
            data = connection.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        now = time.monotonic_ns()
        if not data:
            self._selector.unregister(connection)
            connection.close()
            if path:
                self._paths[path] = side
            return
        partial += data
        *lines, rest = partial.split(b"\n")
        partial[:] = rest
        with self._changed:
            self._heard = (side, connection)
            for line in lines:
                self._take(Line(now, side, line.decode("ascii", "replace")))
            self._changed.notify_all()

    def _connect(self):
        for path, side in list(self._paths.items()):
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(path)
            except OSError:
                connection.close()
                continue
            del self._paths[path]
            self._add(connection, side, path)

    def _run(self):
        while self._is_open:
            for key, _ in self._selector.select(RETRY_S if self._paths else None):
                key.data()
            if self._paths:
                self._connect()

    # --- lines ---

    def _take(self, line):
        """Sorts one line; the caller holds the lock."""
        self._lines.append(line)
        kind, _, rest = line.text.partition(" ")
        if kind == "S":
            self._status = Status.parse(line.text)
        elif kind == "D":
            self.acked = max(self.acked, int(rest))
        elif kind == "E":
            self.errors.append(line)
        elif kind == "BOOT":
            self.boots.append(rest.split()[0])

    @property
    def lines(self):
        """All lines so far."""
        with self._changed:
            return self._lines[:]

    def status(self):
        """The last Status, None before the first."""
        return self._status

    def wait(self, predicate, timeout=30, since=0):
        """Waits for a line, after the first `since` ones, whose text satisfies the predicate, and
        returns it."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self._lines[since:]:
                    if predicate(line.text):
                        return line
                since = len(self._lines)
                left = deadline - time.monotonic()
                if left <= 0 or not self._is_open:
                    last = [line.text for line in self._lines[-3:]]
                    raise GuestError(f"the guest did not report in {timeout} s; last: {last}")
                self._changed.wait(left)

    def wait_status(self, predicate=lambda status: True, timeout=30):
        """Waits for a fresh Status that satisfies the predicate."""
        line = self.wait(lambda text: text.startswith("S ") and predicate(Status.parse(text)),
                         timeout, len(self._lines))
        return Status.parse(line.text)

    def assert_clean(self):
        """Raises when the guest has complained about anything so far."""
        if self.errors:
            raise GuestError("; ".join(f"{line.side}: {line.text}" for line in self.errors[:5]))
        if self._status and self._status.bad:
            raise GuestError(f"{self._status.bad} bad pages")

    # --- commands ---

    def _send(self, text, timeout):
        """Sends a line to the side where the guest is. After a move the side that spoke last may be
        the old one, so with more than one side wait for a fresh line."""
        if len(self._sides) > 1 or self._heard is None:
            self.wait(lambda line: True, timeout, len(self.lines))
        with self._changed:
            connection = self._heard[1]
        try:
            connection.sendall(text.encode() + b"\n")
        except OSError as error:
            raise GuestError(f"the channel that the guest used last is closed: {error}") from error

    def command(self, text, timeout=20):
        """Sends "dirty 20M/s", "content text", "pause", "resume", "reboot" or "poweroff" and waits
        until the guest has confirmed it."""
        since = len(self.lines)
        self._send(text, timeout)
        answer = self.wait(lambda line: line in (f"OK {text}", f"? {text}"), timeout, since).text
        if answer.startswith("?"):
            raise GuestError(f"the guest does not understand '{text}'")

    def check(self, timeout=60):
        """Has the guest verify every page once from now on, and returns a fresh Status. Raises when
        anything was ever bad."""
        since = len(self.lines)
        self._send("check", timeout)
        answer = self.wait(lambda line: line.startswith("CHECKED "), timeout, since).text
        if not answer.endswith(" bad=0"):
            raise GuestError(f"{answer}: {[line.text for line in self.errors[:3]]}")
        status = self.wait_status()
        self.assert_clean()
        return status
