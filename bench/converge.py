#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that write at q times what the link carries: every move ends, and how.

For each q the guest rewrites 32 MiB of random content at q times the rate of the link, with godwit's
default policy, and again where postcopy is forbidden and giving up allowed.

Usage: bench/converge.py [--link 100mbit] [--q 0,0.1,0.5,0.9,1.5,5] [--svg FILE]   Prints a table in markdown.
"""

import argparse
import os
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

import rig  # noqa: E402  (the path comes first)

MAX_DOWNTIME_MS = 300
MEM = "131064K"
BITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


def move(link, q, options, directory):
    """(Done, downtime in ms that the guest saw or None, worst tick without a move in ms)."""
    bytes_a_second = float(link[:-4]) * BITS[link[-4:]] / 8
    load = rig.Load(mem="32M", dirty=f"{int(q * bytes_a_second / 1024)}K/s", content="random",
                    fill="8M", fill_content="random")
    os.environ["GODWIT_STATE"] = str(directory / "state")
    with rig.Net(link) as net:
        vm = rig.Guest(net.a, directory / "a", load=load, mem=MEM).start().wait_boot(120)
        vm.ticks.wait_side("a", 2000)
        noise = vm.ticks.jitter("a").max_ms
        twin, agent = vm.twin(net.b, directory / "b"), rig.Agent(net.b, directory / "agent")
        done = rig.migrate(vm, twin, agent, "--max-downtime", str(MAX_DOWNTIME_MS), "--progress", "none",
                           *options, timeout=600)
        seen = None
        if done.exit == 0:
            vm.ticks.wait_side("b", 300)
            seen = vm.ticks.move("a", "b").switch_ms
        vm.report.check(120)
    return done, seen, noise


POLICIES = {"default": (), "never, abort": ("--postcopy", "never", "--on-timeout", "abort")}


def bar(x, y, width, height, colour, text):
    return (f'<rect x="{x:.0f}" y="{y:.0f}" width="{width}" height="{height:.0f}" fill="{colour}"/>'
            f'<text x="{x + width / 2:.0f}" y="{y - 4:.0f}" font-size="10" text-anchor="middle">{text}</text>')


def plot(rows, link):
    """Total seconds of each move, by q, as SVG."""
    top, height, colours = max(row[3] for row in rows), 220, {"precopy": "#4878a8", "postcopy": "#d08030",
                                                              "gave up": "#a0a0a0"}
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="320" font-family="sans-serif">'
             f'<text x="20" y="20" font-size="13">Seconds until the end over {link}, --max-downtime '
             f'{MAX_DOWNTIME_MS}: blue precopy, orange postcopy, grey gave up (exit 7)</text>']
    for i, (q, policy, how, seconds, *_) in enumerate(rows):
        x, tall = 30 + i * 60, seconds / top * height
        parts.append(bar(x, 270 - tall, 40, tall, colours[how], f"{seconds:.0f} s"))
        parts.append(f'<text x="{x + 20}" y="285" font-size="10" text-anchor="middle">q {q}</text>'
                     f'<text x="{x + 20}" y="298" font-size="9" text-anchor="middle">{policy}</text>')
    return "\n".join(parts) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--link", default="100mbit")
    parser.add_argument("--q", default="0,0.1,0.5,0.9,1.5,5")
    parser.add_argument("--svg")
    options = parser.parse_args()
    rows = []
    print("| q | policy | how it ended | s | rounds | guest's downtime, ms | tick noise, ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for q in options.q.split(","):
        for policy, words in POLICIES.items():
            with tempfile.TemporaryDirectory() as name:
                done, seen, noise = move(options.link, float(q), words, pathlib.Path(name))
            how = done.report["mode"] if done.exit == 0 else "gave up"
            if done.exit not in (0, 7):
                raise SystemExit(f"q {q}, {policy}: {done}")
            row = (q, policy, how, done.report["total_ms"] / 1000, done.report["rounds"],
                   "-" if seen is None else f"{seen:.0f}", f"{noise:.0f}")
            rows.append(row)
            print(f"| {q} | {policy} | {how} | {row[3]:.1f} | {row[4]} | {row[5]} | {row[6]} |", flush=True)
    if options.svg:
        pathlib.Path(options.svg).write_text(plot(rows, options.link), encoding="ascii")


if __name__ == "__main__":
    main()
