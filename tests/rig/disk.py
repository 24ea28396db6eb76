# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's numbered disk records, read from a raw image; tests/guest/disk.c writes them."""

import dataclasses
import struct

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
