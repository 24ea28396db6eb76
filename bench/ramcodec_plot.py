#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The runs that bench/ramcodec.py kept with --out, as tables in markdown and bars in SVG.

Usage: bench/ramcodec_plot.py FILE [--svg FILE]
"""

import argparse
import json
import pathlib
import statistics
import sys

sys.dont_write_bytecode = True

import ramcodec  # noqa: E402  (the line above comes first)

COLOURS = {"codec": "#2a6f97", "off": "#89c2d9", "plain": "#a0a0a0", "xbzrle": "#d08030", "multifd": "#c0b090",
           "zstd": "#8a5a83", "zstd10": "#5a3a53", "codec10": "#013a63"}
FIGURES = (("ms", 1e3, "seconds"), ("wire", 1e6, "MB on the wire"), ("seen_ms", 1, "ms downtime, as the guest saw it"))
WIDTH, HEIGHT, LEFT, GAP = 900, 150, 60, 26


def group(runs):
    """{(link, load): {way: [run]}} in the order of the file."""
    cells = {}
    for run in runs:
        cells.setdefault((run["link"], run["load"]), {}).setdefault(run["way"], []).append(run)
    return cells


def values(runs, key, scale):
    return sorted(run[key] / scale for run in runs if run.get(key) is not None and "ms" in run)


def bars(cells, key, scale, title, top):
    """One row of bars; the line in each is the range."""
    most = max((max(values(runs, key, scale), default=0) for ways in cells.values() for runs in ways.values()), default=1)
    count = sum(len(ways) for ways in cells.values())
    step = (WIDTH - LEFT - GAP * len(cells)) / max(count, 1)
    parts, x, base = [f'<text x="{LEFT}" y="{top + 14}" font-size="13">{title}</text>'], LEFT, top + HEIGHT + 24
    for (link, load), ways in cells.items():
        parts.append(f'<text x="{x}" y="{base + 14}" font-size="10">{load}</text>'
                     f'<text x="{x}" y="{base + 26}" font-size="10">{link}</text>')
        for way, runs in ways.items():
            seen = values(runs, key, scale)
            middle = statistics.median(seen) if seen else 0
            tall, width = middle / most * HEIGHT, step * 0.85
            parts.append(f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" '
                         f'fill="{COLOURS.get(way, "#000")}"/>')
            if seen:
                ends = [base - value / most * HEIGHT for value in (seen[0], seen[-1])]
                parts.append(f'<line x1="{x + width / 2:.1f}" x2="{x + width / 2:.1f}" y1="{ends[0]:.1f}" '
                             f'y2="{ends[1]:.1f}" stroke="#000"/>')
            told = f"{middle:.1f}" if middle < 20 else f"{middle:.0f}"
            parts.append(f'<text x="{x + width / 2:.1f}" y="{base - tall - 4:.1f}" font-size="9" '
                         f'text-anchor="middle">{told if seen else "never"}</text>')
            x += step
        x += GAP
    return parts


def plot(cells):
    tall = len(FIGURES) * (HEIGHT + 80) + 40
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{tall}" font-family="sans-serif">',
             f'<rect width="{WIDTH}" height="{tall}" fill="#fff"/>']
    for i, (way, colour) in enumerate(COLOURS.items()):
        parts.append(f'<rect x="{LEFT + i * 110}" y="10" width="12" height="12" fill="{colour}"/>'
                     f'<text x="{LEFT + 18 + i * 110}" y="21" font-size="12">{way}</text>')
    for i, (key, scale, title) in enumerate(FIGURES):
        parts += bars(cells, key, scale, title, 40 + i * (HEIGHT + 80))
    return "\n".join(parts) + "\n</svg>\n"


def medians(ways, key):
    return {way: statistics.median(seen) for way, runs in ways.items() if (seen := values(runs, key, 1))}


def ratio(ways, key, way=None):
    """The codec's median by that of `way`, or of the best of QEMU's ways that ended, and which it is."""
    known = medians(ways, key)
    others = {other: value for other, value in known.items() if other in (ramcodec.NATIVE if way is None else (way,))}
    if "codec" not in known or not others:
        return "-"
    best = min(others, key=others.get)
    return f"{known['codec'] / others[best]:.2f}" + (f" of {best}" if way is None else "")


def cpu_ratio(ways):
    """What the source's courier takes by what QEMU's own threads take with zstd; without processors' threads."""
    told = [[run["costs"][name]["cpu_s"] for run in ways.get(way, ()) if name in run["costs"]]
            for way, name in (("codec", "source courier"), ("zstd", "source qemu"))]
    return f"{statistics.median(told[0]) / statistics.median(told[1]):.2f}" if all(told) else "-"


def print_ratios(cells):
    print("\n| link | guest | seconds | of plain | wire | of plain | guest's downtime | CPU of zstd |\n" + "| --- " * 8 + "|")
    for (link, load), ways in cells.items():
        told = (ratio(ways, "ms"), ratio(ways, "ms", "plain"), ratio(ways, "wire"), ratio(ways, "wire", "plain"),
                ratio(ways, "seen_ms"), cpu_ratio(ways))
        print(f"| {link} | {load} | {' | '.join(told)} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--svg", type=pathlib.Path)
    options = parser.parse_args()
    cells = group(json.loads(line) for line in options.file.read_text(encoding="utf-8").splitlines())
    ramcodec.print_head()
    for ways in cells.values():
        for runs in ways.values():
            ramcodec.print_row(runs)
    print_ratios(cells)
    if options.svg:
        options.svg.write_text(plot(cells), encoding="ascii")


if __name__ == "__main__":
    main()
