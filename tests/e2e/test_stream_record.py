# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams of real QEMUs are read from the first byte to the last, every record written again gives
the same bytes, and the RAM that they carry is that of the stopped source."""
import json
import subprocess

import pytest
import test_stream_rig as rig
from rig import soak


def qemu(version):
    if version == "7.2":
        argv, reason = rig.qemu72(), "qemu-system-x86_64 is not installed"
    else:
        argv, reason = rig.qemu100()
    if argv is None:
        pytest.skip(f"QEMU {version}: {reason}")
    return argv


def need(name):
    path = rig.program(name)
    if path is None:
        pytest.skip(f"{name} is not built (make)")
    return path


def add_bitmaps(source):
    for i in range(2):
        source.qmp("block-dirty-bitmap-add", node="d1", name=f"b{i}", granularity=65536)
    source.qmp.hmp('qemu-io d1 "write -P 7 1M 2M"')


# name: (function, arguments)
CASES = {
    "plain-q35": (rig.record_file, {"machine": "q35"}),
    "plain-pc": (rig.record_file, {"machine": "pc"}),
    "return-path": (rig.record_pair, {"machine": "q35"}),
    "xbzrle": (rig.record_file, {"machine": "q35", "capabilities": ("xbzrle",), "rounds": 4}),
    "postcopy": (rig.record_pair, {"machine": "q35", "capabilities": ("postcopy-ram",),
                                   "postcopy": True}),
    "preempt": (rig.record_pair, {"machine": "q35", "postcopy": True,
                                  "capabilities": ("postcopy-ram", "postcopy-preempt")}),
    "multifd-none": (rig.record_pair, {"machine": "q35", "capabilities": ("multifd",),
                                       "parameters": {"multifd_channels": 2}}),
    "multifd-zstd": (rig.record_pair, {"machine": "q35", "capabilities": ("multifd",),
                                       "parameters": {"multifd_channels": 2,
                                                      "multifd_compression": "zstd"}}),
    "dirty-bitmaps": (rig.record_file, {"machine": "q35", "capabilities": ("dirty-bitmaps",),
                                        "prepare": add_bitmaps}),
}


def replay(recording, out):
    """test-stream-replay's lines; it fails when what it wrote is not what it read."""
    out.mkdir()
    argv = [need("test-stream-replay"), "--out", out, "--main", recording.main]
    argv += ["--return", recording.back] if recording.back else []
    argv += ["--preempt", recording.preempt] if recording.preempt else []
    for path in recording.multifd:
        argv += ["--multifd", path]
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line.rsplit(" ", 3) for line in done.stdout.splitlines()]
    for _, size, before, after in lines:
        assert before == after, (size, before, after)
    replay_encoded(recording)
    return lines


def replay_encoded(recording):
    """Memory lanes through the RAM codec and back: the same bytes, or, where pages may be left out, the same memory."""
    lanes = {"main": recording.main, "preempt": recording.preempt}
    for kind in [kind for kind, path in lanes.items() if path]:
        argv = [need("test-ramcodec-replay"), kind, lanes[kind]]
        done = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (kind, done.stderr)


