# SPDX-License-Identifier: LGPL-2.1-or-later
"""Jobs that nobody works on any more: who owns the VM is found out, said and done."""

import signal

import pytest
import rig
from rig import faults

import test_disks as disks


def reconcile(scene, *options, host=None):
    """The command on the source's host: a Done with `.job`, the only report."""
    done = rig.godwit(host or scene.net.a, "reconcile", "--json", *options)
    assert done.report, done
    return done


def settled(scene, result, place):
    """It is settled, and said so again."""
    for job in reconcile(scene).report["jobs"] + reconcile(scene, scene.job).report["jobs"]:
        assert (job["result"], job["runs_on"], job["exit"]) == (result, place, 0), job
    assert reconcile(scene).report == {"jobs": [], "exit": 0}
    row, = [job for job in rig.godwit(scene.net.a, "history", "--json").report["jobs"] if job["job"] == scene.job]
    assert (row["state"], row["result"]) == ("ended", result)


def test_the_destination_decides_and_a_person_in_its_place(net, tmp_path):
    """Its agent is killed with the right to start in hand."""
    scene = rig.Scene(net, tmp_path)
    started, _ = scene.hand_over()
    scene.agent.kill()
    started.signal(signal.SIGKILL)
    started.wait()
    # nobody can tell
    done = reconcile(scene)
    job, = done.report["jobs"]
    scene.job = job["job"]
    assert (done.exit, job["result"], job["needs"]) == (6, "undecided", ["--destination-is-dead"]), job
    assert (job["source"]["record"], job["source"]["qemu"]) == ("released", "stands")
    told = rig.godwit(net.a, "reconcile", scene.job)
    assert told.exit == 6 and "--destination-is-dead, when you know" in told.stdout, told
    # what is said of the other side does not help
    assert reconcile(scene, "--source-is-dead").exit == 6
    # nor does the word of a host that has lost its journal, or is another one
    stranger = rig.Agent(net.b, tmp_path / "state-of-another")
    job, = reconcile(scene, "--destination", stranger.destination).report["jobs"]
    assert (job["result"], job["needs"]) == ("undecided", ["--destination-is-dead"]), job
    stranger.stop()
    assert scene.vm.ticks.is_silent("a", 1)
    mark = scene.vm.ticks.mark()
    scene.agent.start()
    settled(scene, "stayed", "source")
    scene.vm.ticks.wait_side("a", 100, since=mark)
    assert scene.vm.ticks.is_silent("b", 0.1)
    scene.expect_running()
    scene.expect_clean(gone=[str(scene.agent.pid), "godwitd"])
    scene.expect_next_works()


@pytest.mark.skipif(not rig.soak.ROUNDS, reason=rig.soak.REASON)
def test_an_agent_asks_by_itself(net, tmp_path, monkeypatch):
    """A guest that was stopped for a handover does not stay stopped when the destination answers again."""
    scene = rig.Scene(net, tmp_path)
    own = rig.Agent(net.a, tmp_path / "own")
    monkeypatch.setenv("GODWIT_STATE", str(own.state))
    started, _ = scene.hand_over()
    scene.agent.kill()
    started.signal(signal.SIGKILL)
    started.wait()
    assert scene.vm.ticks.is_silent("a", 2)
    mark = scene.vm.ticks.mark()
    scene.agent.start()
    scene.vm.ticks.wait_side("a", 100, timeout=60, since=mark)
    assert rig.journal.ask(own.state, "SELECT result FROM jobs") == [("stayed",)]
    assert "was settled: stayed" in own.log_tail()


@pytest.mark.skipif(not rig.soak.ROUNDS, reason=rig.soak.REASON)
def test_a_person_decides(net, tmp_path):
    """The destination is gone for good, and the command has told that it is undecided."""
    scene = rig.Scene(net, tmp_path)
    started, qemu = scene.hand_over()
    scene.agent.kill()
    faults.kill(qemu)
    done = started.wait()
    assert (done.exit, done.report["result"]) == (6, "undecided"), done
    scene.job = done.report["job"]
    done = reconcile(scene, "--destination-is-dead")
    job, = done.report["jobs"]
    assert (done.exit, job["result"], job["runs_on"]) == (0, "stayed", "source"), job
    scene.expect_running()
    # it was not: what it has left goes, and nothing of it runs
    scene.agent.start()
    settled(scene, "stayed", "source")
    scene.expect_next_works()


