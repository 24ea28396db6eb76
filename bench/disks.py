#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The copy of a disk by godwit against QEMU's own mirror over tcp NBD, side by side.

A guest that stands still has one raw disk. It is mirrored to the other host until the mirror is READY, by QEMU
itself and through godwit's link in turn: over an unshaped link a disk full of bytes that cannot be made fewer, and
over 300 Mbit/s one that is half empty, the rest of it text. godwit's time begins with its step `disks`, before
anything is connected, QEMU's with the command.

Usage: bench/disks.py [--pairs 3]    Prints a table in markdown.
"""

import argparse
import os
import pathlib
import random
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

import rig  # noqa: E402  (the path comes first)
from rig import faults  # noqa: E402

MIB = 1 << 20
WORDS = ("move host guest disk page link lane path byte frame block mirror source request answer session error "
         "window copy state 0 1 17 4096 is has of the and not before after\n").split(" ")


def make_random(path):
    with open(path, "wb") as file:
        draw = random.Random(7)
        for _ in range(1024):
            file.write(draw.randbytes(MIB))


def make_text(path):
    """512 MiB, every other 8 MiB of them a hole."""
    with open(path, "wb") as file:
        file.truncate(512 * MIB)
        draw = random.Random(7)
        for start in range(0, 512, 16):
            file.seek(start * MIB)
            for _ in range(8):
                text = " ".join(f"{draw.choice(WORDS)} {draw.randrange(1 << 20):x}" for _ in range(110000))
                file.write(text.encode().ljust(MIB, b"\n")[:MIB])


def by_qemu(vm, net, directory):
    """Seconds to READY."""
    target = directory / "native.img"
    with open(target, "wb") as file:
        file.truncate((directory / "a" / "d0.img").stat().st_size)
    server = net.b.popen(["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-machine", "none",
                          "-qmp", f"unix:{directory}/server.sock,server=on,wait=off",
                          "-blockdev", f"driver=file,node-name=f0,filename={target},discard=unmap"],
                         log=directory / "server.log")
    with rig.Qmp(directory / "server.sock", 20) as there, vm.monitor() as here:
        there.execute("nbd-server-start", addr={"type": "inet", "data": {"host": net.b.address, "port": "10809"}})
        there.execute("block-export-add", type="nbd", id="e0",
                      **{"node-name": "f0", "name": "e0", "writable": True})
        here.execute("blockdev-add", driver="nbd", export="e0", discard="unmap", **{"node-name": "t0"},
                     server={"type": "inet", "host": net.b.address, "port": "10809"})
        began = time.monotonic()
        here.execute("blockdev-mirror", device="d0", target="t0", sync="full", **{"job-id": "m0"})
        faults.wait_until(lambda: here.execute("query-jobs")[0]["status"] == "ready", 300, "READY")
        seconds = time.monotonic() - began
        here.execute("block-job-cancel", device="m0")
        faults.wait_until(lambda: here.execute("query-jobs") == [], 30, "the end of the mirror")
        here.execute("blockdev-del", **{"node-name": "t0"})
    faults.kill(server.pid)
    target.unlink()
    return seconds


def by_godwit(vm, twin, agent):
    """Seconds to READY; the move is aborted then, while both copies are compared."""
    started = rig.start_migrate(vm, twin, agent, "--max-bandwidth", "2000M", "--no-rehearse")
    with vm.monitor() as here:
        faults.wait_until(lambda: any(job["status"] == "ready" for job in here.execute("query-jobs")), 300, "READY")
    started.signal()
    done = started.wait()
    if done.exit != 5:
        raise SystemExit(f"the move was not aborted: {done}")
    timeline = done.report["timeline"]
    [began] = [event["at_ms"] for event in timeline if event["event"] == "step" and event["detail"] == "disks"]
    [ready] = [event["at_ms"] for event in timeline if event["event"] == "disk-ready"]
    return (ready - began) / 1000


def measure(rate, make, pairs, directory):
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    make(directory / "a" / "d0.img")
    with rig.Net(rate) as net:
        vm = rig.Guest(net.a, directory / "a", mem="131064K", modules=["virtio_blk"], args=[
            "-blockdev", f"driver=file,node-name=f0,filename={directory}/a/d0.img",
            "-blockdev", "driver=raw,node-name=d0,file=f0", "-device", "virtio-blk-pci,drive=d0"])
        vm.start(paused=True)
        faults.wait_until(vm.qmp_path.exists, 20, "the monitor")
        twin, agent = vm.twin(net.b, directory / "b"), rig.Agent(net.b, directory / "agent")
        own, ours = [], []
        for _ in range(pairs):
            own.append(by_qemu(vm, net, directory))
            ours.append(by_godwit(vm, twin, agent))
        return own, ours


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--pairs", type=int, default=3)
    pairs = parser.parse_args().pairs
    print("| link | disk | QEMU's mirror, s | godwit, s | time by QEMU's |\n| --- | --- | --- | --- | --- |")
    for rate, make, about in ((None, make_random, "1 GiB, random bytes"),
                              ("300mbit", make_text, "512 MiB, half empty, text")):
        with tempfile.TemporaryDirectory(prefix="godwit-disks-") as directory:
            os.environ["GODWIT_STATE"] = f"{directory}/state"
            own, ours = measure(rate, make, pairs, pathlib.Path(directory))
        cells = [" ".join(f"{second:.2f}" for second in sorted(row)) for row in (own, ours)]
        ratio = statistics.median(ours) / statistics.median(own)
        print(f"| {rate or 'unshaped'} | {about} | {cells[0]} | {cells[1]} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
