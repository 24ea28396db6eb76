# SPDX-License-Identifier: LGPL-2.1-or-later
"""An agent is started again in the middle of a migration, which goes on. A sample is in test_crash.py."""

import time

import pytest
import rig
from rig import faults

GRACE_S = 3
SOAK = pytest.mark.skipif(not rig.soak.ROUNDS, reason=rig.soak.REASON)
SMALL = dict(load=rig.Load(mem="16M", dirty="1M/s", content="text"), mem="131064K")


def couriers(scene):
    return {pid for host in scene.net.hosts for pid in faults.named(host.pids(), b"godwit-courier")}


def events(done):
    return [event["event"] for event in done.report["timeline"]]


def moves_on(scene):
    """Whether memory goes to the destination."""
    with scene.vm.monitor() as monitor:
        def sent():
            return monitor.execute("query-migrate").get("ram", {}).get("transferred", 0)
        before = sent()
        faults.wait_until(lambda: sent() > before + (1 << 20), 10, "memory to be copied")


def start(scene, *options):
    """A migration that copies memory."""
    started = scene.start("--max-bandwidth", "8M", *options)
    moves_on(scene)
    return started


def has_arrived(scene, done):
    assert done.exit == 0, done
    print([(event["at_ms"], event["event"], event["detail"][:60]) for event in done.report["timeline"]])
    scene.twin.find(5)
    scene.vm.ticks.wait_side("b", 100)
    scene.vm.report.check()
    assert scene.vm.ticks.move("a", "b").overlap_ms == 0
    assert rig.journal.ask(scene.agent.state, "SELECT result FROM jobs") == [("arrived",)]
    assert not list(scene.agent.state.glob("jobs/*")) and not list(scene.agent.state.glob("leases/*"))
    assert not couriers(scene)


@SOAK
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_the_destination_s_agent_is_started_again(net, tmp_path, end):
    """Couriers and QEMU live on, memory is copied on, and the next agent takes the job up."""
    scene = rig.Scene(net, tmp_path, **SMALL)
    started = start(scene)
    before, qemu = couriers(scene), scene.qemu_there()
    assert getattr(scene.agent, end)() in (None, 0)
    moves_on(scene)
    assert couriers(scene) == before and len(before) == 2
    scene.agent.start()
    faults.wait_until(lambda: "goes on in this agent" in scene.agent.log_tail(), 10, "the job to be taken up")
    assert scene.qemu_there() == qemu
    done = started.wait()
    assert "agent-away" in events(done) and "agent-back" in events(done)
    has_arrived(scene, done)
    assert scene.twin.pid == qemu


@SOAK
def test_nobody_comes_back(net, tmp_path):
    """The couriers end by themselves, the guest stays, and the next agent puts away what is left."""
    scene = rig.Scene(net, tmp_path, **SMALL, config=f"[limits]\nrestart-seconds={GRACE_S}\n")
    started = start(scene)
    scene.agent.kill()
    killed = time.monotonic()
    done = started.wait()
    assert GRACE_S - 1 < time.monotonic() - killed < GRACE_S + 12, done
    faults.wait_until(lambda: not couriers(scene), 5, "the end of the couriers")
    scene.agent.start()
    faults.wait_until(lambda: not list(scene.agent.state.glob("vms/*")), 10, "clean-up")
    assert rig.journal.ask(scene.agent.state, "SELECT record FROM records") == [("refused",)]
    scene.expect(done, 3, "agent-lost", "destination", allowed=[str(scene.agent.pid), "godwitd"])
    scene.expect_next_works()


def agent_at_source(scene):
    return rig.Agent(scene.net.a, scene.tmp_path / "agent-a")


@SOAK
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_the_source_s_agent_is_started_again(net, tmp_path, end):
    """It coordinates the job: couriers and both QEMUs live on, the next agent goes on with it, and the command that
    watches it does not even end."""
    scene = rig.Scene(net, tmp_path, **SMALL)
    own = agent_at_source(scene)
    started = start(scene, "--agent", own.destination)
    before, qemu = couriers(scene), scene.qemu_there()
    assert getattr(own, end)() in (None, 0)
    moves_on(scene)
    assert couriers(scene) == before and len(before) == 2
    own.start()
    done = started.wait()
    assert "taken-up" in events(done) and "agent-back" in events(done)
    has_arrived(scene, done)
    assert scene.twin.pid == qemu
    assert rig.journal.ask(own.state, "SELECT result, token FROM jobs") == [("moved", "")]
    assert not list(own.state.glob("jobs/*")) and not list(own.state.glob("leases/*"))


@SOAK
def test_the_source_s_agent_does_not_come_back(net, tmp_path):
    """Both couriers end by themselves, the guest runs on, and the next migration works."""
    config = f"[limits]\nrestart-seconds={GRACE_S}\n"
    scene = rig.Scene(net, tmp_path, **SMALL, config=config)
    own = rig.Agent(net.a, tmp_path / "agent-a", ["--config", tmp_path / "godwitd.conf"])
    started = start(scene, "--agent", own.destination)
    own.kill()
    faults.wait_until(lambda: not couriers(scene), GRACE_S + 5, "the end of the couriers")
    faults.wait_until(lambda: not list(scene.agent.state.glob("vms/*")), 15, "clean-up of the destination")
    own.start()
    faults.wait_until(lambda: rig.journal.ask(own.state, "SELECT result FROM jobs") == [("stayed",)], 15, "the journal")
    done = started.wait()
    assert (done.exit, done.cause) == (3, "agent-lost"), done
    scene.expect_running()
    scene.expect_next_works()


@SOAK
def test_the_source_s_agent_is_started_again_twice(net, tmp_path):
    """And the destination's in between, which waits for the coordinator all the same."""
    scene = rig.Scene(net, tmp_path, **SMALL)
    own = agent_at_source(scene)
    started = start(scene, "--agent", own.destination, "--max-bandwidth", "3M")
    for agent in (scene.agent, own, scene.agent, own):
        agent.kill()
        moves_on(scene)
        agent.start()
        faults.wait_until(lambda: "goes on in this agent" in agent.log_tail(), 20, "the job to be taken up")
        time.sleep(2)
    has_arrived(scene, started.wait())


@SOAK
def test_reconcile_leaves_a_job_that_waits_alone(net, tmp_path):
    """The next agent goes on with it, not the command of somebody who wants to know."""
    scene = rig.Scene(net, tmp_path, **SMALL)
    own = agent_at_source(scene)
    started = start(scene, "--agent", own.destination)
    own.kill()
    done = rig.godwit(net.a, "reconcile", "--json", env={"GODWIT_STATE": str(own.state)})
    assert "fetches" not in done.stderr and len(couriers(scene)) == 2, done
    moves_on(scene)
    own.start()
    done = started.wait()
    assert "taken-up" in events(done)
    has_arrived(scene, done)
