# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's numbered disk records, read from a raw image; tests/guest/disk.c writes them."""

import dataclasses
import pathlib
import struct
import subprocess

RECORD_BYTES = 512
MAGIC = 0x64726F6365727767
MASK = (1 << 64) - 1
_WORDS = struct.Struct("<64Q")


def record(number, n_slots):
    """The bytes of record `number` on a disk of `n_slots` slots."""
    state = (number * 0x9E3779B97F4A7C15 & MASK) | 1
    words = [MAGIC, number, number % n_slots, 0]
    for _ in range(60):
        state ^= state << 13 & MASK
        state ^= state >> 7
        state ^= state << 17 & MASK
        words.append(state)
    return _WORDS.pack(*words)


@dataclasses.dataclass
class Records:
    """What an image holds: `numbers` is the set of whole records, `damage` texts about others."""
    numbers: set
    damage: list
    n_slots: int

    @property
    def last(self):
        """The greatest number, 0 when there is none."""
        return max(self.numbers, default=0)

    def has(self, number):
        """Whether the record is there, or was there and has been overwritten by a later round."""
        return number in self.numbers or number + self.n_slots <= self.last

    def missing(self):
        """Numbers that ought to be there, given the greatest one."""
        first = max(1, self.last - self.n_slots + 1)
        return sorted(set(range(first, self.last + 1)) - self.numbers)


def read(path, span_bytes=1 << 20):
    """The Records of a raw image; `span_bytes` is the guest's gw.diskspan."""
    numbers, damage = set(), []
    with open(path, "rb") as file:
        data = file.read(span_bytes)
    n_slots = len(data) // RECORD_BYTES
    for slot in range(n_slots):
        found = data[slot * RECORD_BYTES:(slot + 1) * RECORD_BYTES]
        magic, number = struct.unpack_from("<2Q", found)
        if magic != MAGIC:
            if found.strip(b"\0"):
                damage.append(f"slot {slot} holds no record")
        elif number % n_slots != slot or found != record(number, n_slots):
            damage.append(f"slot {slot}: record {number} is damaged")
        else:
            numbers.add(number)
    return Records(numbers, damage, n_slots)


# --- records in a file system, with a file for each (tests/guest/files.c) ---

FILES = 64
FILE_BYTES = 12 * 1024


def make_file_system(path, megabytes, directory):
    """A raw image with an ext4 for the guest's records (gw.fs=, gw.disk=/fs/records)."""
    directory.mkdir()
    with open(directory / "records", "wb") as file:
        file.truncate(1 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(directory), str(path), f"{megabytes}M"], check=True,
                   capture_output=True)


def _lasting(path, n_slots):
    """The number of the record that the whole file is made of, 0 when it is not."""
    data = path.read_bytes() if path.exists() else b""
    number = struct.unpack_from("<2Q", data)[1] if len(data) == FILE_BYTES else 0
    return number if data == record(number, n_slots) * (FILE_BYTES // RECORD_BYTES) else 0


def read_file_system(path, acked, directory):
    """The Records of a raw image whose guest was killed, and what is wrong with its file system: after its
    journal was played back there must be nothing, and every file of an acknowledged record must be whole."""
    subprocess.run(["e2fsck", "-fy", "-E", "journal_only", str(path)], check=False, capture_output=True)
    check = subprocess.run(["e2fsck", "-fn", str(path)], check=False, capture_output=True, text=True)
    wrong = [] if check.returncode == 0 else [check.stdout]
    directory.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {directory}", str(path)], check=True, capture_output=True)
    records = read(pathlib.Path(directory) / "records")
    for number in range(max(1, acked - FILES + 1), acked + 1):
        found = _lasting(pathlib.Path(directory) / "files" / str(number % FILES), records.n_slots)
        if found < number or found % FILES != number % FILES:
            wrong.append(f"file {number % FILES} is of record {found}, not {number}")
    return records, wrong
