# SPDX-License-Identifier: LGPL-2.1-or-later
"""A witness between QEMU and the courier: what passes each lane, by length and SHA-256.

`build(directory)` makes a directory with the programs under test in which godwit-courier is this file: it
gives the courier sockets of its own, stands between those and QEMU's, and becomes the courier. Nothing in
the product knows of it.
"""

import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import socket
import sys
import threading
import time

PIECE = 1 << 18
SUFFIX = ".tee"


def build(directory, paths):
    """Makes the directory of programs; `paths` is rig.paths. What was seen goes to `directory`/seen."""
    directory = pathlib.Path(directory)
    (directory / "seen").mkdir(parents=True)
    for name in ("godwit", "godwitd"):
        shutil.copy(paths.program(name), directory / name)
    (directory / "tests").symlink_to(paths.BUILD / "tests")
    wrapper = directory / "godwit-courier"
    wrapper.write_text(f"#!/bin/sh\nexec /usr/bin/python3 -B {__file__} {directory}/seen "
                       f"{paths.program('godwit-courier')} \"$@\"\n")
    wrapper.chmod(0o755)
    return directory


def seen(directory):
    """{side: {lane: {"out": [length, digest], "in": [...]}}}; out is from QEMU to the courier. The first
    connection of a lane has its name, the next ones are "NAME 1" and so on."""
    return {path.stem: json.loads(path.read_text())
            for path in (pathlib.Path(directory) / "seen").glob("*.json")}


class _Lane:
    """One connection: near is QEMU's end when the lane accepts, else the courier's."""

    def __init__(self, name, near, far, accepts):
        self.name = name
        self.figures = {}
        ends = ("out", "in") if accepts else ("in", "out")
        self.threads = [threading.Thread(target=self._pump, args=args)
                        for args in ((near, far, ends[0]), (far, near, ends[1]))]
        for thread in self.threads:
            thread.start()

    def _pump(self, source, sink, name):
        length, digest = 0, hashlib.sha256()
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                length += len(data)
                digest.update(data)
                sink.sendall(data)
        for end, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
            with contextlib.suppress(OSError):
                end.shutdown(how)
        self.figures[name] = [length, digest.hexdigest()]


def _stand(lanes, courier, report):
    """Serves the lanes until the courier has ended, then writes what was seen."""
    found = []

    def accept(name, listener, path, accepts):
        for number in itertools.count():
            near = listener.accept()[0]
            far = socket.socket(socket.AF_UNIX)
            far.connect(path)
            found.append(_Lane(f"{name} {number}" if number else name, near, far, accepts))
    for lane in lanes:
        threading.Thread(target=accept, args=lane, daemon=True).start()
    while os.getppid() == courier:
        time.sleep(0.02)
    for lane in found:
        for thread in lane.threads:
            thread.join(5)
    pathlib.Path(report).write_text(json.dumps({lane.name: lane.figures for lane in found}))
    os._exit(0)


def _take_lane(text):
    """("ram=accept:PATH...") -> the courier's own text for it, and what to serve."""
    name, _, rest = text.partition("=")
    verb, path, *more = rest.split(":")
    listener = socket.socket(socket.AF_UNIX)
    ours, theirs = (path, path + SUFFIX) if verb == "accept" else (path + SUFFIX, path)
    listener.bind(ours)
    listener.listen(16)
    text = ":".join([f"{name}={verb}", path + SUFFIX, *more])
    return text, (name, listener, theirs, verb == "accept")


def main(directory, courier, *argv):
    """Forks the witness and becomes the courier."""
    argv, lanes = list(argv), []
    side = argv[argv.index("--side") + 1]
    for i, word in enumerate(argv):
        if word == "--lane":
            argv[i + 1], lane = _take_lane(argv[i + 1])
            lanes.append(lane)
    pid = os.getpid()
    if os.fork() == 0:
        os.closerange(3, min(lane[1].fileno() for lane in lanes) if lanes else 3)
        _stand(lanes, pid, f"{directory}/{side}.json")
    for lane in lanes:
        lane[1].close()
    os.execv(courier, [courier, *argv])


if __name__ == "__main__":
    main(*sys.argv[1:])
