#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory on its way: QEMU's own modes beside godwit with and without its RAM codec.

One guest after the other, each moved once by each of the ways in turn; what passed the wire is what the
interfaces counted. A way that has not ended after --limit seconds is given up, and the table says so. zstd10 and
codec10 are the same with QEMU 10.0. --warm: see warm.py.

Usage: bench/ramcodec.py [--link 300mbit] [--load paced:100M/s,small:100M/s,random,text,idle,cache,redis]
                         [--ways codec,off,plain,xbzrle,multifd,zstd,zstd10,codec10] [--pairs 1] [--limit 60]
                         [--warm] [--out FILE]
Prints a table in markdown; --out adds each run to a file for bench/ramcodec_plot.py, one JSON object a line.
ramcodec_grid.py does all that is in docs/bench/ram-codec.md.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

import rig  # noqa: E402  (the path comes first)
import redis_guest  # noqa: E402
from usage import Usage  # noqa: E402
from warm import MEGABYTES, Warm  # noqa: E402

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
NATIVE["zstd10"] = NATIVE["zstd"]
GODWIT = {"codec": ("--codec", "auto"), "off": ("--codec", "off"), "codec10": ("--codec", "auto")}
QEMU10 = ("zstd10", "codec10")
COSTS = ("source courier", "destination courier", "source qemu", "destination qemu")
WARM_S = 3
BEGUN = 256 << 10  # bytes on the wire; what godwit does before is not measured


def make_load(name):
    """paced:RATE changes 16 words a page of a heap (small: of random pages) at that rate, one page after the other;
    random and text rewrite such content; idle does nothing."""
    kind, _, rate = name.partition(":")
    if kind == "idle":
        return rig.Load(mem="64M", dirty="0", content="text", fill="192M")
    content = {"paced": "heap"}.get(kind, kind)
    fill = "0" if kind in ("paced", "small") else "32M"
    return rig.Load(mem="256M", dirty=rate or "20M/s", content=content, fill=fill, fill_content=content,
                    order="sequential", check="1M/s")


def start_guest(net, load, way, directory):
    more = {"qemu": rig.qemu10.directory() / "qemu-system-x86_64"} if way in QEMU10 else {}
    if load in redis_guest.SCRIPTS:
        return redis_guest.start(net.a, directory, MEM, load, **more)
    return rig.Guest(net.a, directory / "a", load=make_load(load), mem=MEM, **more).start().wait_boot(120)


def start_agent(net, way, directory):
    if way not in QEMU10:
        return rig.Agent(net.b, directory / "agent")
    config = directory / "godwitd.conf"
    config.write_text(f"[qemu]\ndirectories={rig.qemu10.directory()}\n")
    return rig.Agent(net.b, directory / "agent", ("--config", config))


def measure_writing(vm):
    """Bytes of pages that the guest says it rewrites a second."""
    first = vm.report.wait_status()
    last = vm.report.wait_status(lambda status: status.seq >= first.seq + WARM_S)
    return (last.written - first.written) * 4096 / (last.seq - first.seq)


def move_by_godwit(vm, twin, agent, options, limit):
    done = rig.migrate(vm, twin, agent, "--no-rehearse", "--postcopy", "never", "--on-timeout", "abort",
                       "--timeout", str(limit), "--max-downtime", str(MAX_DOWNTIME_MS), "--progress", "none",
                       *options, timeout=limit + 60)
    if done.exit not in (0, 7):
        raise SystemExit(str(done))
    if done.exit == 7:
        return {}
    return {"ms": done.report["total_ms"] - done.report["setup_ms"], "said_ms": done.report["downtime_ms"],
            "rounds": done.report["rounds"], "codec": done.report["codec"], "timeline": done.report["timeline"]}


def move_by_qemu(vm, twin, capabilities, parameters, limit):
    try:
        native = rig.native_migrate(vm, twin, capabilities, {**parameters, "downtime-limit": MAX_DOWNTIME_MS},
                                    timeout=limit)
    except TimeoutError:
        return {}
    return {"ms": native.total_ms, "said_ms": native.downtime_ms}


