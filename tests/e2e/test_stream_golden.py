# SPDX-License-Identifier: LGPL-2.1-or-later
"""The decoded devices of two recorded streams are what QEMU's own analyze-migration.py printed.

tests/golden/stream/NAME.stream.xz was recorded from QEMU (its RAM pages were made zero to keep it
small) and NAME.analyze.json.xz is what the script of QEMU 7.2 printed for it with `-d state`.
"""
import json
import lzma
import subprocess

import pytest
import test_stream_rig as rig

GOLDEN = rig.ROOT / "tests" / "golden" / "stream"
NAMES = sorted(path.name.removesuffix(".stream.xz") for path in GOLDEN.glob("*.stream.xz"))

# Types that the script shows as integers; it shows all others as bytes.
SIGNED = {"int8", "int16", "int32", "int32 equal", "int32 le", "int64", "int64 equal",
          "uint8 equal", "uint16 equal"}
UNSIGNED = {"uint8", "uint16", "uint32", "uint32 equal", "uint64"}
# Shown as numbers by godwit.
NUMBERS = SIGNED | UNSIGNED | {"bool", "uint64 equal", "timer", "float64"}


def as_bytes(field):
    """The bytes of a field, from what was decoded."""
    if field["type"] in ("tmp", "vstruct", "array", "struct"):
        parts = field.get("fields", field.get("elements", []))
        return b"".join(as_bytes(part) for part in parts)
    if field["type"] == "nullptr":
        return b"0"
    value = field["value"]
    if field["type"] in NUMBERS:
        return (int(value) % (1 << 8 * field["size"])).to_bytes(field["size"], "big")
    return bytes.fromhex(value)


def as_script(field):
    """A field as the script prints it."""
    if field["type"] == "struct":
        return group(field.get("fields", []))
    if field["type"] == "bool":
        return field["value"]
    if field["type"] in SIGNED | UNSIGNED:
        raw = as_bytes(field)
        number = int.from_bytes(raw, "big", signed=field["type"] in SIGNED)
        text = f"0x{int.from_bytes(raw, 'big'):0{2 * len(raw)}x}"
        return text if number >= 0 else f"{text} ({number})"
    return " ".join(f"{byte:02x}" for byte in as_bytes(field))


def group(fields):
    """Fields of one name become a list, as the script has it."""
    out = {}
    for field in fields:
        if field["type"] == "subsection":
            out[field["name"]] = group(field.get("fields", []))
            continue
        for element in field["elements"] if field["type"] == "array" else [field]:
            value = as_script(element)
            if field["name"] not in out:
                out[field["name"]] = value
            elif isinstance(out[field["name"]], list):
                out[field["name"]].append(value)
            else:
                out[field["name"]] = [out[field["name"]], value]
    return out


def only_last(found, expected):
    """QEMU 10.0 leaves the index of an array's last element out; the script of 7.2 then keeps only
    that element."""
    if isinstance(found, list) and not isinstance(expected, list):
        return only_last(found[-1], expected)
    if isinstance(found, dict) and isinstance(expected, dict):
        return {key: only_last(value, expected.get(key)) for key, value in found.items()}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_decodes_as_qemus_script_does(name, tmp_path):
    program = rig.program("godwit-stream")
    if program is None:
        pytest.skip("godwit-stream is not built (make)")
    stream = tmp_path / "stream"
    stream.write_bytes(lzma.decompress((GOLDEN / f"{name}.stream.xz").read_bytes()))
    expected = json.loads(lzma.decompress((GOLDEN / f"{name}.analyze.json.xz").read_bytes()))
    done = subprocess.run([program, "inspect", "--json", str(stream)], check=True,
                          capture_output=True, timeout=60)
    found = {f"{item['name']} ({item['id']})": group(item["fields"])
             for item in json.loads(done.stdout)["items"]
             if item["kind"] == "section" and "fields" in item}
    ram = [key for key in expected if key.startswith("ram ")]
    assert set(found) == set(expected) - set(ram)
    for key, fields in found.items():
        assert list(fields) == list(expected[key]), key
        for field, value in fields.items():
            assert only_last(value, expected[key][field]) == expected[key][field], \
                f"{key}: {field}"
    assert len(found) > 35


def test_there_are_golden_streams():
    assert len(NAMES) == 2
