# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rig itself: it shapes, cuts and counts, its guest notices what is wrong, QEMU's own migration
is measured by it, and it leaves nothing behind."""

import socket
import stat
import subprocess
import time

import pytest
import rig
from rig import disk, faults, leftovers, ram, tick

PYTHON = "/usr/bin/python3"
ECHO = """
import socket, sys
listener = socket.create_server((sys.argv[1], 7))
print("ready", flush=True)
connection, _ = listener.accept()
while data := connection.recv(100):
    connection.sendall(data)
"""
CALL = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 7), 10)
connection.settimeout(20)
for line in sys.stdin:
    try:
        connection.sendall(line.encode())
        print(connection.recv(100).decode(), end="", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


class Echo:
    """A TCP connection from a to b over which words go there and back."""

    def __init__(self, net):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.server = net.b.popen([PYTHON, "-c", ECHO, net.b.address], **pipes)
        assert self.server.stdout.readline() == "ready\n"
        self.client = net.a.popen([PYTHON, "-c", CALL, net.b.address], **pipes)

    def send(self, word):
        self.client.stdin.write(word + "\n")
        self.client.stdin.flush()

    def answer(self):
        return self.client.stdout.readline().strip()


# --- the link ---

@pytest.mark.parametrize("rate, bits", [("1gbit", 1e9), ("100mbit", 1e8)])
def test_link_carries_the_rate_it_is_shaped_to(rate, bits):
    with rig.Net(rate) as net:
        before = net.wire_bytes()
        carried = net.tcp_rate(1.0) * 8
        wire = net.wire_bytes()[0] - before[0]
        assert 0.85 * bits < carried < 1.01 * bits
        assert wire * 8 > carried


def test_connection_survives_an_outage_and_not_a_reset(net):
    echo = Echo(net)
    echo.send("one")
    assert echo.answer() == "one"
    with net.outage():
        echo.send("two")
        time.sleep(0.5)
    assert echo.answer() == "two"
    assert net.reset(port=7) == 1
    echo.send("three")
    assert echo.answer() in ("ConnectionResetError", "ConnectionAbortedError", "TimeoutError")


def test_drop_works_in_one_direction_only(net):
    echo = Echo(net)
    echo.send("one")
    assert echo.answer() == "one"
    before = net.wire_bytes()
    net.drop(to=net.a)  # requests arrive, answers do not
    echo.send("two")
    time.sleep(0.6)
    after = net.wire_bytes()
    assert after[1] > before[1], "the other side still sends"
    net.heal()
    assert echo.answer() == "two"


def test_refusal_resets_and_one_way_loss_does_not(net):
    echo = Echo(net)
    echo.send("one")
    assert echo.answer() == "one"
    with net.one_way_loss(net.b):
        echo.send("two")
        time.sleep(0.3)
    assert echo.answer() == "two"
    with net.refusal():
        echo.send("three")
        assert echo.answer() in ("ConnectionResetError", "ConnectionRefusedError")


def test_two_pairs_are_cut_apart_and_an_address_moves():
    with rig.Net(pairs=2) as pairs:
        echo = Echo(pairs)
        echo.send("one")
        assert echo.answer() == "one"
        pairs.cut(0)
        echo.send("two")
        assert pairs.b.addresses[0] == pairs.b.address
        pairs.move_address(pairs.b)
        assert echo.answer() == "two"


def test_proxy_stalls_and_resets(net):
    with rig.Proxy(net.a, net.b) as proxy:
        echo = Echo(net)
        proxy.flip()
        echo.send("one")
        assert echo.answer() == "one" and proxy.flips_left() == 1, "small pieces are left alone"
        with proxy.stalled():
            echo.send("two")
            time.sleep(0.3)
        assert echo.answer() == "two"
        assert proxy.reset() == 1
        echo.send("three")
        assert echo.answer() in ("ConnectionResetError", "BrokenPipeError")


def test_proxy_flips_as_many_bits_as_it_is_told(net):
    count = ("import socket,sys\n"
             "s=socket.create_server((sys.argv[1],7)); print('ready',flush=True)\n"
             "c,_=s.accept(); n=0\n"
             "while d:=c.recv(1<<20): n+=sum(x!=0 for x in d)\n"
             "print(n,flush=True)\n")
    send = ("import socket,sys; c=socket.create_connection((sys.argv[1],7)); "
            "c.sendall(bytes(3000000))")
    with rig.Proxy(net.a, net.b) as proxy:
        server = net.b.popen([PYTHON, "-c", count, net.b.address], stdout=subprocess.PIPE, text=True)
        assert server.stdout.readline() == "ready\n"
        proxy.flip(3)
        net.a.run([PYTHON, "-c", send, net.b.address])
        assert server.stdout.readline() == "3\n" and proxy.flips_left() == 0


def test_net_of_a_crashed_rig_is_removed():
    script = ("import os, sys; sys.path.insert(0, sys.argv[1]); import rig\n"
              "net = rig.Net(); p = net.a.popen(['sleep', '1000'], log='/dev/null')\n"
              "print(net.a.netns, p.pid, flush=True); os._exit(1)")
    crashed = subprocess.run([PYTHON, "-B", "-c", script, rig.paths.ROOT / "tests"], text=True,
                             stdout=subprocess.PIPE, timeout=30, check=False)
    name, pid = crashed.stdout.split()
    assert (rig.hosts.RUN_DIR / name).exists() and not faults.is_zombie(int(pid))
    with rig.Net():
        assert not (rig.hosts.RUN_DIR / name).exists()
        assert faults.is_zombie(int(pid))


# --- what is left behind ---

def test_leftovers_are_seen_and_a_closed_net_leaves_none(tmp_path):
    first = leftovers.snapshot(None, [tmp_path])
    with rig.Net() as net:
        before = leftovers.snapshot(net, [tmp_path])
        process = net.b.popen(["sleep", "1000"], cwd=tmp_path)
        (tmp_path / "file").touch()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "socket"))
            found = leftovers.compare(before, leftovers.snapshot(net, [tmp_path]))
        assert [text.split(":")[0] for text in found] == ["processes", "unix_sockets", "files", "files"]
        assert f" {process.pid} " in found[0]
    after = leftovers.compare(first, leftovers.snapshot(None, [tmp_path]))
    assert [text.split("/")[-1] for text in after] == ["file", "socket"]


# --- ticks, records, reports: what is read out of them ---

def _ticks(*rows):
    return [tick.Tick(t * 1_000_000, 0, side, "b", seq) for t, side, seq in rows]


@pytest.mark.parametrize("rows, overlap, lost, repeated, reordered", [
    ([(1, "a", 1), (2, "a", 2), (9, "b", 3)], 0, 0, 0, 0),
    ([(1, "a", 1), (2, "a", 2), (9, "b", 5)], 0, 2, 0, 0),
    ([(1, "a", 1), (2, "a", 2), (9, "b", 2)], 0, 0, 1, 0),
    ([(1, "a", 1), (2, "b", 2), (4, "a", 3), (9, "b", 4)], 2, 0, 0, 0),
    ([(1, "a", 2), (2, "a", 1), (9, "b", 3)], 0, 0, 0, 1),
])
def test_move_tells_what_went_wrong(rows, overlap, lost, repeated, reordered):
    move = tick.move_of(_ticks(*rows), "a", "b")
    assert (move.overlap_ms, move.lost, move.repeated) == (overlap, lost, repeated)
    assert move.reordered == reordered
    assert move.gap_ms == max(b[0] - a[0] for a, b in zip(rows, rows[1:]))


def test_disk_records_are_read_and_damage_is_named(tmp_path):
    image = tmp_path / "image"
    slots = [disk.record(n, 4) for n in (4, 5, 2, 3)]
    image.write_bytes(b"".join(slots))
    records = disk.read(image)
    assert (records.last, records.missing(), records.damage) == (5, [], [])
    assert records.has(1) and not records.has(6)
    slots[2] = slots[2][:100] + b"?" + slots[2][101:]
    image.write_bytes(b"".join(slots))
    assert disk.read(image).missing() == [2] and len(disk.read(image).damage) == 1


def test_godwit_is_run_and_its_last_object_is_the_report(net, tmp_path, monkeypatch):
    script = tmp_path / "godwit"
    script.write_text("#!/bin/sh\necho '{\"progress\": 1}'; echo lost >&2\n"
                      "printf '{\\n \"exit\": 3, \"cause\": {\"code\": \"link-lost\"},"
                      " \"args\": \"%s\"}\\n' \"$*\"; exit 3\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(rig.paths, "BUILD", tmp_path)
    done = rig.godwit(net.a, "migrate", "vm", "unix:there")
    assert (done.exit, done.cause, done.stderr) == (3, "link-lost", "lost\n")
    assert done.report["args"] == "migrate vm unix:there"


# --- the guest ---

SEED = 0x5EEDF00DCAFE0001


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A guest with some of everything, on an unshaped net."""
    directory = tmp_path_factory.mktemp("rig")
    with rig.Net() as net:
        load = rig.Load(mem="16M", fill="8M", dirty="10M/s", check="50M/s", diskrate=100, seed=SEED)
        yield rig.Guest(net.a, directory / "a", load, disk="4M").start().wait_boot()