def tell_costs(usage):
    told = {}
    for name in COSTS:
        cost = usage.total(name)
        if cost:
            told[name] = {"cpu_s": cost.seconds, "peak_bytes": cost.peak_bytes}
    return told


def measure(link, load, way, options, directory):
    """What came of one move, as a dictionary; without "ms" when it did not end."""
    os.environ["GODWIT_STATE"] = str(directory / "state")
    with rig.Net(None if link == "none" else link) as net:
        vm = start_guest(net, load, way, directory)
        run = {"link": link, "load": load, "way": way, "writes": measure_writing(vm)}
        twin = vm.twin(net.b, directory / "b")
        agent = start_agent(net, way, directory) if way in GODWIT else None
        with vm.monitor() as monitor:
            cpus = [cpu["thread-id"] for cpu in monitor.execute("query-cpus-fast")]
        with Warm(MEGABYTES if options.warm else 0) as warm, Usage(vm.process.pid, cpus) as usage:
            before = net.wire_bytes()[0]
            warm.go_when(lambda: net.wire_bytes()[0] - before > BEGUN)
            run.update(move_by_godwit(vm, twin, agent, GODWIT[way], options.limit) if agent
                       else move_by_qemu(vm, twin, *NATIVE[way], options.limit))
        run["wire"] = net.wire_bytes()[0] - before
        run["costs"] = tell_costs(usage)
        if "ms" in run:
            vm.ticks.wait_side("b", 200)
            run["seen_ms"] = vm.ticks.move("a", "b").switch_ms
    return run


def span(runs, key, scale=1, form="{:.1f}"):
    """Median and range."""
    values = sorted(run[key] / scale for run in runs if run.get(key) is not None)
    if not values:
        return "-"
    middle = form.format(statistics.median(values))
    ends = [form.format(value) for value in (values[0], values[-1])]
    return middle if ends[0] == ends[1] else f"{middle} ({ends[0]} to {ends[1]})"


def costs(runs, name, key, scale, form):
    return span([run["costs"].get(name, {}) for run in runs], key, scale, form)


def print_head():
    """A GiB of guest memory, so the processor's seconds are those for one."""
    print("| link | guest | way | s | wire, MB | downtime, ms: guest's | told | CPU s: source courier, "
          "destination's, source QEMU, destination's | couriers' peaks, MB | ended |")
    print("| --- " * 10 + "|")


def print_row(runs):
    first, ended = runs[0], sum("ms" in run for run in runs)
    print(f"| {first['link']} | {first['load']} | {first['way']} | {span(runs, 'ms', 1e3, '{:.2f}')} | "
          f"{span(runs, 'wire', 1e6, '{:.0f}')} | {span(runs, 'seen_ms', 1, '{:.0f}')} | "
          f"{span(runs, 'said_ms', 1, '{:.0f}')} | "
          f"{', '.join(costs(runs, name, 'cpu_s', 1, '{:.2f}') for name in COSTS)} | "
          f"{', '.join(costs(runs, name, 'peak_bytes', 1e6, '{:.0f}') for name in COSTS[:2])} | "
          f"{ended} of {len(runs)} |", flush=True)


def run_cell(link, load, ways, options):
    """All pairs of one link and guest; prints a row for each way."""
    results = {way: [] for way in ways.split(",")}
    for _ in range(options.pairs):
        for way, seen in results.items():
            with tempfile.TemporaryDirectory() as name:
                seen.append(measure(link, load, way, options, pathlib.Path(name)))
            if options.out:
                with open(options.out, "a", encoding="utf-8") as out:
                    out.write(json.dumps(seen[-1]) + "\n")
    for seen in results.values():
        print_row(seen)


def make_parser(pairs):
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=pairs)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    return parser


def main():
    parser = make_parser(1)
    parser.add_argument("--link", default="300mbit")
    parser.add_argument("--load", default="paced:100M/s")
    parser.add_argument("--ways", default="codec,off,plain,xbzrle,multifd,zstd")
    options = parser.parse_args()
    print_head()
    for load in options.load.split(","):
        run_cell(options.link, load, options.ways, options)


if __name__ == "__main__":
    main()
