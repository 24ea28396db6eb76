# SPDX-License-Identifier: LGPL-2.1-or-later
"""Failures that take more than a row of the grid in test_verdict.py: what is survived, what outlives its
command, and what nobody can decide."""

import signal

import pytest
import rig
from rig import faults


def test_guest_reboots_and_arrives(net, tmp_path):
    scene = rig.Scene(net, tmp_path)
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--max-bandwidth", "20M")
    faults.wait_until(lambda: 'phase="copying memory"' in started.stderr(), 30, "precopy")
    boots = len(scene.vm.report.boots)
    scene.vm.report.command("reboot")
    done = started.wait()
    assert done.exit == 0, done
    faults.wait_until(lambda: len(scene.vm.report.boots) > boots, 60, "reboot")
    scene.vm.ticks.wait_side("b", 200, timeout=60)
    scene.vm.report.check()


def test_command_is_killed(net, tmp_path):
    """The destination's agent notices and cleans up; the source's courier ends with its command."""
    scene = rig.Scene(net, tmp_path)
    started = scene.start()
    started.signal(signal.SIGKILL)
    faults.wait_until(lambda: not list(scene.agent.state.glob("jobs/*")) and
                      not list(scene.agent.state.glob("vms/*")), 20, "clean-up of the destination")
    mark = scene.vm.ticks.mark()
    scene.vm.ticks.wait_side("a", 100, since=mark)
    with scene.vm.monitor() as monitor:
        # no status: the command died between its last word and the order to migrate
        faults.wait_until(lambda: monitor.execute("query-migrate").get("status") in (None, "failed"), 20,
                          "the end of QEMU's migration")
    scene.vm.report.check()
    # what is known of it, for whoever looks
    told, = rig.godwit(net.a, "history", "--json").report["jobs"]
    assert (told["state"], told["step"], told["result"]) == ("interrupted", "precopy", "")
    status = rig.godwit(net.a, "status", told["job"])
    assert status.exit == 0 and "interrupted" in status.stdout
    assert "precopy" in rig.godwit(net.a, "explain", told["job"]).stdout
    scene.expect_next_works()


def test_capabilities_that_a_killed_job_left_on_do_no_harm(net, tmp_path):
    """A command that is killed between its first word and the order to migrate leaves them so."""
    scene = rig.Scene(net, tmp_path)
    names = ("postcopy-ram", "postcopy-preempt", "auto-converge", "pause-before-switchover")
    with scene.vm.monitor() as monitor:
        monitor.execute("migrate-set-capabilities",
                        capabilities=[{"capability": name, "state": True} for name in names])
    scene.expect_next_works("--postcopy", "never")


def test_paths_that_are_in_use_are_refused(net, tmp_path):
    """Both hosts see one file system here; without --map the VM would take its own socket."""
    scene = rig.Scene(net, tmp_path)
    done = rig.godwit(net.a, "migrate", f"qmp:{scene.vm.qmp_path}", scene.agent.destination, "--json")
    scene.expect(done, 2, "path-in-use", "destination", "sock")


def test_a_disk_that_is_not_shared_is_refused(net, tmp_path):
    scene = rig.Scene(net, tmp_path, disk="8M")
    done = rig.migrate(scene.vm, scene.twin, scene.agent)
    scene.expect(done, 2, "disk-not-shared", "destination", "disk.img")


# --- with the guest stopped: in the switchover, and after the destination got the right to start ---

@pytest.mark.parametrize("at", ["last ram", "device state"])
def test_connections_are_reset_in_the_switchover(net, tmp_path, at):
    """New ones take their place, with the guest stopped too."""
    scene = rig.Scene(net, tmp_path)
    started = scene.switch_over(at)
    assert net.reset() == 1
    net.set_rate(None)
    done = started.wait()
    assert done.exit == 0, done
    scene.vm.ticks.wait_side("b", 100)
    scene.vm.report.check()


def test_link_is_down_while_the_guest_stands_still(net, tmp_path):
    """Nobody waits for a link with the guest stopped: it runs on, and moves later."""
    scene = rig.Scene(net, tmp_path)
    net.set_rate("100mbit")
    with scene.vm.monitor() as monitor:
        # the stop for postcopy, which an attempt does not outlive, is another; the codec may be done before the cut
        started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--no-rehearse", "--codec", "off",
                                    "--postcopy", "never")
        monitor.wait_event("STOP", 60)
        with net.outage():
            mark = scene.vm.ticks.mark()
            monitor.wait_event("RESUME", 5)
            scene.vm.ticks.wait_side("a", 100, since=mark)
    done = started.wait()
    assert done.exit == 0, done
    assert "runs-on" in [event["event"] for event in done.report["timeline"]]
    # the first, vain stop is not a part of the downtime
    assert done.report["downtime_ms"] < 600


@pytest.mark.skipif(not rig.soak.ROUNDS, reason=rig.soak.REASON)
def test_agent_is_lost_after_the_release_and_nothing_runs_twice(net, tmp_path):
    """Nobody can tell whether the destination started it: the source's guest stays stopped."""
    scene = rig.Scene(net, tmp_path)
    started, qemu = scene.hand_over()
    scene.agent.kill()
    done = started.wait()
    assert (done.exit, done.report["result"], done.report["runs_on"]) == (6, "undecided", "unknown"), done
    assert "reconcile" in done.report["cause"]["remedy"] or done.report["warnings"]
    assert scene.vm.ticks.is_silent("a", 2) and scene.vm.ticks.is_silent("b", 0.1)
    with scene.vm.monitor() as monitor:
        assert monitor.execute("query-status")["status"] == "postmigrate"
    faults.kill(qemu)
    assert scene.vm.ticks.is_silent("a", 2), "the source's guest runs without anybody's decision"
    # the agent comes back: its record was never STARTED
    scene.agent.start()
    records = rig.journal.ask(scene.agent.state, "SELECT record FROM records")
    assert ("started",) not in records
