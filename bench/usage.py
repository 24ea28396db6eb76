# SPDX-License-Identifier: LGPL-2.1-or-later
"""What couriers and QEMUs cost while something is measured: processor seconds and peak memory, from /proc."""

import dataclasses
import os
import pathlib
import threading

TICK = os.sysconf("SC_CLK_TCK")
EVERY_S = 0.05
PROC = pathlib.Path("/proc")


def _seconds(stat):
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def _read(path):
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _peak(status):
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def _name(entry):
    """What a process is in a migration, but for the source's QEMU."""
    comm = (_read(entry / "comm") or "").strip()
    if comm != "godwit-courier" and not comm.startswith("qemu-system"):
        return None
    words = (_read(entry / "cmdline") or "").split("\0")
    if comm == "godwit-courier":
        return f"{words[words.index('--side') + 1]} courier" if "--side" in words else None
    return "destination qemu" if "-incoming" in words else None


@dataclasses.dataclass
class Cost:
    """seconds of a process without its processors' threads; peak_bytes of memory."""
    seconds: float = 0
    peak_bytes: int = 0


class Usage:
    """Watches from entering to leaving: `costs` by name, "source courier", "destination qemu"...; the latter with its
    processors, which hardly ran."""

    def __init__(self, source_pid, cpu_threads):
        self.costs = {}
        self._source, self._cpus = source_pid, cpu_threads
        self._before = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._before = self._qemu_seconds() or 0
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _qemu_seconds(self):
        """Of the source's QEMU, threads that have ended included, its processors not."""
        whole = _read(PROC / str(self._source) / "stat")
        cpus = [_read(PROC / str(self._source) / "task" / str(tid) / "stat") for tid in self._cpus]
        return None if whole is None or None in cpus else _seconds(whole) - sum(map(_seconds, cpus))

    def _look_at_others(self):
        for entry in PROC.iterdir():
            name = entry.name.isdigit() and _name(entry)
            stat, status = (_read(entry / "stat"), _read(entry / "status")) if name else (None, None)
            if stat and status:
                cost = self.costs.setdefault((name, entry.name), Cost())
                cost.seconds, cost.peak_bytes = _seconds(stat), max(cost.peak_bytes, _peak(status))

    def _look(self):
        self._look_at_others()
        seconds, status = self._qemu_seconds(), _read(PROC / str(self._source) / "status")
        if seconds is not None and status:
            cost = self.costs.setdefault(("source qemu", "0"), Cost())
            cost.seconds, cost.peak_bytes = seconds - self._before, _peak(status)

    def _watch(self):
        while not self._end.wait(EVERY_S):
            self._look()

    def total(self, name):
        """The Cost of all processes of that name; None when there was none."""
        costs = [cost for (kind, _), cost in self.costs.items() if kind == name]
        if not costs:
            return None
        return Cost(sum(cost.seconds for cost in costs), max(cost.peak_bytes for cost in costs))
