# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that writes faster than the link carries arrives all the same; and whatever happens to the link,
the couriers or QEMU's sockets while its memory is on both hosts, it goes on without anybody's help."""

import random
import time

import pytest
import rig
from rig import faults, soak

RATE = "300mbit"
LOAD = rig.Load(mem="32M", dirty="60M/s", content="random", fill="8M", fill_content="random")
MEM = "131064K"


class Scene(rig.Scene):
    """A guest on a that is too busy for the link, and an agent on b."""

    def __init__(self, net, tmp_path, **more):
        super().__init__(net, tmp_path, load=LOAD, mem=MEM, **more)

    def start(self, *options, phase="fetching memory"):
        """A migration that has come to the phase."""
        self.started = rig.start_migrate(self.vm, self.twin, self.agent, *options)
        self.wait_phase(phase)
        return self.started

    def fetching(self, after=0.0):
        """One that fetches memory, since so many seconds; at 37 MB/s it does so for about three."""
        started = self.start("--postcopy", "now", "--no-rehearse")
        time.sleep(after)
        return started

    def kill_couriers(self, *hosts):
        """Those that are there now on these hosts, or on both."""
        pids = [pid for host in hosts or self.net.hosts
                for pid in faults.named(host.pids(), b"godwit-courier")]
        for pid in pids:
            faults.kill(pid)

    def expect_moved(self, timeout=240):
        """It has moved by postcopy, with its memory right and nothing lost or done twice."""
        done = self.started.wait(timeout)
        assert done.exit == 0, done
        assert (done.report["result"], done.report["mode"]) == ("moved", "postcopy"), done
        self.twin.find(5)
        self.vm.ticks.wait_side("b", 200)
        move = self.vm.ticks.move("a", "b")
        assert (move.overlap_ms, move.lost, move.repeated, move.reordered) == (0, 0, 0, 0)
        self.vm.report.check()
        assert not self.vm.is_alive(), "the source's QEMU is still there"
        return done


@pytest.fixture
def scene(tmp_path):
    with rig.Net(rate=RATE) as net:
        yield Scene(net, tmp_path)


def test_a_guest_that_would_not_converge_goes_over_by_itself(scene):
    scene.start()
    done = scene.expect_moved()
    assert not done.report["postcopy"]["preempt"], "QEMU 7.2 aborts when a migration with it fails early"
    assert done.report["postcopy"]["requests"] > 0
    assert done.report["postcopy"]["recoveries"] == 0
    assert done.report["postcopy"]["blocktime_ms"] > 0
    waits = done.report["postcopy"]["page_waits"]
    assert 0 < waits["answered"] <= waits["requests"], waits
    assert 0 < waits["p50_us"] <= waits["p99_us"] <= waits["max_us"] < 1000000, waits
    with scene.twin.monitor() as monitor:
        caps = [c["capability"] for c in monitor.execute("query-migrate-capabilities") if c["state"]]
        assert caps == []


def test_it_does_not_where_that_is_forbidden(scene):
    done = rig.migrate(scene.vm, scene.twin, scene.agent, "--postcopy", "never", "--timeout", "10",
                       "--on-timeout", "abort")
    assert (done.exit, done.cause) == (7, "not-converged"), done
    words = done.report["cause"]["message"]
    assert "dirties" in words and "--max-downtime" in words and "--postcopy" in words, words
    scene.expect_running()


def test_user_asks_for_it_and_cannot_abort_it(scene):
    started = scene.start("--max-bandwidth", "20M", "--max-downtime", "1", phase="copying memory")
    job = next(word[4:] for word in started.stderr().split() if word.startswith("job="))
    asked = rig.godwit(scene.net.a, "postcopy", job)
    assert asked.exit == 0 and "goes over" in asked.stdout, asked
    scene.wait_phase("fetching memory")
    refused = rig.godwit(scene.net.a, "abort", job)
    assert refused.exit == 3 and "would lose it" in refused.stderr, refused
    assert rig.godwit(scene.net.a, "postcopy", job).exit == 3
    scene.expect_moved()


def test_a_cut_link_is_waited_for(scene):
    scene.fetching(after=random.uniform(0, 1))
    with scene.net.outage():
        time.sleep(1)
    done = scene.expect_moved()
    assert done.report["postcopy"]["recoveries"] == 0


def yank(vm):
    with vm.monitor() as monitor:
        monitor.execute("yank", instances=[{"type": "migration"}])


BREAKS = {
    "courier of a": lambda scene: scene.kill_couriers(scene.net.a),
    "courier of b": lambda scene: scene.kill_couriers(scene.net.b),
    "both couriers": lambda scene: scene.kill_couriers(),
    "socket of a": lambda scene: yank(scene.vm),
    "socket of b": lambda scene: yank(scene.twin),
}


@pytest.mark.parametrize("what", ["both couriers", "socket of b"])
def test_recovers_by_itself(scene, what):
    scene.fetching(after=random.uniform(0.2, 1))
    BREAKS[what](scene)
    done = scene.expect_moved()
    assert (done.report["postcopy"]["recoveries"], done.report["postcopy"]["attempts"]) == (1, 1), done
    assert "postcopy-paused" in done.stderr + str(done.report["timeline"])


@pytest.mark.skipif(not soak.ROUNDS, reason=soak.REASON)
def test_recovers_from_a_failure_in_the_recovery(scene):
    """Now and then a courier dies while the source's QEMU 7.2 asks which pages have come; it then stays in
    postcopy-recover for ever, deaf to every command (its f8c543e808, fixed in 8.2). This fails then."""
    scene.fetching(after=0.2)
    for _ in range(3):
        old = faults.wait_until(lambda: faults.named(scene.net.b.pids(), b"godwit-courier"), 30, "a courier")
        scene.kill_couriers(scene.net.b)
        faults.wait_until(lambda: faults.named(scene.net.b.pids(), b"godwit-courier") not in ([], old), 30,
                          "a new courier")
    done = scene.expect_moved()
    assert done.report["postcopy"]["recoveries"] >= 1


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_lost_guest_is_called_lost(scene, side):
    started = scene.fetching(after=0.5)
    faults.kill(scene.vm.pid if side == "source" else scene.twin.find(5).pid)
    done = started.wait(60)
    told = done.report["cause"]
    assert (done.exit, told["code"], told["side"]) == (3, "guest-lost", side), done
    assert (done.report["result"], done.report["runs_on"]) == ("lost", "nowhere")
    assert "the guest is lost" in told["message"], told
    assert "killed by signal 9" in told["message"], told
    assert "left as it is" in done.report["warnings"][0]


def test_a_rejected_state_leads_back_from_postcopy(tmp_path):
    """Its QEMU knows no way back; the guest runs on at the source all the same."""
    spoil = 'if [ -e {at}/spoil ]; then set -- "$@" -machine hpet=off; fi'
    with rig.Net(rate=RATE) as net:
        scene = Scene(net, tmp_path, before_qemu=spoil)
        (tmp_path / "spoil").write_text("")
        done = rig.migrate(scene.vm, scene.twin, scene.agent, "--postcopy", "now", "--no-rehearse")
        (tmp_path / "spoil").unlink()
        scene.expect(done, 3, "state-rejected", "destination", "hpet")
        assert done.report["warnings"] == [], done
        scene.expect_next_works()


# --- the long grids: make soak ---

def cut(seconds):
    def do(scene):
        with scene.net.outage():
            time.sleep(seconds)
    return do


FAULTS = {**BREAKS, **{f"cut of {seconds} s": cut(seconds) for seconds in (1, 5, 30)}}


@pytest.mark.skipif(not soak.ROUNDS, reason=soak.REASON)
@pytest.mark.parametrize("number", range(soak.ROUNDS))
@pytest.mark.parametrize("what", list(FAULTS))
def test_soak(scene, what, number):
    """Each fault at a random moment after the switch, and now and then a second one in the recovery."""
    chance = random.Random(f"{what} {number}")
    scene.net.set_rate("100mbit")
    started = scene.fetching(after=chance.uniform(0, 4))
    if started.is_running():
        FAULTS[what](scene)
    if number % 3 == 2 and what in BREAKS:
        time.sleep(chance.uniform(0, 0.5))
        scene.kill_couriers()
    scene.expect_moved()


@pytest.mark.skipif(not soak.ROUNDS, reason=soak.REASON)
def test_twenty_moves_in_a_row(tmp_path):
    """Half of them by precopy, half by postcopy, between QEMU 7.2 and 10.0 and back."""
    new = rig.qemu10.directory()
    with rig.Net(rate=None) as net:
        vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=MEM, machine="pc-q35-7.2",
                       qemu="/usr/bin/qemu-system-x86_64").start().wait_boot()
        hosts, agents = {"a": net.a, "b": net.b}, {}
        for name, directory in (("a", "/usr/bin"), ("b", new)):
            config = tmp_path / f"{name}.conf"
            config.write_text(f"[qemu]\ndirectories={directory}\n")
            agents[name] = rig.Agent(hosts[name], tmp_path / f"agent-{name}", ["--config", config])
        for number in range(20):
            other = "b" if vm.side == "a" else "a"
            twin, mark = vm.twin(hosts[other], tmp_path / f"{other}{number}"), vm.ticks.mark()
            mode = "never" if number % 4 < 2 else "now"
            done = rig.migrate(vm, twin, agents[other], "--postcopy", mode, "--max-downtime", "1000")
            assert done.report["result"] == "moved", f"move {number}: {done}"
            assert done.report["mode"] == ("precopy" if mode == "never" else "postcopy")
            vm.ticks.wait_side(other, 200, since=mark)
            move = vm.ticks.move(vm.side, other, since=mark)
            assert (move.overlap_ms, move.lost, move.repeated) == (0, 0, 0), f"move {number}: {move}"
            vm.report.check()
            vm = twin
