#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the link costs beside bare TLS, and how long an urgent message takes beside bulk; see bench/link.c.

Usage: bench/link.py [--pairs 5] [--mib 1024] [--rate 1gbit] [--seconds 10]
"""

import argparse
import os
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import rig  # noqa: E402  (the path comes first)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", default="5")
    parser.add_argument("--mib", default="1024")
    parser.add_argument("--rate", default="1gbit")
    parser.add_argument("--seconds", default="10")
    args = parser.parse_args()
    build = pathlib.Path(os.environ.get("GODWIT_BUILD", ROOT / "build"))
    env = os.environ | {"GW_COURIER": str(build / "godwit-courier")}
    subprocess.run(["ninja", "-C", build, "bench/bench-link"], check=True, stdout=subprocess.DEVNULL)
    bench = build / "bench/bench-link"
    subprocess.run([bench, "--pairs", args.pairs, "--mib", args.mib], check=True, env=env)
    with rig.Net(args.rate) as net:
        print(f"\nOn a link of {args.rate}:", flush=True)
        subprocess.run([bench, "--source", net.a.netns, "--destination", net.b.netns, "--address", net.b.address,
                        "--seconds", args.seconds], check=True, env=env)


if __name__ == "__main__":
    main()
