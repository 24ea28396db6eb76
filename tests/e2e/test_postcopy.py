# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that writes faster than the link carries arrives all the same; and whatever happens to the link,
the couriers or QEMU's sockets while its memory is on both hosts, it goes on without anybody's help."""

import os
import random
import time

import pytest
import rig
from rig import faults

RATE = "100mbit"
LOAD = rig.Load(mem="32M", dirty="60M/s", content="random", fill="8M", fill_content="random")
MEM = "131064K"
PHASE = 'phase="fetching memory"'


class Scene:
    """A guest on a that is too busy for the link, and an agent on b."""

    def __init__(self, net, tmp_path, load=LOAD, **more):
        self.net = net
        self.vm = rig.Guest(net.a, tmp_path / "a", load=load, mem=MEM, **more).start().wait_boot()
        self.twin = self.vm.twin(net.b, tmp_path / "b")
        self.agent = rig.Agent(net.b, tmp_path / "agent")

    def start(self, *options, phase=PHASE):
        """A migration that has come to the phase."""
        started = rig.start_migrate(self.vm, self.twin, self.agent, *options)
        faults.wait_until(lambda: phase in started.stderr() or not started.is_running(), 90, phase)
        return started

    def courier(self, host):
        """The pid of the courier on a host: of its two processes the one that carries."""
        pids = [pid for pid in host.pids()
                if b"godwit-courier\0" in open(f"/proc/{pid}/cmdline", "rb").read()]
        return min(pids, default=None)

    def expect_moved(self, started, timeout=240):
        """It has moved by postcopy, with its memory right and nothing lost or done twice."""
        done = started.wait(timeout)
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
    done = scene.expect_moved(scene.start())
    assert done.report["postcopy"]["preempt"] and done.report["postcopy"]["requests"] > 0
    assert done.report["postcopy"]["recoveries"] == 0
    assert done.report["postcopy"]["blocktime_ms"] > 0
    with scene.twin.monitor() as monitor:
        caps = [c["capability"] for c in monitor.execute("query-migrate-capabilities") if c["state"]]
        assert caps == []


def test_it_does_not_where_that_is_forbidden(scene):
    done = rig.migrate(scene.vm, scene.twin, scene.agent, "--postcopy", "never", "--timeout", "20",
                       "--on-timeout", "abort")
    assert (done.exit, done.cause) == (7, "not-converged"), done
    words = done.report["cause"]["message"]
    assert "dirties" in words and "--max-downtime" in words and "--postcopy" in words, words
    mark = scene.vm.ticks.mark()
    scene.vm.ticks.wait_side("a", 200, since=mark)
    scene.vm.report.check()


def test_user_asks_for_it_and_cannot_abort_it(scene):
    started = scene.start("--max-bandwidth", "4M", phase='phase="copying memory"')
    job = next(word[4:] for word in started.stderr().split() if word.startswith("job="))
    time.sleep(1)
    asked = rig.godwit(scene.net.a, "postcopy", job)
    assert asked.exit == 0 and "goes over" in asked.stdout, asked
    faults.wait_until(lambda: PHASE in started.stderr(), 30, "postcopy")
    refused = rig.godwit(scene.net.a, "abort", job)
    assert refused.exit == 3 and "would lose it" in refused.stderr, refused
    assert rig.godwit(scene.net.a, "postcopy", job).exit == 3
    scene.expect_moved(started)


@pytest.mark.parametrize("seconds", [1, 5])
def test_a_cut_link_is_waited_for(scene, seconds):
    started = scene.start("--postcopy", "now")
    time.sleep(random.uniform(0, 2))
    with scene.net.outage():
        time.sleep(seconds)
    done = scene.expect_moved(started)
    assert done.report["postcopy"]["recoveries"] == 0


def kill_couriers(scene, *hosts):
    for host in hosts:
        faults.kill(scene.courier(host))


def yank(vm):
    with vm.monitor() as monitor:
        monitor.execute("yank", instances=[{"type": "migration"}])


BREAKS = {
    "courier of a": lambda scene: kill_couriers(scene, scene.net.a),
    "courier of b": lambda scene: kill_couriers(scene, scene.net.b),
    "both couriers": lambda scene: kill_couriers(scene, scene.net.a, scene.net.b),
    "socket of a": lambda scene: yank(scene.vm),
    "socket of b": lambda scene: yank(scene.twin),
}


@pytest.mark.parametrize("what", list(BREAKS))
def test_recovers_by_itself(scene, what):
    started = scene.start("--postcopy", "now")
    time.sleep(random.uniform(0.2, 2))
    BREAKS[what](scene)
    done = scene.expect_moved(started)
    assert done.report["postcopy"]["recoveries"] == 1, done
    assert "postcopy-paused" in started_words(done)


def started_words(done):
    return done.stderr + str(done.report["timeline"])


def test_recovers_from_a_failure_in_the_recovery(scene):
    started = scene.start("--postcopy", "now")
    time.sleep(0.5)
    for _ in range(3):
        old = scene.courier(scene.net.b)
        faults.kill(old)
        faults.wait_until(lambda: scene.courier(scene.net.b) not in (None, old), 30, "a new courier")
    done = scene.expect_moved(started)
    assert done.report["postcopy"]["recoveries"] >= 1


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_lost_guest_is_called_lost(scene, side):
    started = scene.start("--postcopy", "now")
    time.sleep(1)
    faults.kill(scene.vm.pid if side == "source" else scene.twin.find(5).pid)
    done = started.wait(60)
    told = done.report["cause"]
    assert (done.exit, told["code"], told["side"]) == (3, "guest-lost", side), done
    assert (done.report["result"], done.report["runs_on"]) == ("lost", "nowhere")
    assert "the guest is lost" in told["message"], told
    assert "killed by signal 9" in told["message"], told
    assert "left as it is" in done.report["warnings"][0]


def write_devices(tmp_path, side, text):
    (tmp_path / side).mkdir()
    (tmp_path / side / "devices.cfg").write_text(text)


def test_a_rejected_state_leads_back_from_postcopy(tmp_path):
    """Its QEMU knows no way back; the guest runs on at the source all the same."""
    write_devices(tmp_path, "a", '[device "extra"]\n  driver = "virtio-rng-pci"\n  addr = "0x10"\n')
    write_devices(tmp_path, "b", "")
    with rig.Net(rate=RATE) as net:
        scene = Scene(net, tmp_path, args=["-readconfig", f"{tmp_path}/a/devices.cfg"])
        done = rig.migrate(scene.vm, scene.twin, scene.agent, "--postcopy", "now", "--no-rehearse")
        assert (done.exit, done.cause) == (3, "state-rejected"), done
        assert (done.report["result"], done.report["runs_on"]) == ("stayed", "source")
        assert done.report["warnings"] == [], done
        mark = scene.vm.ticks.mark()
        scene.vm.ticks.wait_side("a", 200, since=mark)
        scene.vm.report.check()
        (tmp_path / "b" / "devices.cfg").write_text((tmp_path / "a" / "devices.cfg").read_text())
        done = rig.migrate(scene.vm, scene.twin, scene.agent)
        assert done.exit == 0, f"the next one must work: {done}"
        scene.vm.ticks.wait_side("b", 200)
        scene.vm.report.check()


SOAK = int(os.environ.get("GODWIT_SOAK", "0"))


def cut(seconds):
    def do(scene):
        with scene.net.outage():
            time.sleep(seconds)
    return do


FAULTS = {**BREAKS, **{f"cut of {seconds} s": cut(seconds) for seconds in (1, 5, 30)}}


@pytest.mark.skipif(not SOAK, reason="a long grid: GODWIT_SOAK says how many rounds of it (make soak)")
@pytest.mark.parametrize("number", range(SOAK))
@pytest.mark.parametrize("what", list(FAULTS))
def test_soak(scene, what, number):
    """Each fault at a random moment after the switch, and now and then a second one in the recovery."""
    chance = random.Random(f"{what} {number}")
    started = scene.start("--postcopy", "now")
    time.sleep(chance.uniform(0, 4))
    if started.is_running():
        FAULTS[what](scene)
    if number % 3 == 2 and what in BREAKS:
        time.sleep(chance.uniform(0, 0.5))
        for host in (scene.net.a, scene.net.b):
            if (courier := scene.courier(host)) is not None:
                faults.kill(courier)
    scene.expect_moved(started)


@pytest.mark.skipif(not SOAK, reason="a long grid: GODWIT_SOAK switches it on (make soak)")
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
