# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's initrd: init, kernel modules and the order to load them in, as a cpio archive.

Written here because the format is a dozen lines. The archive is not compressed: an emulated guest
unpacks more slowly than the host reads.
"""

import hashlib
import os
import pathlib
import stat
import tempfile

from . import paths

ALWAYS = ("virtio_pci", "virtio_console")


def _entry(number, name, mode, data=b"", device=(0, 0)):
    """One member in the "newc" format (Documentation/driver-api/early-userspace/buffer-format)."""
    name = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return b"".join(part + b"\0" * (-len(part) % 4) for part in (head, data))


def _archive(members):
    """The archive of (name, mode, data, device) tuples."""
    parts = [_entry(i + 1, *member) for i, member in enumerate(members)]
    return b"".join(parts) + _entry(0, "TRAILER!!!", 0)


def module_order(wanted):
    """The names of the modules to load for `wanted`, in order; what is built in is left out."""
    needs = {}
    for line in (paths.kernel() / "order").read_text().splitlines():
        name, _, first = line.partition(":")
        needs[name] = first.split()
    order = []
    for name in wanted:
        if name in needs:
            order += [m for m in (*needs[name], name) if m not in order]
    return order


def build(modules=(), files=()):
    """The path of an initrd that loads `modules` besides those that every guest needs, and has the
    `files` (name, mode, data)."""
    order = module_order((*ALWAYS, *modules))
    init = paths.program("tests/guest/guest-init").read_bytes()
    members = [(name, stat.S_IFDIR | 0o755) for name in ("dev", "proc", "sys", "modules")]
    members.append(("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
    members.append(("init", stat.S_IFREG | 0o755, init))
    members.append(("modules/list", stat.S_IFREG | 0o644, "\n".join(order).encode() + b"\n"))
    for name in order:
        data = (paths.kernel() / f"{name}.ko").read_bytes()
        members.append((f"modules/{name}.ko", stat.S_IFREG | 0o644, data))
    folders = {str(parent) for name, _, _ in files for parent in pathlib.PurePath(name).parents}
    members += [(name, stat.S_IFDIR | 0o755) for name in sorted(folders - {"."})]
    members += files
    archive = _archive(members)
    path = paths.CACHE / f"initrd-{hashlib.sha256(archive).hexdigest()[:16]}"
    if not path.exists():
        _write(path, archive)
    return path


def _write(path, data):
    """Writes the file in one step, so that a test beside this one never sees half of it, and removes
    older ones that no guest can have started from today."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix="new-")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.chmod(name, 0o644)
    os.rename(name, path)
    olds = sorted(path.parent.glob("initrd-*"), key=lambda p: p.stat().st_mtime)
    for old in olds[:-20]:
        old.unlink(missing_ok=True)
