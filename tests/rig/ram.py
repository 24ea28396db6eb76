# SPDX-License-Identifier: LGPL-2.1-or-later
"""Comparing the memory of two stopped QEMUs, page by page: the oracle of precopy."""

import pathlib
import tempfile

PAGE_BYTES = 4096
CHUNK_BYTES = 64 << 20
STOPPED = {"paused", "postmigrate", "prelaunch", "finish-migrate"}


def size(monitor):
    """The bytes of RAM of a VM without hot-plugged memory."""
    summary = monitor.execute("query-memory-size-summary")
    if summary.get("plugged-memory"):
        raise ValueError("hot-plugged memory is not compared")
    return summary["base-memory"]


def _save(monitor, address, length, path):
    monitor.execute("pmemsave", val=address, size=length, filename=str(path), timeout=60)
    return path.read_bytes()


def _differing(one, other, base):
    """Addresses of the pages that differ in two equally long pieces."""
    if one == other:
        return []
    return [base + at for at in range(0, len(one), PAGE_BYTES)
            if one[at:at + PAGE_BYTES] != other[at:at + PAGE_BYTES]]


def compare(vm, twin):
    """The guest physical addresses of the pages that differ between two stopped VMs (Guest objects).
    RAM of up to 2 GiB lies in one piece from 0 on all PC machines, which is what is compared."""
    with vm.monitor() as one, twin.monitor() as other, tempfile.TemporaryDirectory() as scratch:
        for monitor in (one, other):
            if (status := monitor.status()) not in STOPPED:
                raise ValueError(f"{monitor.path}: the VM is {status}, not stopped")
        length = size(one)
        if length != size(other) or length > 2 << 30:
            raise ValueError(f"RAM of {length} and {size(other)} bytes is not compared")
        pages = []
        scratch = pathlib.Path(scratch)
        for at in range(0, length, CHUNK_BYTES):
            count = min(CHUNK_BYTES, length - at)
            pages += _differing(_save(one, at, count, scratch / "one"),
                                _save(other, at, count, scratch / "other"), at)
        return pages