def inspect(path):
    done = subprocess.run([need("godwit-stream"), "inspect", "--json", str(path)], timeout=60,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_ram_is_that_of_the_source(recording, out):
    """Of the whole block against the file behind it, and against pmemsave but for the VGA window,
    where the physical address is not RAM."""
    found = (out / "mem0").read_bytes()
    backing = recording.ram.read_bytes()
    physical = recording.pmem.read_bytes()
    assert len(found) == len(physical) == rig.RAM_BYTES
    assert found == backing
    low, high = rig.VGA_WINDOW
    assert found[:low] == physical[:low] and found[high:] == physical[high:]


def assert_case(name, report, recording):
    """The recording has what its case is about."""
    commands = [item["command"] for item in report["items"] if item["kind"] == "command"]
    counts = {key: sum(block[key] for block in report["ram"]) for key in ("pages", "zero", "xbzrle")}
    if name == "xbzrle":
        assert counts["xbzrle"] > 100
    if name in ("postcopy", "preempt"):
        assert any(command.startswith("packaged") for command in commands)
        assert recording.back.stat().st_size > 60  # the destination asked for pages
    if name == "preempt":
        assert recording.preempt.stat().st_size > 0
    if name.startswith("multifd"):
        assert len(recording.multifd) == 2 and counts["pages"] == 0
    if name == "dirty-bitmaps":
        assert {bitmap["name"] for bitmap in report["bitmaps"]} == {"b0", "b1"}
    if name == "return-path":
        assert commands[:2] == ["open-return-path", "ping 0x1"]


# each case in one of both versions, `make soak` all
@pytest.mark.parametrize("name,version", [
    (name, version) for i, name in enumerate(CASES) for k, version in enumerate(("7.2", "10.0"))
    if soak.ROUNDS or i % 2 == k])
def test_reads_what_qemu_writes(name, version, tmp_path):
    need("test-stream-replay")
    record, arguments = CASES[name]
    recording = record(qemu(version), tmp_path / "rec", **arguments)
    lines = replay(recording, tmp_path / "out")
    assert sum(int(size) for _, size, _, _ in lines) > 1 << 20
    assert_ram_is_that_of_the_source(recording, tmp_path / "out")
    report = inspect(recording.main)
    assert report["valid"] and report["machine"].startswith("pc-")
    names = {item["name"].split("/")[-1] for item in report["items"] if item["kind"] == "section"}
    assert {"ram", "cpu", "virtio-blk", "virtio-net", "virtio-rng", "virtio-console",
            "virtio-balloon", "e1000", "xhci", "usb-kbd", "usb-ptr", "ich9_ahci", "vga"} <= names
    assert_case(name, report, recording)


# What carries RAM in ways that the replay does not rebuild.
@pytest.mark.parametrize("version,capabilities,uri", [
    ("7.2", ("x-ignore-shared", "validate-uuid"), "exec:cat>{}"),
    ("10.0", ("x-ignore-shared", "validate-uuid"), "exec:cat>{}"),
    ("7.2", ("compress",), "exec:cat>{}"),
    ("10.0", ("mapped-ram",), "file:{}"),
])
def test_reads_other_ways_to_carry_ram(version, capabilities, uri, tmp_path):
    recording = rig.record_file(qemu(version), tmp_path / "rec", "q35",
                                capabilities=capabilities, uri=uri)
    replay(recording, tmp_path / "out")
    assert inspect(recording.main)["valid"]


@pytest.mark.parametrize("source,sink", [("7.2", "10.0"), ("10.0", "7.2")])
def test_reads_moves_between_versions(source, sink, tmp_path):
    recording = rig.record_pair(qemu(source), tmp_path / "rec", "pc-q35-7.2", target=qemu(sink))
    replay(recording, tmp_path / "out")
    assert_ram_is_that_of_the_source(recording, tmp_path / "out")


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_nvme_cannot_be_recorded(version, tmp_path):
    """QEMU itself refuses: its NVMe controller is marked as not migratable."""
    devices = [*rig.DEVICES, "-device", "nvme,serial=n,drive=d2"]
    image = tmp_path / "d2.img"
    image.write_bytes(bytes(1 << 20))
    extra = ["-blockdev", json.dumps({"driver": "raw", "node-name": "d2", "file": {
        "driver": "file", "filename": str(image)}})]
    with rig.Machine(qemu(version), tmp_path / "src", "q35", extra=extra, devices=devices) as source:
        with pytest.raises(RuntimeError, match="nvme"):
            source.qmp("migrate", uri=f"exec:cat>{tmp_path}/stream")


def test_check_names_the_first_fault(tmp_path):
    recording = rig.record_file(qemu("7.2"), tmp_path / "rec", "pc")
    whole = recording.main.read_bytes()
    broken = tmp_path / "broken"
    for cut in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        broken.write_bytes(whole[:cut])
        done = subprocess.run([need("godwit-stream"), "check", str(broken)], capture_output=True,
                              text=True, timeout=60)
        assert done.returncode == 3 and f"offset {cut}" in done.stderr, done.stderr
    live = subprocess.run([need("godwit-stream"), "check"], input=whole, capture_output=True,
                          timeout=60)
    assert live.returncode == 0 and b"confirmed by the vmdesc" in live.stdout


def test_diff_compares_device_by_device(tmp_path):
    first = rig.record_file(qemu("7.2"), tmp_path / "a", "pc").main
    second = rig.record_file(qemu("7.2"), tmp_path / "b", "pc").main

    def diff(*arguments):
        return subprocess.run([need("godwit-stream"), "diff", *map(str, arguments)],
                              capture_output=True, text=True, timeout=60)
    same = diff("--ram", first, first)
    assert same.returncode == 0 and same.stdout == "no difference\n"
    other = diff("--ram", first, second)
    assert other.returncode == 2 and "ram mem0: " in other.stdout
    assert "timer.cpu_clock_offset: " in other.stdout
    assert "ram mem0" not in diff(first, second).stdout
