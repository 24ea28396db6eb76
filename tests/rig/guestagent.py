# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's guest agent for the tests' guest: Debian's package, unpacked into cache/guest-agent and not
installed, with hwclock, without which it sets no clock, and the libraries of both."""

import functools
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile

from . import paths

CACHE = paths.ROOT / "cache" / "guest-agent"
PACKAGE = "qemu-guest-agent"
PROGRAM = "usr/sbin/qemu-ga"


def _run(argv, cwd=None):
    done = subprocess.run(argv, cwd=cwd, text=True, capture_output=True, timeout=120, check=False)
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["nothing"]
        raise paths.Missing(f"no guest agent: {argv[0]} says: {words[-1]}")
    return done.stdout


def _fetch():
    """Only a whole tree gets its name."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="guest-agent.", dir=CACHE.parent) as work:
        _run(["apt-get", "-qq", "download", PACKAGE], cwd=work)
        (package,) = pathlib.Path(work).glob("*.deb")
        _run(["dpkg-deb", "-x", package, f"{work}/tree"])
        if not CACHE.exists():
            pathlib.Path(work, "tree").rename(CACHE)


@functools.cache
def files():
    """(name, mode, data) of the agent and its libraries, for the initrd."""
    program = CACHE / PROGRAM
    if not program.exists():
        _fetch()
    hwclock = shutil.which("hwclock", path="/usr/sbin:/sbin")
    if hwclock is None:
        raise paths.Missing("no guest agent: it sets no clock without hwclock (util-linux)")
    words = _run(["ldd", program]) + _run(["ldd", hwclock])
    if "not found" in words:
        raise paths.Missing(f"no guest agent: it lacks libraries: {words}")
    names = sorted(set(re.findall(r"(/\S+) \(0x", words)))
    regular = stat.S_IFREG | 0o755
    return [(PROGRAM, regular, program.read_bytes()),
            ("sbin/hwclock", regular, pathlib.Path(hwclock).read_bytes()),
            *((name.lstrip("/"), regular, pathlib.Path(name).read_bytes()) for name in names)]
