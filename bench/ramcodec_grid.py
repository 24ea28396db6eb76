#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory by the RAM codec and by QEMU's own modes, all links and guests of docs/bench/ram-codec.md.

Usage: bench/ramcodec_grid.py [--only redis,...] [--pairs 5] [--limit 60] [--warm] [--out FILE]
As bench/ramcodec.py, for each line of the table below; --only takes those whose names are given.
"""

import sys

sys.dont_write_bytecode = True

import ramcodec  # noqa: E402  (the line above comes first)

# QEMU's plain mode and zstd do not end where the guest writes more than the link carries, so there they are left out.
CELLS = (  # name, link, guest, ways
    ("redis", "1gbit", "redis", "codec,off,plain,xbzrle,multifd,zstd"),
    ("redis", "300mbit", "redis", "codec,plain,xbzrle,multifd,zstd"),
    ("paced", "300mbit", "paced:50M/s", "codec,xbzrle"),
    ("paced", "300mbit", "paced:100M/s", "codec,xbzrle"),
    ("paced", "300mbit", "paced:200M/s", "codec,xbzrle"),
    ("paced", "300mbit", "paced:380M/s", "codec,xbzrle"),
    ("random", "1gbit", "random", "codec,off,plain"),
    ("fast", "none", "random", "codec,off,plain"),
    ("fast", "none", "idle", "codec,off,plain,multifd,zstd"),
    ("fast", "10gbit", "idle", "codec,off,plain,multifd,zstd"),
    ("cache", "1gbit", "cache", "codec,plain,zstd"),
    ("cache", "300mbit", "cache", "codec,plain,zstd"),
    ("slow", "100mbit", "idle", "codec,plain,xbzrle,zstd"),
    ("text", "300mbit", "text", "codec,plain,zstd"),
    ("qemu10", "1gbit", "redis", "codec10,zstd10"),
)


def main():
    parser = ramcodec.make_parser(5)
    parser.add_argument("--only", default=",".join(dict.fromkeys(cell[0] for cell in CELLS)))
    options = parser.parse_args()
    ramcodec.print_head()
    for name, link, load, ways in CELLS:
        if name in options.only.split(","):
            ramcodec.run_cell(link, load, ways, options)


if __name__ == "__main__":
    main()