def test_guest_ticks_every_millisecond(busy):
    mark = busy.ticks.mark()
    busy.ticks.wait_side("a", 2000, since=mark)
    jitter = busy.ticks.jitter("a", mark)
    print(jitter)
    assert 0.8 < jitter.p50_ms < 1.2
    assert tick.count_numbers(busy.ticks.all) == (0, 0, 0)
    assert busy.ticks.garbage == []


@pytest.mark.parametrize("kind", ["zero", "small", "text", "random"])
def test_memory_is_clean_under_every_kind_of_content(busy, kind):
    busy.report.command(f"content {kind}")
    before = busy.report.wait_status()
    status = busy.report.check()
    assert status.bad == 0 and status.rounds > before.rounds
    assert status.written > before.written


def test_writer_is_steered(busy):
    busy.report.command("pause")
    one = busy.report.wait_status()
    assert busy.report.wait_status().written == one.written
    busy.report.command("dirty 40M/s")
    busy.report.command("resume")
    busy.report.wait_status()
    one, two = busy.report.wait_status(), busy.report.wait_status()
    rate = (two.written - one.written) * 4096 / (1 << 20)
    assert 25 < rate < 55
    busy.report.command("dirty 10M/s")
    with pytest.raises(rig.GuestError, match="does not understand"):
        busy.report.command("dirty much")


