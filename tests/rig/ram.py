# SPDX-License-Identifier: LGPL-2.1-or-later
"""Comparing the memory of two stopped QEMUs, page by page: the oracle of precopy."""

import pathlib
import struct
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


def _scratch():
    """A directory for pieces of RAM, in memory where that is possible."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None)


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
    with vm.monitor() as one, twin.monitor() as other, _scratch() as scratch:
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


def _mapping(vm, length):
    """Where QEMU has mapped the VM's RAM in its own memory: the one mapping of that size."""
    for line in pathlib.Path(f"/proc/{vm.pid}/maps").read_text(encoding="ascii").splitlines():
        first, _, last = line.split()[0].partition("-")
        if int(last, 16) - int(first, 16) == length:
            return int(first, 16)
    raise LookupError(f"QEMU {vm.pid} has no mapping of {length} bytes")


def poke(vm, address, data):
    """Writes into the guest's RAM behind its back and behind QEMU's, as a bug would."""
    with vm.monitor() as monitor:
        at = _mapping(vm, size(monitor))
    with open(f"/proc/{vm.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(at + address)
        memory.write(data)


def peek(vm, address, length):
    """Reads the guest's RAM without stopping anything."""
    with vm.monitor() as monitor:
        at = _mapping(vm, size(monitor))
    with open(f"/proc/{vm.pid}/mem", "rb", buffering=0) as memory:
        memory.seek(at + address)
        return memory.read(length)


def find_page(vm, index, seed):
    """The guest physical address of page `index` of the guest's checked memory, by its header
    (tests/guest/content.c). It is no page of an even generation of the zero kind."""
    with vm.monitor() as monitor:
        length = size(monitor)
    for at in range(0, length, CHUNK_BYTES):
        data = peek(vm, at, min(CHUNK_BYTES, length - at))
        place = -1
        while (place := data.find(struct.pack("<Q", seed), place + 1)) >= 0:
            if place % PAGE_BYTES == 8 and data[place + 12:place + 16] == struct.pack("<I", index):
                return at + place - 8
    raise LookupError(f"page {index} with seed {seed:#x} is not in the guest's RAM")
