# SPDX-License-Identifier: LGPL-2.1-or-later
"""The destination's agent ends while disks are copied: the images' servers live on, and the next one goes on with the
job. The source's agent has the copies in its hands: its end ends the job, and nothing is left of it."""

import time

import pytest
import rig
import test_disks as disks
from rig import faults

SOAK = pytest.mark.skipif(not rig.soak.ROUNDS, reason=rig.soak.REASON)
SLOWLY = ("--no-rehearse", "--max-bandwidth", "4M")


def servers(scene):
    return set(faults.named(scene.net.b.pids(), b"qemu-nbd"))


def couriers(scene):
    return {pid for host in scene.net.hosts for pid in faults.named(host.pids(), b"godwit-courier")}


def start(scene, phase, *options):
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, *SLOWLY, *options)
    faults.wait_until(lambda: f'phase="{phase}"' in started.stderr() or not started.is_running(), 60, phase)
    assert started.is_running(), started.wait()
    return started


@pytest.fixture
def scene(net, tmp_path):
    return disks.Scene(net, tmp_path, disks.raw())


@pytest.mark.parametrize("end,phase", [
    pytest.param("kill", "copying disks", marks=SOAK), ("stop", "copying disks"),
    pytest.param("kill", "copying memory", marks=SOAK), pytest.param("stop", "copying memory", marks=SOAK)])
def test_the_destination_s_agent(scene, end, phase):
    started = start(scene, phase)
    before = servers(scene) | couriers(scene)
    assert len(before) == 3
    assert getattr(scene.agent, end)() in (None, 0)
    time.sleep(1)
    assert servers(scene) | couriers(scene) == before
    scene.agent.start()
    faults.wait_until(lambda: "goes on in this agent" in scene.agent.log_tail(), 20, "the job to be taken up")
    done = started.wait()
    assert "agent-back" in [event["event"] for event in done.report["timeline"]]
    scene.arrived(done)
    assert not servers(scene) and not couriers(scene)
    assert rig.journal.ask(scene.agent.state, "SELECT result FROM jobs") == [("arrived",)]


@SOAK
def test_an_image_without_its_server_ends_the_job(scene):
    started = start(scene, "copying disks")
    scene.agent.kill()
    for pid in servers(scene):
        faults.kill(pid)
    scene.agent.start()
    done = started.wait()
    assert done.exit == 3 and done.cause in ("agent-lost", "disk-copy"), done
    assert "d0" in str(done.report["cause"]["evidence"]), done
    faults.wait_until(lambda: not couriers(scene), 10, "the end of the couriers")
    scene.vm.report.check()
    scene.agent.stop()
    scene.agent.start()
    scene.arrived(scene.move())


@SOAK
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_the_source_s_agent(scene, end):
    own = rig.Agent(scene.net.a, scene.tmp_path / "agent-a")
    started = start(scene, "copying disks", "--agent", own.destination)
    assert getattr(own, end)() in (None, 0)
    own.start()
    faults.wait_until(lambda: rig.journal.ask(own.state, "SELECT result FROM jobs") == [("stayed",)], 60, "the journal")
    done = started.wait()
    assert done.exit in (3, 5), done
    faults.wait_until(lambda: not couriers(scene) and not servers(scene), 10, "clean-up")
    with scene.vm.monitor() as monitor:
        assert monitor.execute("query-jobs") == []
    mark = scene.vm.ticks.mark()
    scene.vm.ticks.wait_side("a", 100, since=mark)
    scene.arrived(scene.move())
