# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory goes through the RAM codec: less of it on the link, and exactly that memory at the other end."""

import contextlib
import time

import pytest
import rig
from rig import faults, ram, soak

LOAD = rig.Load(mem="32M", dirty="30M/s", content="small", fill="32M")
MEM = "196600K"
RATE = "300mbit"
USED = ("zero", "unchanged", "delta", "first") # classes that such a guest's pages are of


def cut(net, vm, started):
    """Once memory is sent again, the link is down for a while."""
    with vm.monitor() as monitor:
        def rounds():
            return monitor.execute("query-migrate").get("ram", {}).get("dirty-sync-count", 0)
        faults.wait_until(lambda: rounds() >= 2, 60, "the second round", 0.005)
        with net.outage():
            faults.wait_until(lambda: "link down" in started.stderr(), 20, "the outage")


def check_equal(tmp_path, harm=lambda *_: None):
    with rig.Net(rate=RATE) as net:
        vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=MEM).start().wait_boot()
        held = tmp_path / "held"
        agent = rig.Agent(net.b, tmp_path / "agent", env={"GODWIT_POINT": f"stop=started:written={held}"})
        twin = vm.twin(net.b, tmp_path / "b")
        started = rig.start_migrate(vm, twin, agent, "--no-rehearse", "--keep-source", "--postcopy", "never",
                                    "--max-downtime", "1000")
        harm(net, vm, started)
        # the destination may start its guest, and its agent does not get to it: both stand with all of the memory
        faults.wait_stop(held, 60, "the handover")
        differing = ram.compare(vm, twin)
        faults.cont(agent.pid)
        done = started.wait(60)
        assert done.exit == 0, done
        assert differing == [], f"{len(differing)} pages differ"
        vm.ticks.wait_side("b", 200)
        vm.report.check()
        return done.report


@pytest.mark.parametrize("turn", range(soak.ROUNDS or 1))
def test_memory_of_both_is_equal_when_the_busy_guest_has_moved(tmp_path, turn):
    report = check_equal(tmp_path)
    assert report["codec"]["mode"] == "pages"
    assert report["wire_bytes"] < report["guest_bytes"] * 0.8
    assert min(report["codec"]["classes"][name]["pages"] for name in USED) > 100, report["codec"]
    asked = [event["detail"] for event in report["timeline"] if event["event"] == "link-rate"]
    assert len(asked) == 1 and 20e6 < int(asked[0].split()[-1]) < 60e6, asked


@pytest.mark.skipif(not soak.ROUNDS, reason=soak.REASON)
def test_and_when_the_link_was_cut_meanwhile(tmp_path):
    report = check_equal(tmp_path, cut)
    assert len(report["outages"]) == 1
    assert min(report["codec"]["classes"][name]["pages"] for name in USED) > 100, report["codec"]


@contextlib.contextmanager
def compare_memory(tmp_path, mem, *options):
    """The move with the comparison; afterwards the guest runs where the report says."""
    with rig.Net(rate=RATE) as net:
        vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=mem).start().wait_boot()
        twin, agent = vm.twin(net.b, tmp_path / "b"), rig.Agent(net.b, tmp_path / "agent")
        done = rig.migrate(vm, twin, agent, "--no-rehearse", "--verify", "ram", "--max-downtime", "1000", *options)
        mark = vm.ticks.mark()
        yield done
        vm.ticks.wait_side("b" if done.report["runs_on"] == "destination" else "a", 200, since=mark)
        vm.report.check()


@pytest.mark.parametrize("turn", range(soak.ROUNDS or 1))
def test_a_page_that_qemu_lost_is_found_before_the_handover(tmp_path, turn):
    """QEMU before 9.0 under TCG with such a size of RAM loses dirty pages of a busy guest nearly every time."""
    with compare_memory(tmp_path, "192M", "--accept-risk", "tcg-dirty-pages") as done:
        proof = done.report["ram_proof"]
        assert proof["pages"] >= 192 << 8 and proof["unknown"] == 0
        if proof["different"] == 0:
            return # QEMU has lost nothing this time, and the guest is checked below
        assert (done.exit, done.cause, done.report["runs_on"]) == (3, "ram-unsent", "source"), done
        assert "pc.ram+0x" in done.report["cause"]["message"]


