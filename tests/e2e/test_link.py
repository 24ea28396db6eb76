# SPDX-License-Identifier: LGPL-2.1-or-later
"""A link that outlives the network: whatever happens to it in precopy, the guest moves and QEMU sees a
pause at most."""

import itertools
import time

import pytest
import rig
from rig import faults, soak

RATE = "160mbit"
# What is rewritten while the link is down has to be sent once more: little, for times to compare.
LOAD = rig.Load(mem="32M", dirty="100K/s", content="random", fill="64M", fill_content="random")
MEM = "196600K"
WINDOW = 16 << 20  # of memory that the courier may hold


class Scene:
    """A booted guest on a and an agent on b, over a shaped link."""

    def __init__(self, net, tmp_path, *agent_args):
        self.net = net
        self.vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=MEM).start().wait_boot()
        self.twin = self.vm.twin(net.b, tmp_path / "b")
        self.agent = rig.Agent(net.b, tmp_path / "agent", agent_args)

    def start(self, *options):
        """A migration that has copied for a moment."""
        started = rig.start_migrate(self.vm, self.twin, self.agent, *options)
        faults.wait_until(lambda: 'phase="copying memory"' in started.stderr() or
                          not started.is_running(), 30, "precopy")
        time.sleep(1.5)
        assert started.is_running(), started.wait(5)
        return started

    def expect_moved(self, started, outage_s=0, plain_s=None, timeout=180):
        """It has moved with nothing lost, in little more than its time and the outage."""
        done = started.wait(timeout)
        assert done.exit == 0, done
        self.twin.find(5)
        self.vm.ticks.wait_side("b", 200)
        move = self.vm.ticks.move("a", "b")
        assert (move.overlap_ms, move.lost, move.repeated, move.reordered) == (0, 0, 0, 0)
        assert move.gap_ms < 2000, move
        self.vm.report.check()
        if plain_s is not None:
            assert done.report["total_ms"] / 1000 < plain_s + outage_s + 2 + noise_s(plain_s), (done, plain_s)
        assert resent(done) <= WINDOW
        link = done.report["link"]
        assert link["lanes"]["ram"]["out_bytes"] > 64 << 20 and link["memory_peak_bytes"] > 0
        assert link["queued_bytes"] >= 0 and link["outage_count"] >= len(done.report["outages"])
        return done


def noise_s(plain_s):
    """A sample shares its processors with whatever else runs there."""
    return 0 if soak.ROUNDS else plain_s / 2


def resent(done):
    """Bytes that were sent again, as the report has them."""
    return done.report["link"]["resent_bytes"]


@pytest.fixture
def scene(tmp_path):
    with rig.Net(rate=RATE) as net:
        yield Scene(net, tmp_path)


@pytest.fixture(scope="module")
def plain_s(tmp_path_factory):
    """Seconds of the same move with nothing in its way."""
    # made before own_state is, for all of the module
    with rig.Net(rate=RATE) as net, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GODWIT_STATE", str(tmp_path_factory.mktemp("state")))
        scene = Scene(net, tmp_path_factory.mktemp("plain"))
        done = scene.expect_moved(scene.start())
        assert done.report["outages"] == []
        return done.report["total_ms"] / 1000


@pytest.mark.parametrize("seconds", [0.2, 3, *([20, 60] if soak.ROUNDS else [9])])
def test_a_cut_in_precopy_is_a_pause(scene, plain_s, seconds):
    started = scene.start()
    with scene.net.outage():
        time.sleep(seconds)
        if seconds >= 9:
            assert "link down for" in started.stderr() and "guest unaffected" in started.stderr()
    done = scene.expect_moved(started, seconds, plain_s)
    if seconds >= 9:
        (outage,) = done.report["outages"]
        assert seconds - 4 < outage["for_ms"] / 1000 < seconds + 2, outage


def test_every_connection_is_reset_again_and_again(scene, plain_s):
    started = scene.start()
    for _ in range(3):
        assert scene.net.reset() >= 1
        time.sleep(1)
    scene.expect_moved(started, 3, plain_s)


def test_connections_are_refused_for_a_while(scene, plain_s):
    started = scene.start()
    with scene.net.refusal():
        time.sleep(4)
    scene.expect_moved(started, 4, plain_s)


@pytest.mark.parametrize("deaf", ["a", "b"])
def test_loss_in_one_direction(scene, plain_s, deaf):
    started = scene.start()
    with scene.net.one_way_loss(getattr(scene.net, deaf)):
        time.sleep(5)
    scene.expect_moved(started, 5, plain_s)


