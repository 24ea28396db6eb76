#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""godwit against QEMU's own tcp: migration, side by side: what does carrying the stream cost?

One guest (1 GiB, 512 MiB of it filled with content that is not zero) goes to and fro between two
hosts, by QEMU's own tcp: migration and by godwit in turn. Both totals begin before the destination's
QEMU is started and end when the guest runs there and, for godwit, everything is cleaned up. The
downtime is the guest's own: from the last tick on one side to the first on the other, stamped by one clock.

What is compared is the carrying. godwit's rehearsal, which QEMU's own migration has no counterpart of, is
left out (--no-rehearse), unless --rehearse asks for it.

Usage: bench/pass.py [--pairs 5] [--links 1gbit,unshaped] [--rehearse]    Prints a table in markdown.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

import rig  # noqa: E402  (the path comes first)

DOWNTIME_MS = 300


def busy_seconds():
    """(busy, stolen) seconds of all processors so far."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    ticks = os.sysconf("SC_CLK_TCK")
    return sum(fields[:3] + fields[5:7]) / ticks, fields[7] / ticks


def by_qemu(vm, twin):
    began = time.monotonic()
    rig.native_migrate(vm, twin, capabilities=["events", "return-path"],
                       parameters={"downtime-limit": DOWNTIME_MS, "max-bandwidth": 0})
    total_ms = (time.monotonic() - began) * 1000
    vm.stop()
    return total_ms


def by_godwit(vm, twin, agents, options):
    done = rig.migrate(vm, twin, agents[twin.side], "--max-downtime", str(DOWNTIME_MS), "--progress", "none",
                       "--settle", "0", *options)
    if done.exit != 0:
        raise SystemExit(f"the migration failed: {done}")
    return done.seconds * 1000


def measure(link, pairs, directory, options):
    """{"qemu": [...], "godwit": [...]} of (total ms, tick gap ms, cpu seconds)."""
    figures = {"qemu": [], "godwit": []}
    with rig.Net(None if link == "unshaped" else link) as net:
        hosts = {"a": net.a, "b": net.b}
        agents = {name: rig.Agent(host, directory / f"agent-{name}") for name, host in hosts.items()}
        vm = rig.Guest(net.a, directory / "vm0", mem="1048568K",
                       load=rig.Load(mem="4M", fill="512M", fill_content="random", check="0"))
        vm.start().wait_boot(120)
        for i in range(2 * pairs):
            kind = ("qemu", "godwit")[i % 2] if i // 2 % 2 == 0 else ("godwit", "qemu")[i % 2]
            other = "b" if vm.side == "a" else "a"
            twin = vm.twin(hosts[other], directory / f"vm{i + 1}")
            mark, (busy, _) = vm.ticks.mark(), busy_seconds()
            total_ms = by_qemu(vm, twin) if kind == "qemu" else by_godwit(vm, twin, agents, options)
            cpu = busy_seconds()[0] - busy
            vm.ticks.wait_side(other, 500, since=mark)
            gap_ms = vm.ticks.move(vm.side, other, since=mark).switch_ms
            figures[kind].append((total_ms, gap_ms, cpu))
            print(f"{link} {kind:6} total {total_ms:7.0f} ms  gap {gap_ms:5.0f} ms  cpu {cpu:5.2f} s", file=sys.stderr)
            vm = twin
        vm.report.check(120)
    return figures


def row(link, figures):
    def median(kind, column):
        return statistics.median(figure[column] for figure in figures[kind])

    def spread(kind, column):
        values = [figure[column] for figure in figures[kind]]
        return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"
    return (f"| {link} | {spread('qemu', 0)} | {spread('godwit', 0)} | {median('godwit', 0) / median('qemu', 0):.2f} "
            f"| {spread('qemu', 1)} | {spread('godwit', 1)} | {median('godwit', 1) - median('qemu', 1):+.0f} "
            f"| {median('qemu', 2):.1f} | {median('godwit', 2):.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--links", default="1gbit,unshaped")
    parser.add_argument("--rehearse", action="store_true")
    args = parser.parse_args()
    options = [] if args.rehearse else ["--no-rehearse"]
    print("| link | QEMU total ms | godwit total ms | ratio | QEMU gap ms | godwit gap ms | difference | QEMU cpu s | godwit cpu s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for link in args.links.split(","):
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            os.environ["GODWIT_STATE"] = f"{directory}/state"
            print(row(link, measure(link, args.pairs, pathlib.Path(directory), options)), flush=True)


if __name__ == "__main__":
    main()