def test_a_page_that_changes_unseen_is_found_before_the_handover(tmp_path):
    """Written to behind QEMU's back while everything stands, where the guest has nothing."""
    with rig.Net(rate=RATE) as net:
        vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=MEM).start().wait_boot()
        twin, agent, held = vm.twin(net.b, tmp_path / "b"), rig.Agent(net.b, tmp_path / "agent"), tmp_path / "held"
        started = rig.start_migrate(vm, twin, agent, "--no-rehearse", "--verify", "ram", "--max-downtime", "2000",
                                    env={"GODWIT_POINT": f"stop=call:courier.verify={held}"})
        command = faults.wait_stop(held, 60, "the comparison")
        mark, top = vm.ticks.mark(), 190 << 20
        memory = ram.peek(vm, 0, top)
        unused = next(page for page in range(top - 4096, 0, -4096) if not any(memory[page:page + 4096]))
        ram.poke(vm, unused, b"behind QEMU's back")
        faults.cont(command)
        done = started.wait(60)
        assert (done.exit, done.cause, done.report["runs_on"]) == (3, "ram-unsent", "source"), done
        assert done.report["ram_proof"]["different"] == 1
        assert f"pc.ram+{unused:#x}" in done.report["cause"]["message"]
        vm.ticks.wait_side("a", 200, since=mark)
        vm.report.check()


@pytest.mark.skipif(not soak.ROUNDS, reason=soak.REASON)
@pytest.mark.parametrize("turn", range(soak.ROUNDS or 1))
def test_memory_that_was_sent_is_found_to_be_so(tmp_path, turn):
    with compare_memory(tmp_path, MEM) as done:
        assert done.exit == 0, done
        assert done.report["ram_proof"]["different"] == 0
        assert done.report["ram_proof"]["us"] / 1000 < done.report["downtime_ms"]


def copy_ms(count):
    """Of so many bytes of memory, by one thread."""
    data, copy, best = bytes(range(256)) * (count >> 8), memoryview(bytearray(count)), None
    for _ in range(3):
        began = time.monotonic()
        copy[:] = data
        took = (time.monotonic() - began) * 1000
        best = took if best is None else min(best, took)
    return best


def lose_or_not(tmp_path, mem, *options):
    """A move held right before the comparison, when both sides have what they will have: the pages that differ by the
    test's own look at them, and how the move ended."""
    load = rig.Load(mem="96M", dirty="60M/s", content="small", fill="64M")
    with rig.Net(rate=RATE) as net:
        vm = rig.Guest(net.a, tmp_path / "a", load=load, mem=mem).start().wait_boot()
        twin, agent, held = vm.twin(net.b, tmp_path / "b"), rig.Agent(net.b, tmp_path / "agent"), tmp_path / "held"
        started = rig.start_migrate(vm, twin, agent, "--no-rehearse", "--verify", "ram", "--max-downtime", "2000",
                                    *options, env={"GODWIT_POINT": f"stop=call:courier.verify={held}"})
        command = faults.wait_stop(held, 90, "the comparison")
        with twin.monitor() as monitor:
            faults.wait_until(lambda: monitor.execute("query-migrate").get("status") == "completed", 20, "the load")
        differing, mark = ram.compare(vm, twin), vm.ticks.mark()
        faults.cont(command)
        done = started.wait(60)
        vm.ticks.wait_side("b" if done.report["runs_on"] == "destination" else "a", 200, since=mark)
        vm.report.check()
        return differing, done


@pytest.mark.skipif(not soak.ROUNDS, reason=soak.REASON)
@pytest.mark.parametrize("turn", range(soak.ROUNDS or 1))
@pytest.mark.parametrize("mem, options", [("512M", ("--accept-risk", "tcg-dirty-pages")), ("524280K", ())])
def test_who_has_lost_a_page_is_refused_and_nobody_else(tmp_path, mem, options, turn):
    differing, done = lose_or_not(tmp_path, mem, *options)
    proof = done.report["ram_proof"]
    print(f"{mem}: {len(differing)} pages differ, the proof says {proof}; a copy takes {copy_ms(512 << 20):.0f} ms")
    assert proof["unknown"] == 0
    if differing:
        assert mem == "512M"
        assert (done.exit, done.cause, done.report["runs_on"]) == (3, "ram-unsent", "source"), done
        assert proof["different"] == len(differing)
    else:
        assert done.exit == 0, done


@pytest.mark.skipif(not soak.ROUNDS, reason=soak.REASON)
def test_comparing_memory_needs_the_codec(tmp_path):
    with compare_memory(tmp_path, MEM, "--codec", "off") as done:
        assert (done.exit, done.cause) == (3, "ram-unproven"), done
