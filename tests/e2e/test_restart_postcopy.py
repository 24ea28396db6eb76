# SPDX-License-Identifier: LGPL-2.1-or-later
"""An agent, or the command, ends while the guest's memory is on both hosts: pages are served meanwhile, and the next
one goes on with the job. The guest is never lost, and never runs twice."""

import pytest
import rig
from rig import faults

LOAD = rig.Load(mem="16M", dirty="2M/s", content="random", fill="36M", fill_content="random")
SOAK = pytest.mark.skipif(not rig.soak.ROUNDS, reason=rig.soak.REASON)
ENDS = ["kill", "stop"]
SLOWLY = ("--postcopy", "now", "--no-rehearse", "--max-bandwidth", "5M")


class Scene(rig.Scene):
    """A busy guest that fetches its memory slowly from a; an agent on b, and one on a that may coordinate."""

    def __init__(self, net, tmp_path, **more):
        super().__init__(net, tmp_path, load=LOAD, mem="131064K", **more)
        self.own = rig.Agent(net.a, tmp_path / "agent-a")

    def fetching(self, coordinator="command", *options):
        more = ("--agent", self.own.destination) if coordinator == "agent" else ()
        self.started = rig.start_migrate(self.vm, self.twin, self.agent, *SLOWLY, *more, *options,
                                         env={"GODWIT_STATE": str(self.own.state)})
        self.wait_phase("fetching memory")
        self.qemu = self.qemu_there()
        self.before = self.couriers()
        assert len(self.before) == 2
        self.progresses()
        return self.started

    def couriers(self, *hosts):
        return {pid for host in hosts or self.net.hosts for pid in faults.named(host.pids(), b"godwit-courier")}

    def kill_couriers(self, *hosts):
        for pid in self.couriers(*hosts):
            faults.kill(pid)

    def left(self):
        """What has to be fetched yet, as the source's QEMU says."""
        with self.vm.monitor() as monitor:
            return monitor.execute("query-migrate").get("ram", {}).get("remaining", 0)

    def progresses(self):
        """Memory goes on to be fetched, and the guest runs there alone."""
        mark, before = self.vm.ticks.mark(), self.left()
        faults.wait_until(lambda: self.left() < before, 10, "pages")
        self.vm.ticks.wait_side("b", 30, since=mark)

    def expect_fetching(self):
        self.progresses()
        assert self.couriers() == self.before and self.left() > 0

    def expect_arrived(self):
        self.twin.find(5)
        assert self.twin.pid == self.qemu
        self.vm.ticks.wait_side("b", 200)
        move = self.vm.ticks.move("a", "b")
        assert (move.overlap_ms, move.lost, move.repeated, move.reordered) == (0, 0, 0, 0)
        self.vm.report.check()
        faults.wait_until(lambda: not self.vm.is_alive(), 60, "the end of the source's copy")
        faults.wait_until(lambda: not self.couriers(), 10, "the end of the couriers")
        for agent, result in ((self.agent, "arrived"), (self.own, "moved")):
            faults.wait_until(lambda: rig.journal.ask(agent.state, "SELECT result, token FROM jobs") == [(result, "")], 90,
                              f"the journal of {agent.host.name}")
            assert not list(agent.state.glob("jobs/*")) and not list(agent.state.glob("leases/*"))
        with self.twin.monitor() as monitor:
            caps = [c["capability"] for c in monitor.execute("query-migrate-capabilities") if c["state"]]
            assert caps == []

    def expect_moved(self):
        done = self.started.wait()
        assert done.exit == 0, done
        assert (done.report["result"], done.report["mode"]) == ("moved", "postcopy"), done
        self.expect_arrived()
        self.report = done.report
        return [event["event"] for event in done.report["timeline"]]


@pytest.fixture
def scene(net, tmp_path):
    return Scene(net, tmp_path)


@SOAK
@pytest.mark.parametrize("end", ENDS)
def test_the_destination_s_agent(scene, end):
    scene.fetching()
    assert getattr(scene.agent, end)() in (None, 0)
    scene.expect_fetching()
    scene.agent.start()
    events = scene.expect_moved()
    assert "agent-away" in events and "agent-back" in events


@SOAK
@pytest.mark.parametrize("end", ENDS)
def test_the_source_s_agent(scene, end):
    scene.fetching("agent")
    assert getattr(scene.own, end)() in (None, 0)
    scene.expect_fetching()
    scene.own.start()
    events = scene.expect_moved()
    assert events[0] == "step" and {"released", "taken-up", "fetched"} <= set(events), events  # of both agents
    assert scene.report["checks"] and scene.report["downtime_ms"] > 0, scene.report


def test_both_agents(scene):
    scene.fetching("agent")
    scene.own.kill()
    scene.agent.kill()
    scene.expect_fetching()
    scene.own.start()
    scene.expect_fetching()
    scene.agent.start()
    assert "taken-up" in scene.expect_moved()


@SOAK
def test_an_agent_and_its_courier(scene):
    """Both QEMUs wait; the next agent makes a new link."""
    scene.fetching()
    scene.agent.kill()
    scene.kill_couriers(scene.net.b)
    scene.agent.start()
    done = scene.started.wait()
    assert done.exit == 0 and done.report["postcopy"]["recoveries"] >= 1, done
    scene.expect_arrived()


@SOAK
def test_the_source_s_agent_and_its_courier(scene):
    scene.fetching("agent")
    scene.own.kill()
    scene.kill_couriers(scene.net.a)
    scene.own.start()
    done = scene.started.wait()
    assert done.exit == 0 and done.report["postcopy"]["recoveries"] >= 1, done
    scene.expect_arrived()