def test_disk_goes_on_after_a_reboot(busy):
    boot = busy.report.boots[-1]
    ticks = busy.ticks.mark()
    busy.report.command("reboot")
    acked = busy.report.acked
    since = len(busy.report.lines)
    line = busy.report.wait(lambda text: text.startswith("DISK "), since=since)
    assert int(line.text.partition("last=")[2]) >= acked > 0
    busy.report.wait(lambda text: text.startswith("D "), since=since)
    assert busy.report.boots[-1] != boot
    busy.ticks.wait_side("a", 100, since=line.t_ns)
    assert len(busy.ticks.move("a", "b", ticks).boots) == 2
    busy.report.assert_clean()


def test_acknowledged_records_survive_the_death_of_qemu(busy):
    acked = busy.report.acked
    busy.stop()
    records = disk.read(busy.disk)
    assert records.damage == [] and records.missing() == []
    assert records.has(acked) and acked > 0
    busy.start().wait_boot()
    assert len(set(busy.report.boots)) == len(busy.report.boots)


def _corrupt(vm):
    """Makes one page zero, one torn, one foreign and one old; returns index: verdict."""
    first = 4096  # of the pages that are only checked
    places = {first + i: ram.find_page(vm, first + i, SEED) for i in range(4)}
    good = {index: ram.peek(vm, place, 4096) for index, place in places.items()}
    ram.poke(vm, places[first + 1], bytes(4096))
    ram.poke(vm, places[first + 2], good[first + 2][:2048] + bytes(2048))
    ram.poke(vm, places[first + 3], good[first])
    vm.report.command("pause")
    place = ram.find_page(vm, 7, SEED)
    old = ram.peek(vm, place, 4096)
    vm.report.command("resume")
    faults.wait_until(lambda: ram.peek(vm, place, 4096) != old, 20, "rewriting of page 7")
    vm.report.command("pause")
    ram.poke(vm, place, old)
    return {first + 1: "zero", first + 2: "torn", first + 3: "foreign", 7: "old"}