@pytest.mark.skipif(not rig.soak.ROUNDS, reason=rig.soak.REASON)
def test_a_vm_that_was_given_away_is_not_moved(net, tmp_path):
    """Somebody lets the source's copy run by hand while it is undecided: it may be the second one."""
    scene = rig.Scene(net, tmp_path, args=["-uuid", "2f5cd3f5-6f4b-4f3c-8a3e-0123456789ab"])
    started, qemu = scene.hand_over()
    scene.agent.kill()
    faults.kill(qemu)
    done = started.wait()
    assert done.exit == 6, done
    with scene.vm.monitor() as monitor:
        monitor.execute("cont")
    scene.agent.start()
    refused = rig.migrate(scene.vm, scene.twin, scene.agent, "--no-rehearse")
    assert (refused.exit, refused.cause) == (2, "vm-elsewhere"), refused
    assert f"godwit reconcile {done.report['job']}" in refused.report["cause"]["message"], refused
    assert reconcile(scene, done.report["job"]).exit == 0
    scene.expect_next_works()


def test_the_destination_s_agent_dies_between_its_record_and_the_start(net, tmp_path):
    """STARTED is written and the guest stands: the next agent lets it go on."""
    scene = rig.Scene(net, tmp_path)
    point = tmp_path / "point"
    scene.agent.stop()
    scene.agent.env = {"GODWIT_POINT": f"stop=started:written={point}"}
    scene.agent.start()
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--no-rehearse")
    faults.wait_stop(point, 60, "the record")
    scene.agent.kill()
    started.signal(signal.SIGKILL)  # it would ask again
    started.wait()
    assert scene.vm.ticks.is_silent("a", 1) and scene.vm.ticks.is_silent("b", 0.1)
    scene.agent.env = None
    scene.agent.start()
    scene.vm.ticks.wait_side("b", 100)
    scene.job, = [job["job"] for job in rig.godwit(net.a, "history", "--json").report["jobs"]]
    done = reconcile(scene)
    job, = done.report["jobs"]
    assert (done.exit, job["result"], job["runs_on"]) == (0, "moved", "destination"), job
    faults.wait_gone(scene.vm.pid)
    settled(scene, "moved", "destination")
    scene.vm.report.check()
    assert scene.vm.ticks.move("a", "b").overlap_ms == 0


@pytest.mark.skipif(not rig.soak.ROUNDS, reason=rig.soak.REASON)
def test_a_command_that_was_killed(net, tmp_path):
    """Before the right was given, no other host is needed."""
    scene = rig.Scene(net, tmp_path)
    started = scene.switch_over("last ram")
    started.signal(signal.SIGKILL)
    net.set_rate(None)
    started.wait()
    assert scene.vm.ticks.is_silent("a", 0.5)
    job, = reconcile(scene).report["jobs"]
    scene.job = job["job"]
    assert (job["result"], job["source"]["record"]) == ("stayed", "none"), job
    settled(scene, "stayed", "source")
    scene.expect_running()
    scene.expect_next_works()


def test_what_was_made_for_a_disk_is_put_away(net, tmp_path):
    """Agent and command are killed while it is copied: the source's QEMU has nothing of it, the image is kept aside."""
    scene = disks.Scene(net, tmp_path, disks.raw(), config=rig.scene.NO_RESTART)
    net.set_rate("40mbit")
    with scene.vm.monitor() as monitor:
        before = monitor.execute("query-migrate-parameters")
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--max-bandwidth", "3M", "--no-rehearse")
    faults.wait_until(lambda: 'phase="copying memory"' in started.stderr(), 60, "precopy")
    scene.agent.kill()
    started.signal(signal.SIGKILL)
    started.wait()
    job, = reconcile(scene).report["jobs"]
    assert (job["result"], job["runs_on"]) == ("stayed", "source"), job
    with scene.vm.monitor() as monitor:
        assert monitor.execute("query-migrate-parameters") == before
        assert monitor.execute("query-jobs") == [] and monitor.execute("query-block-exports") == []
        nodes = monitor.execute("query-named-block-nodes", flat=True)
        assert not [node for node in nodes if node["node-name"].startswith("gw-") or node.get("dirty-bitmaps")]
    image, kept = tmp_path / "b/d0.img", tmp_path / f"b/.godwit-quarantine/{job['job']}-d0.img"
    agent = ("--agent", scene.agent.destination)
    state = {"GODWIT_STATE": str(scene.agent.state)}
    told = rig.godwit(net.b, "cleanup", "--dry-run", "--json", env=state).report["files"]
    assert str(image) in [file["path"] for file in told] and image.exists()
    scene.agent.start()
    assert not faults.named(net.b.pids(), b"qemu-nbd"), "the server of an image is left"
    assert kept.exists() and not image.exists()
    assert "stays" in rig.godwit(net.b, "cleanup", *agent).stdout and kept.exists()
    told, = rig.godwit(net.b, "cleanup", "--now", "--json", *agent).report["files"]
    assert (told["path"], told["action"]) == (str(kept), "removed") and not kept.parent.exists()
    net.set_rate(None)
    scene.arrived(scene.move())