@pytest.mark.parametrize("what", ["flips", "stall", "resets"])
def test_something_in_the_middle(tmp_path, plain_s, what):
    """Between the hosts stands what neither knows of: it spoils bytes, holds them back, or resets."""
    with rig.Net(rate=RATE) as net, rig.Proxy(net.a, net.b) as proxy:
        scene = Scene(net, tmp_path)
        started = scene.start()
        began = time.monotonic()
        if what == "stall":
            with proxy.stalled():
                time.sleep(5)
        for _ in range(0 if what == "stall" else 3):
            assert what != "resets" or proxy.reset() >= 1
            if what == "flips":
                proxy.flip()
                faults.wait_until(lambda: proxy.flips_left() == 0, 10, "the flipped bit")
            time.sleep(1)
        scene.expect_moved(started, time.monotonic() - began, plain_s)


def test_the_destinations_address_moves_to_another_interface(tmp_path, plain_s):
    with rig.Net(rate=RATE, pairs=2) as net:
        scene = Scene(net, tmp_path)
        started = scene.start()
        net.cut(0)
        time.sleep(1)
        net.move_address(net.b)
        scene.expect_moved(started, 4, plain_s)


@pytest.mark.parametrize("pair", [0, 1])
def test_one_of_two_paths_is_cut_for_good(tmp_path, plain_s, pair):
    with rig.Net(rate=RATE, pairs=2) as net:
        scene = Scene(net, tmp_path)
        started = scene.start("--data-address", ",".join(net.b.addresses), "--paths", "2",
                              "--max-bandwidth", "10M")
        local = {line.split()[3].rpartition(":")[0] for line in net.connections(net.a)}
        assert local == set(net.a.addresses), "a path over each address"
        net.cut(pair)
        # --max-bandwidth is half of what the plain move had
        done = scene.expect_moved(started, 5, 2 * plain_s)
        assert done.report["paths"] == 2 and done.report["outages"] == []


def test_data_is_accepted_at_the_given_addresses_only(tmp_path):
    with rig.Net(rate=RATE, pairs=2) as net:
        scene = Scene(net, tmp_path)
        started = scene.start("--data-address", net.b.addresses[1])
        lines = net.b.run(["ss", "-Htln"]).stdout.splitlines()
        assert [line.split()[3].rpartition(":")[0] for line in lines] == [net.b.addresses[1]]
        scene.expect_moved(started)


def test_a_cut_beyond_the_deadline_ends_on_the_source(scene):
    started = scene.start("--link-deadline", "5")
    with scene.net.outage():
        done = started.wait(60)
    assert (done.exit, done.cause, done.report["cause"]["side"]) == (3, "link-lost", "link"), done
    assert (done.report["result"], done.report["runs_on"]) == ("stayed", "source")
    assert len(done.report["outages"]) == 1
    mark = scene.vm.ticks.mark()
    scene.vm.ticks.wait_side("a", 200, since=mark)
    scene.vm.report.check()
    done = rig.migrate(scene.vm, scene.twin, scene.agent)
    assert done.exit == 0, f"the next one must work: {done}"


def test_a_cut_as_the_guest_stops_costs_little(scene):
    """The link dies while the stopped guest's last pages are on it: the guest goes on where it is, after
    a few times the downtime that was allowed at most (two seconds of silence, then as many of no path)."""
    begin = scene.vm.ticks.mark()
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--max-downtime", "500")
    with scene.vm.monitor(30) as monitor:
        states = (monitor.execute("query-status").get("status") for _ in itertools.count())
        faults.wait_until(lambda: next(states) == "finish-migrate", 60, "stop", 0.001)
    mark = scene.vm.ticks.mark()
    with scene.net.outage():
        done = started.wait(100)
    assert (done.exit, done.cause) == (3, "link-lost"), done
    scene.vm.ticks.wait_side("a", 200, since=mark)
    assert 300 < scene.vm.ticks.gap(begin) < 6000
    scene.vm.report.check()


def test_each_lane_carries_what_qemu_wrote(tmp_path, monkeypatch):
    """With the codec off, SHA-256 of what the source's QEMU wrote is that of what the other one read. (The
    trial of the link before the move, which goes with the rehearsal, has couriers of its own.)"""
    with rig.Net(rate=RATE) as net:
        programs = rig.tee.build(tmp_path / "programs", rig.paths)
        monkeypatch.setattr(rig.paths, "BUILD", programs)
        scene = Scene(net, tmp_path)
        started = scene.start("--codec", "off", "--no-rehearse")
        assert net.reset() >= 1
        scene.expect_moved(started)
        faults.wait_until(lambda: len(rig.tee.seen(programs)) == 2, 10, "what was seen")
        seen = rig.tee.seen(programs)
        assert seen["source"].keys() == seen["destination"].keys() == {"ram"}
        for lane, source in seen["source"].items():
            there = seen["destination"][lane]
            assert source["out"] == there["in"] and source["in"] == there["out"], lane
        assert seen["source"]["ram"]["out"][0] > 64 << 20
