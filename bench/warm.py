# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory that this machine really has, for what is measured.

A machine that is a virtual one itself may give free memory back to its hypervisor, and who takes it first pays for getting it
again: 2.3 s of a processor for a GiB where this was written, 0.1 s for memory that is there. Which process meets how much of that
is chance, so it is gone through beforehand: a child of ours takes so much, and lets go of it, slice by slice, while the migration
runs. Who asks for memory gets what was let go of last.
"""

import mmap
import subprocess
import sys
import threading
import time

MEGABYTES = 4096
FIRST, SLICE = 512 << 20, 128 << 20
EVERY_S = 0.15
LOOK_S = 0.05


class Warm:
    """go_when() has begun, the memory is let go of; what is left goes when this ends."""

    def __init__(self, megabytes=MEGABYTES):
        self._megabytes = megabytes
        self._child = self._thread = None
        self._end = threading.Event()

    def __enter__(self):
        if self._megabytes:
            self._child = subprocess.Popen([sys.executable, "-B", __file__, str(self._megabytes)], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE)
            self._child.stdout.readline()
        return self

    def go_when(self, has_begun):
        """Asks twenty times a second, in a thread."""
        def wait():
            while not self._end.wait(LOOK_S):
                if has_begun():
                    self._child.stdin.write(b"\n")
                    self._child.stdin.flush()
                    return
        if self._child:
            self._thread = threading.Thread(target=wait, daemon=True)
            self._thread.start()

    def __exit__(self, *_):
        self._end.set()
        if self._thread:
            self._thread.join()
        if self._child:
            self._child.kill()
            self._child.communicate()


def main():
    bytes_ = int(sys.argv[1]) << 20
    memory = mmap.mmap(-1, bytes_, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    for at in range(0, bytes_, mmap.PAGESIZE):
        memory[at] = 1
    print(flush=True)
    sys.stdin.readline()
    memory.madvise(mmap.MADV_DONTNEED, 0, min(FIRST, bytes_))
    for at in range(FIRST, bytes_, SLICE):
        time.sleep(EVERY_S)
        memory.madvise(mmap.MADV_DONTNEED, at, min(SLICE, bytes_ - at))


if __name__ == "__main__":
    main()