@SOAK
def test_nobody_is_needed(scene):
    """Not even the command: the memory comes, and the agents find out."""
    scene.fetching()
    scene.own.stop()
    faults.kill(scene.started.pid)
    scene.expect_fetching()
    faults.wait_until(lambda: not scene.couriers(), 60, "all of the memory")
    scene.own.start()
    scene.expect_arrived()


@SOAK
def test_the_command_and_a_courier(scene):
    """Nobody mends the link any more; whoever settles the job does."""
    scene.fetching()
    scene.own.stop()
    faults.kill(scene.started.pid)
    scene.kill_couriers(scene.net.b)
    done = rig.godwit(scene.net.a, "reconcile", "--json", env={"GODWIT_STATE": str(scene.own.state)}, timeout=120)
    assert [job["result"] for job in done.report["jobs"]] == ["moved"], done
    scene.expect_arrived()


@SOAK
def test_the_agent_of_a_command_s_host(scene):
    """It goes on with the job that the command began."""
    scene.fetching()
    faults.kill(scene.started.pid)
    scene.kill_couriers(scene.net.a)
    faults.wait_until(lambda: "goes on in this agent" in scene.own.log_tail(), 60, "the job to be taken up")
    scene.expect_arrived()


@SOAK
def test_all_has_come_before_the_agent_is_back(scene):
    """It closes the job by itself, and the command learns it."""
    scene.fetching()
    scene.agent.kill()
    faults.wait_until(lambda: not scene.couriers(), 60, "all of the memory")
    scene.agent.start()
    assert "agent-back" in scene.expect_moved()


def killed_at(scene, point, agent=None):
    """The agent, or (None) the command that coordinates, is killed when it comes to the point; where the ticks were then."""
    file = scene.tmp_path / "point"
    env = {"GODWIT_POINT": f"stop={point}={file}"}
    own = {"GODWIT_STATE": str(scene.own.state)}
    if agent:
        agent.stop()
        agent.env = env
        agent.start()
    more = ("--agent", scene.own.destination) if agent is scene.own else ()
    scene.started = rig.start_migrate(scene.vm, scene.twin, scene.agent, *SLOWLY, *more,
                                      env=own if agent else {**own, **env})
    faults.wait_stop(file)
    mark = scene.vm.ticks.mark()
    if not agent:
        faults.kill(scene.started.pid, wait=False)
        return mark
    agent.kill()
    agent.env = None
    agent.start()
    return mark


def the_result(scene, *allowed):
    """How the source's journal says that it ended."""
    ended = [[(result,)] for result in allowed]
    faults.wait_until(lambda: rig.journal.ask(scene.own.state, "SELECT result FROM jobs") in ended, 120, "the end of the job")
    return rig.journal.ask(scene.own.state, "SELECT result FROM jobs")[0][0]


@SOAK
@pytest.mark.parametrize("point", ["started:written", "started:runs", "reply:handover.start"])
def test_the_destination_s_agent_between_two_lines(scene, point):
    """It is killed when it has written STARTED, and nobody has heard of it: the guest runs all the same."""
    killed_at(scene, point, scene.agent)
    scene.qemu = faults.named(scene.net.b.pids(), b"qemu-system-x86_64")[0]
    scene.expect_moved()


@SOAK
@pytest.mark.parametrize("point", ["return:record.put", "call:handover.start", "return:handover.start"])
def test_the_source_s_agent_between_two_lines(scene, point):
    """It is killed when RELEASED is written: the job is settled one way or the other, and the guest runs once."""
    mark = killed_at(scene, point, scene.own)
    done = scene.started.wait()
    result = the_result(scene, "moved", "stayed")
    print(point, result, done.exit)
    assert scene.vm.ticks.move("a", "b").overlap_ms == 0 if result == "moved" else True
    scene.vm.ticks.wait_side("b" if result == "moved" else "a", 100, since=mark)
    scene.vm.report.check()


def test_the_command_between_two_lines(scene):
    """RELEASED is written, nobody has asked the destination to start, and its agent refuses when the command is gone: the
    source's agent finds that out, and the guest runs on there."""
    agent = scene.own.pid
    mark = killed_at(scene, "call:handover.start")
    assert the_result(scene, "stayed") == "stayed"
    scene.vm.ticks.wait_side("a", 100, since=mark)
    scene.vm.report.check()
    assert scene.own.pid == agent and scene.own.process.poll() is None, scene.own.log_tail()
    faults.wait_until(lambda: not scene.couriers(), 10, "the end of the couriers")


@SOAK
def test_the_destination_s_agent_is_away_for_long(scene):
    """The source's was started again and gives the answer up: undecided. But its job goes on when the other is back, and
    mends the link that was lost meanwhile."""
    scene.fetching("agent", "--max-bandwidth", "1M")
    scene.own.kill()
    scene.agent.kill()
    scene.own.start()
    done = scene.started.wait(200)
    assert (done.exit, done.report["result"]) == (6, "undecided"), done
    scene.kill_couriers(scene.net.b)
    scene.agent.start()
    scene.expect_arrived()


@SOAK
def test_a_lost_guest_is_called_lost(scene):
    """Its QEMU ended while there was no agent."""
    scene.fetching()
    scene.agent.kill()
    faults.kill(scene.qemu)
    scene.agent.start()
    done = scene.started.wait()
    assert (done.exit, done.cause, done.report["result"]) == (3, "guest-lost", "lost"), done
