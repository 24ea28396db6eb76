# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may write an image, by the locks that QEMU holds on it: a witness besides the ticks, which a guest that
hangs does not send."""

import contextlib
import os
import threading
import time

from . import faults

# QEMU's block/file-posix.c: a shared lock on RAW_LOCK_PERM_BASE + the bit of each permission in use. BLK_PERM_WRITE
# is held by a QEMU whose guest may run; one that waits for its state, or has handed it over, has let go of it.
WRITE_BYTE = 100 + 1
LOOK_S = 0.01
LOCKS_BYTES = 1 << 20


def _is_of_writer(words, inode):
    """Whether these words of /proc/locks ("OFDLCK ADVISORY READ -1 08:01:123 100 103") are a writer's lock."""
    if len(words) < 7 or words[0] != "OFDLCK" or words[4].rpartition(":")[2] != inode:
        return False
    last = WRITE_BYTE if words[6] == "EOF" else int(words[6])
    return int(words[5]) <= WRITE_BYTE <= last


def count(path):
    """How many open files hold it for writing, in whatever process."""
    inode = str(os.stat(path).st_ino)
    with open("/proc/locks", "rb", buffering=0) as file:
        text = file.read(LOCKS_BYTES).decode("ascii")  # of one moment: the kernel holds its lists for one read
    # "1: OFDLCK ..."; one that waits is "1: -> OFDLCK ..."
    return sum(_is_of_writer(line.split()[1:], inode) for line in text.splitlines())


def writers(pids, path):
    """Those of the processes that hold it for writing."""
    inode, found = str(os.stat(path).st_ino), []
    for pid in pids:
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fdinfo"):
                with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
                    lines = [line.split()[2:] for line in file if line.startswith("lock:")]
                if any(_is_of_writer(words, inode) for words in lines):
                    found.append(pid)
    return found


class Watch:
    """with Watch(path) as watch: looks a hundred times a second how many hold it. watch.most is the most, watch.looks the
    number of times, watch.seen what there was to see when it was more than one."""

    def __init__(self, path):
        self._path, self._ended = path, threading.Event()
        self.most, self.looks, self.seen = 0, 0, []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(10)

    def _run(self):
        while not self._ended.is_set():
            self.looks += 1
            number = count(self._path)
            if number > 1:
                holders = [(pid, faults.line(pid)) for pid in writers(filter(str.isdigit, os.listdir("/proc")), self._path)]
                self.seen.append((time.monotonic(), number, holders))
            self.most = max(self.most, number)
            time.sleep(LOOK_S)
