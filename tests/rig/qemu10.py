# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU 10.0 of Debian 13 beside the installed one.

Its packages are unpacked into cache/qemu10, nothing is installed. A wrapper, which has the name of
the program and lies in a directory of its own, runs it in a mount namespace where that tree's /usr
lies over the machine's: program, libraries and firmware are then at their usual places, and all
other paths are those that everybody sees. Process id and command line are the program's.
"""

import contextlib
import fcntl
import functools
import pathlib
import shutil
import subprocess
import tempfile

from . import paths

CACHE = paths.ROOT / "cache" / "qemu10"
SUITE = "trixie"
PROGRAM = "qemu-system-x86_64"
DROPPED = ("share/doc", "share/man", "share/locale", "share/i18n", "share/zoneinfo")

WRAPPER = """\
#!/bin/sh
exec unshare --mount --propagation private -- sh -c 'mount --bind "$0" /usr && exec "$@"' \\
    {usr} /usr/bin/{program} "$@"
"""


def _run(argv, timeout):
    """Runs a program; its last words become the reason why QEMU 10.0 cannot be had."""
    try:
        done = subprocess.run(argv, text=True, timeout=timeout, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        raise paths.Missing(f"no QEMU 10.0: {argv[0]} has not ended in {timeout} s") from None
    if done.returncode != 0:
        words = done.stdout.strip().splitlines() or ["nothing"]
        raise paths.Missing(f"no QEMU 10.0: {argv[0]} says: {words[-1]}")


def _download(into):
    """The packages that the program needs, by debootstrap, which knows how to verify them."""
    if shutil.which("debootstrap") is None:
        raise paths.Missing("no QEMU 10.0: debootstrap is not installed")
    _run(["debootstrap", "--variant=minbase", "--download-only", "--include=qemu-system-x86",
          SUITE, into], 600)


def _unpack(packages, into):
    for package in packages.glob("*.deb"):
        _run(["dpkg-deb", "-x", package, into], 120)
    for name in DROPPED:
        shutil.rmtree(into / "usr" / name, ignore_errors=True)


def _make(cache):
    """Makes the cache; only a whole one gets its name."""
    with tempfile.TemporaryDirectory(prefix=f"{cache.name}.", dir=cache.parent) as work:
        work = pathlib.Path(work)
        _download(work / "packages")
        _unpack(work / "packages/var/cache/apt/archives", work / "tree")
        made = work / "made"
        (made / "bin").mkdir(parents=True)
        (work / "tree/usr").rename(made / "usr")
        wrapper = made / "bin" / PROGRAM
        wrapper.write_text(WRAPPER.format(usr=cache / "usr", program=PROGRAM))
        wrapper.chmod(0o755)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(cache)
        made.rename(cache)


@functools.cache
def directory():
    """The directory with the wrapper; the first call may take a minute. Missing when there is
    no way to have it."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with open(CACHE.parent / "qemu10.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wrapper = CACHE / "bin" / PROGRAM
        # the tree may have been moved with its wrapper
        if not wrapper.exists() or f" {CACHE}/usr " not in wrapper.read_text():
            _make(CACHE)
    _run([wrapper, "-version"], 20)
    return wrapper.parent
