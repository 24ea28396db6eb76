# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest with a Debian system in its page cache, and redis at work or not, for bench/ramcodec.py.

Its disk is an ext4 made by debootstrap and mke2fs, kept in cache/redis; each run gets a copy. The tests' init mounts
it, and runs one of SCRIPTS in it: both read all files once, one fills redis and keeps on asking it.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile

import rig
from rig import paths

CACHE = paths.ROOT / "cache" / "redis"
SUITE = "bookworm"
MEGABYTES = 768
KEYS = 100_000
VALUE_BYTES = 512

READ_ALL = """\
#!/bin/sh
mount -t proc proc /proc
mount -t tmpfs tmpfs /tmp
find / -xdev -type f -exec cat '{}' + > /dev/null 2>&1
"""
ASK_REDIS = f"""\
cd /tmp
redis-server --port 0 --unixsocket /tmp/redis --save '' --appendonly no --daemonize yes > /dev/null
until redis-cli -s /tmp/redis ping > /dev/null 2>&1; do sleep 0.2; done
redis-benchmark -s /tmp/redis -q -P 16 -n {KEYS} -r {KEYS} -d {VALUE_BYTES} -t set > /dev/null
echo ready
exec redis-benchmark -s /tmp/redis -q -l -c 10 -n {KEYS} -r {KEYS} -d {VALUE_BYTES} -t set,get > /dev/null
"""
SCRIPTS = {"redis": READ_ALL + ASK_REDIS, "cache": READ_ALL + "echo ready\nexec sleep infinity\n"}


def _run(argv, timeout):
    done = subprocess.run([str(arg) for arg in argv], text=True, timeout=timeout, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        words = done.stdout.strip().splitlines() or ["nothing"]
        raise paths.Missing(f"no redis guest: {argv[0]} says: {words[-1]}")


def _make(image):
    """Only a whole image gets its name."""
    if shutil.which("debootstrap") is None:
        raise paths.Missing("no redis guest: debootstrap is not installed")
    with tempfile.TemporaryDirectory(prefix="new.", dir=CACHE) as work:
        tree, new = pathlib.Path(work, "tree"), pathlib.Path(work, "disk.img")
        _run(["debootstrap", "--variant=minbase", "--include=redis-server,redis-tools", SUITE, tree], 900)
        shutil.rmtree(tree / "var" / "cache" / "apt", ignore_errors=True)
        for name, script in SCRIPTS.items():
            (tree / name).write_text(script)
            (tree / name).chmod(0o755)
        _run(["mke2fs", "-q", "-t", "ext4", "-d", tree, new, f"{MEGABYTES}M"], 300)
        new.rename(image)


def image():
    """The path of the disk that is copied for each run."""
    path = CACHE / "disk.img"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists() or path.stat().st_mtime < os.stat(__file__).st_mtime:
            _make(path)
    return path


def start(host, directory, mem, script, **more):
    """A Guest in which one of SCRIPTS has got ready, with its disk in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    disk = directory / "disk.img"
    _run(["cp", "--sparse=always", image(), disk], 120)
    load = rig.Load(mem="4K", dirty="0", check="0")
    vm = rig.Guest(host, directory / "a", load=load, mem=mem, disk=disk, kernel_args=f"gw.fs=/dev/vda gw.run=/{script}",
                   **more)
    vm.start().wait_boot(120)
    vm.report.wait(lambda text: text == "RUN ready", 240)
    return vm
