#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Postcopy, side by side: how long does a guest wait for a page that has not come yet?

One busy guest goes over a shaped link by postcopy from the start: by godwit, by QEMU's own tcp: migration, and by that
with the preempt capability, in turn. The destination's QEMU itself says when it asked for a page
(postcopy_ram_fault_thread_request) and when the page was there (postcopy_place_page), by its own
trace; meanwhile the rest of the memory fills the link.

Usage: bench/postcopy.py [--rounds 3] [--link 1gbit] [--qemu old|new]    Prints a table in markdown.
`new` is QEMU 10.0 on both sides (tests/rig/qemu10.py), with which godwit uses the preempt capability too; old is
the host's own.
"""

import argparse
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

import rig  # noqa: E402  (the path comes first)
from rig import faults  # noqa: E402

LOAD = rig.Load(mem="64M", dirty="60M/s", content="random", fill="256M", fill_content="random")
EVENTS = ("postcopy_ram_fault_thread_request", "postcopy_place_page", "postcopy_place_page_zero")
LINE = re.compile(rb"@(\d+\.\d+):(postcopy_\w+) .*?(?:HVA|host)=(0x[0-9a-f]+)")


def trace(twin):
    """The destination's QEMU writes these events to its standard error from now on."""
    with twin.monitor(30) as monitor:
        for event in EVENTS:
            monitor.execute("trace-event-set-state", name=event, enable=True)


def read_waits_ms(log):
    """Milliseconds from each request to its page."""
    asked, waits = {}, []
    for line in pathlib.Path(log).read_bytes().splitlines():
        found = LINE.search(line)
        if not found:
            continue
        at, event, address = float(found[1]), found[2], int(found[3], 16) & ~4095
        if event == b"postcopy_ram_fault_thread_request":
            asked.setdefault(address, at)
        elif address in asked:
            waits.append((at - asked.pop(address)) * 1000)
    return waits


def by_godwit(vm, twin, agent):
    started = rig.start_migrate(vm, twin, agent, "--settle", "0", "--postcopy", "now")
    faults.wait_until(lambda: 'phase="copying memory"' in started.stderr(), 60, "precopy")
    trace(twin)
    done = started.wait(300)
    if done.exit != 0 or done.report["mode"] != "postcopy":
        raise SystemExit(f"the migration failed: {done}")
    (log,) = agent.state.glob("vms/*/qemu.log")
    return log


def by_qemu(vm, twin, preempt, port):
    names = ["events", "postcopy-ram"] + (["postcopy-preempt"] if preempt else [])
    capabilities = [{"capability": name, "state": True} for name in names]
    uri = f"tcp:{twin.host.address}:{port}"
    twin.start(incoming=True)
    with vm.monitor() as source, twin.monitor() as destination:
        for monitor in (source, destination):
            monitor.execute("migrate-set-capabilities", capabilities=capabilities)
        source.execute("migrate-set-parameters", {"max-bandwidth": 0})
        destination.execute("migrate-incoming", uri=uri)
    trace(twin)
    with vm.monitor() as source:
        source.execute("migrate", uri=uri)
        faults.wait_until(lambda: source.execute("query-migrate")["status"] == "active", 120, "precopy", 0.01)
        source.execute("migrate-start-postcopy")
        faults.wait_until(lambda: source.execute("query-migrate")["status"] == "completed", 120,
                          "the end", 0.05)
    log = twin.directory / "qemu.log"
    vm.stop()
    return log


def start_agent(net, directory, new):
    """An agent on b, which takes its QEMUs from the directory `new` if there is one."""
    if new is None:
        return rig.Agent(net.b, directory / "agent")
    config = directory / "godwitd.conf"
    config.write_text(f"[qemu]\ndirectories={new}\n")
    return rig.Agent(net.b, directory / "agent", ["--config", config])


def measure(way, link, new, number, directory):
    """(waits in ms, gap in ms that the guest saw at the switch) of one move."""
    qemu = f"{new}/qemu-system-x86_64" if new else "qemu-system-x86_64"
    with rig.Net(link) as net:
        vm = rig.Guest(net.a, directory / "a", load=LOAD, qemu=qemu, args=["-msg", "timestamp=on"])
        vm.start().wait_boot(120)
        twin = vm.twin(net.b, directory / "b")
        if way == "godwit":
            log = by_godwit(vm, twin, start_agent(net, directory, new))
        else:
            log = by_qemu(vm, twin, "preempt" in way, 4800 + number)
        vm.ticks.wait_side("b", 300, timeout=60)
        waits, gap = read_waits_ms(log), vm.ticks.move("a", "b").switch_ms
        vm.report.check(120)
    return waits, gap


def at(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--link", default="1gbit")
    parser.add_argument("--qemu", choices=("old", "new"), default="old")
    options = parser.parse_args()
    new = rig.qemu10.directory() if options.qemu == "new" else None
    ways = ("godwit", "QEMU's tcp, preempt", "QEMU's tcp")
    waits, gaps = {way: [] for way in ways}, {way: [] for way in ways}
    for number in range(options.rounds * len(ways)):
        way = ways[number % len(ways)]
        with tempfile.TemporaryDirectory() as name:
            os.environ["GODWIT_STATE"] = f"{name}/state"
            began = time.monotonic()
            one, gap = measure(way, options.link, new, number, pathlib.Path(name))
            waits[way] += one
            gaps[way].append(gap)
            print(f"{way}: {len(one)} requests, {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(f"\n| {options.link}, {options.qemu} QEMU | requests | mean ms | p50 ms | p99 ms | most ms "
          "| guest's gap at the switch, ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for way in ways:
        w = waits[way] or [float("nan")]
        print(f"| {way} | {len(waits[way])} | {statistics.mean(w):.2f} | {at(w, .5):.2f} | {at(w, .99):.2f} "
              f"| {max(w):.2f} | {statistics.median(gaps[way]):.0f} |")


if __name__ == "__main__":
    main()