def test_guest_notices_bad_pages(busy):
    busy.report.assert_clean()
    wanted = _corrupt(busy)
    with pytest.raises(rig.GuestError, match="bad=[1-9]"):
        busy.report.check()
    texts = [line.text for line in busy.report.errors]
    for index, verdict in wanted.items():
        assert any(f"page={index} " in text and f"is={verdict} " in text for text in texts), texts
    assert {int(text.partition("page=")[2].split()[0]) for text in texts} == set(wanted)


# --- QEMU's own migration, measured: the baseline ---

def test_native_migration_is_measured_and_compared(tmp_path):
    with rig.Net("1gbit") as net:
        load = rig.Load(mem="32M", fill="64M", dirty="10M/s", content="text")
        vm = rig.Guest(net.a, tmp_path / "a", load).start().wait_boot()
        before = leftovers.snapshot(net, [tmp_path])
        twin = vm.twin(net.b, tmp_path / "b")
        mark = vm.ticks.mark()
        native = rig.native_migrate(vm, twin)
        vm.ticks.wait_side("b", 1000, since=mark)
        move = vm.ticks.move("a", "b", mark)
        print(f"total {native.total_ms} ms, downtime {native.downtime_ms} ms, {move}")
        assert (move.overlap_ms, move.lost, move.repeated, move.reordered) == (0, 0, 0, 0)
        assert len(move.boots) == 1 and 0 < move.switch_ms < 2000
        vm.report.check()
        vm.stop()
        assert vm.ticks.is_silent("a")

        back = twin.twin(net.a, tmp_path / "c")
        rig.native_migrate(twin, back, hold=True)
        assert ram.compare(twin, back) == []
        byte = ram.peek(back, 0x1234567, 1)
        ram.poke(back, 0x1234567, bytes([byte[0] ^ 1]))
        assert ram.compare(twin, back) == [0x1234000]
        ram.poke(back, 0x1234567, byte)
        twin.stop()
        with back.monitor() as monitor:
            monitor.execute("cont")
        vm.ticks.wait_side("a", 500, since=vm.ticks.mark())
        vm.report.check()
        back.stop()
        left = leftovers.compare(before, leftovers.snapshot(net, [tmp_path]), allowed=[str(tmp_path)])
        assert left == []


@pytest.mark.parametrize("channels", ["listen", "serial"])
def test_other_channels_move_as_well(tmp_path, channels):
    """Listening: the rig follows a QEMU that makes the sockets itself. Serial: no virtio at all."""
    with rig.Net() as net:
        vm = rig.Guest(net.a, tmp_path / "a", rig.Load(mem="8M"), channels=channels)
        vm.start().wait_boot()
        twin = vm.twin(net.b, tmp_path / "b")
        mark = vm.ticks.mark()
        rig.native_migrate(vm, twin)
        vm.ticks.wait_side("b", 500, since=mark)
        move = vm.ticks.move("a", "b", mark)
        assert (move.overlap_ms, move.repeated, len(move.boots)) == (0, 0, 1)
        vm.report.check()
        assert twin.find().pid == twin.process.pid
