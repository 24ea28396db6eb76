# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults of processes, and waiting for what they lead to."""

import contextlib
import os
import signal
import time


def start_time(pid):
    """When the process started, in clock ticks since boot: with the pid, its identity. None when
    there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def state(pid):
    """The state letter of a process ("R", "S", "T" for stopped, "Z" ...), None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_zombie(pid):
    """Whether the process has ended, all its threads with it, and only waits for its parent to notice."""
    try:
        return state(pid) in (None, "Z", "X") and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except OSError:
        return True


def line(pid):
    """The command line of a process, "" when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until(condition, timeout=10, what="condition", interval=0.01):
    """Waits until `condition()` is true and returns its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about in {timeout} s")
        time.sleep(interval)
    return value


def wait_stop(file, timeout=60, what="the point"):
    """Waits until a program stands at the point where it was told to stop (src/base/point.c); its pid. The file is there
    before there is a line in it, and the line before the program stands."""
    def is_there():
        lines = file.read_text(encoding="ascii").splitlines() if file.exists() else []
        return [int(line.split()[0]) for line in lines]
    pid, = wait_until(is_there, timeout, what)
    wait_until(lambda: state(pid) in ("T", None), what=f"stop of process {pid}")
    return pid


def wait_gone(pid, timeout=10):
    """Waits until the process has ended (a zombie has)."""
    wait_until(lambda: is_zombie(pid), timeout, f"end of process {pid}")


def named(pids, name):
    """Those of the processes whose command line begins with the program or title `name`."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if os.path.basename(file.read().split(b"\0")[0].split(b" ")[0]) == name:
                found.append(pid)
    return found


def kill(pid, wait=True, how=signal.SIGKILL):
    """Kills a process; one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
    if wait:
        wait_gone(pid)


def stop(pid):
    """Stops a process as a debugger or an overloaded host does, and waits until it stands."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state(pid) in ("T", "t", None), what=f"stop of process {pid}")


def cont(pid):
    """Lets a stopped process go on; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def stopped(pid):
    """with faults.stopped(pid): the process stands still inside."""
    stop(pid)
    try:
        yield
    finally:
        cont(pid)
