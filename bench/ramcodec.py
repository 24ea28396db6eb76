#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory on its way: QEMU's own modes beside godwit with and without its RAM codec.

One guest after the other, each moved once by each of the ways in turn; what passed the wire is what the
interfaces counted. A way that has not ended after --limit seconds is given up, and the table says so.

Usage: bench/ramcodec.py [--link 300mbit] [--load paced:100M/s,random,text,idle] [--ways codec,off,plain,xbzrle,zstd]
                         [--pairs 1] [--limit 60]           Prints a table in markdown.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

import rig  # noqa: E402  (the path comes first)

MEM = "1048568K"
MAX_DOWNTIME_MS = 300
CHANNELS = {"multifd-channels": 2}
XBZRLE = {"xbzrle-cache-size": 512 << 20}
NATIVE = {
    "plain": ((), {}),
    "xbzrle": (("xbzrle",), XBZRLE),
    "multifd": (("multifd",), CHANNELS),
    "zstd": (("multifd",), {**CHANNELS, "multifd-compression": "zstd", "multifd-zstd-level": 1}),
}
GODWIT = {"codec": ("--codec", "auto"), "off": ("--codec", "off")}


def make_load(name):
    """paced:RATE writes small changes at that rate; random and text rewrite such content; idle does nothing."""
    kind, _, rate = name.partition(":")
    if kind == "idle":
        return rig.Load(mem="64M", dirty="0", content="text", fill="192M")
    content = {"paced": "small"}.get(kind, kind)
    fill = content if kind in ("random", "text") else "text"
    return rig.Load(mem="256M", dirty=rate or "20M/s", content=content, fill="32M", fill_content=fill, check="1M/s")


def move_by_godwit(vm, twin, agent, options, limit):
    done = rig.migrate(vm, twin, agent, "--no-rehearse", "--postcopy", "never", "--on-timeout", "abort",
                       "--timeout", str(limit), "--max-downtime", str(MAX_DOWNTIME_MS), "--progress", "none",
                       *options, timeout=limit + 60)
    if done.exit == 7:
        return None
    if done.exit != 0:
        raise SystemExit(str(done))
    return done.report["total_ms"] - done.report["setup_ms"]


def move_by_qemu(vm, twin, capabilities, parameters, limit):
    try:
        native = rig.native_migrate(vm, twin, capabilities, {**parameters, "downtime-limit": MAX_DOWNTIME_MS},
                                    timeout=limit)
    except TimeoutError:
        return None
    return native.total_ms


def measure(link, load, way, limit, directory):
    """(milliseconds or None when it did not end, wire bytes, downtime in ms that the guest saw)."""
    os.environ["GODWIT_STATE"] = str(directory / "state")
    with rig.Net(None if link == "none" else link) as net:
        vm = rig.Guest(net.a, directory / "a", load=make_load(load), mem=MEM).start().wait_boot(120)
        twin = vm.twin(net.b, directory / "b")
        agent = rig.Agent(net.b, directory / "agent") if way in GODWIT else None
        before = net.wire_bytes()[0]
        if agent:
            took_ms = move_by_godwit(vm, twin, agent, GODWIT[way], limit)
        else:
            took_ms = move_by_qemu(vm, twin, *NATIVE[way], limit)
        wire = net.wire_bytes()[0] - before
        if took_ms is None:
            return None, wire, None
        vm.ticks.wait_side("b", 200)
        return took_ms, wire, vm.ticks.move("a", "b").switch_ms


def median(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def tell(value, scale, form):
    return "-" if value is None else form.format(value / scale)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--link", default="300mbit")
    parser.add_argument("--load", default="paced:100M/s")
    parser.add_argument("--ways", default="codec,off,plain,xbzrle,zstd")
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--limit", type=int, default=60)
    options = parser.parse_args()
    print("| link | guest | way | s | wire, MB | guest's downtime, ms | ended |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for load in options.load.split(","):
        results = {way: [] for way in options.ways.split(",")}
        for _ in range(options.pairs):
            for way, seen in results.items():
                with tempfile.TemporaryDirectory() as name:
                    seen.append(measure(options.link, load, way, options.limit, pathlib.Path(name)))
        for way, seen in results.items():
            ms, wire, down = (median([row[i] for row in seen]) for i in range(3))
            ended = sum(row[0] is not None for row in seen)
            print(f"| {options.link} | {load} | {way} | {tell(ms, 1e3, '{:.2f}')} | {tell(wire, 1e6, '{:.0f}')} | "
                  f"{tell(down, 1, '{:.0f}')} | {ended} of {len(seen)} |", flush=True)


if __name__ == "__main__":
    main()
