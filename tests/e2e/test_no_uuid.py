# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMs that were started without a UUID: nothing but their jobs tells them apart."""

import signal

import rig
from rig import faults


def rows(host, command, *argv):
    return rig.godwit(host, command, "--json", *argv).report


def test_two_of_them_are_not_taken_for_one(net, tmp_path):
    """The job of one is undecided; the other, of the same name, is moved meanwhile and is told of."""
    scene = rig.Scene(net, tmp_path, load=rig.Load(mem="8M"), mem="131064K")
    other = rig.Guest(net.a, tmp_path / "other-a", load=rig.Load(mem="8M"), mem="131064K")
    other.start().wait_boot()
    twin = other.twin(net.b, tmp_path / "other-b")
    point = tmp_path / "point"
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--no-rehearse", "--max-downtime", "2000",
                                env={"GODWIT_POINT": f"stop=released:written={point}"})
    faults.wait_stop(point, 60, "RELEASED")
    started.signal(signal.SIGKILL)
    started.wait_end()
    undecided, = rows(net.a, "history")["jobs"]
    assert undecided["state"] == "interrupted" and undecided["uuid"].strip("0-") == "", undecided

    done = rig.migrate(other, twin, scene.agent, "--no-rehearse", "--max-downtime", "2000")
    assert done.exit == 0, done
    job, agent = done.report["job"], ("--agent", scene.agent.destination)
    twin.ticks.wait_side("b", 100)
    listed = rows(net.b, "list", *agent)
    assert [(vm["job"], vm["owner"], vm["epoch"], vm["pid"]) for vm in listed["vms"]] == [(job, "here", 1, twin.pid)]
    assert listed["known"] == [] and rows(net.a, "list")["known"] == []
    assert [j["job"] for j in rows(net.a, "history", "rig")["jobs"]] == [job, undecided["job"]]
    there = {j["job"]: j["result"] for j in rows(net.b, "history", "rig", *agent)["jobs"]}
    assert there[job] == "arrived", there

    assert scene.vm.ticks.is_silent("a", 0.5)
    settled, = rig.godwit(net.a, "reconcile", "--json").report["jobs"]
    assert (settled["job"], settled["result"], settled["runs_on"]) == (undecided["job"], "stayed", "source"), settled
    scene.expect_running()
    assert rows(net.a, "reconcile")["jobs"] == []
    assert [vm["job"] for vm in rows(net.b, "list", *agent)["vms"]] == [job]
    back = twin.twin(net.a, tmp_path / "back")
    own = rig.Agent(net.a, tmp_path / "own")
    done = rig.migrate(twin, back, own, "--no-rehearse", "--max-downtime", "2000")
    assert done.exit == 0, done
    assert [vm["epoch"] for vm in rows(net.a, "list", "--agent", own.destination)["vms"]] == [2]
    back.report.check()
