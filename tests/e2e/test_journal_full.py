# SPDX-License-Identifier: LGPL-2.1-or-later
"""The disk of a journal is full in the very moment in which a record of ownership is to be written: what is not written
does not hold, nothing is started by it, and the job is settled as soon as there is room."""

import re
import signal

import pytest
import rig
from rig import faults, scene

from test_journal import FULL, fill


class Full:
    """A migration that stands still just before it writes a record, on a host whose disk is full from then on."""

    def __init__(self, net, tmp_path, side, record):
        self.small = {"source": tmp_path / "small", "destination": tmp_path / "agent"}[side]
        host = net.a if side == "source" else net.b
        scene.tmpfs(host, self.small, "size=2m")
        for name in ("jobs", "vms"):  # what is taken apart makes no room for the journal
            scene.tmpfs(host, self.small / name, "size=2m")
        self.move = rig.Scene(net, tmp_path)
        self.side, self.point = side, tmp_path / "point"
        self.order = {"GODWIT_POINT": f"stop=journal:{record}={self.point}"}
        self.state = {"GODWIT_STATE": str(tmp_path / "small")} if side == "source" else {}

    def start(self, env=None):
        """Until it stands there, and the disk is full."""
        if self.side == "destination":
            self.move.agent.kill()
            self.move.agent.env, self.move.agent.log = self.order, self.point.with_name("agent.log")
            self.move.agent.start()
        env = {**self.state, **(self.order if self.side == "source" else {}), **(env or {})}
        self.started = rig.start_migrate(self.move.vm, self.move.twin, self.move.agent, "--no-rehearse",
                                         "--max-downtime", "2000", env=env)
        return self.started

    def stand(self):
        pid = faults.wait_stop(self.point, 60, "the record")
        self.fill()
        faults.cont(pid)

    def fill(self):
        self.ballast = fill(self.small)

    def records(self, state):
        return rig.journal.ask(state, "SELECT side, record FROM records")

    def reconcile(self):
        """What the command on the source's host says of the only job."""
        done = rig.godwit(self.move.net.a, "reconcile", "--json", env=self.state)
        job, = done.report["jobs"]
        return done, job


def test_released(net, tmp_path):
    """Nobody has got the right, and the destination says that it will not."""
    full = Full(net, tmp_path, "source", "released")
    full.start()
    full.stand()
    done = full.started.wait()
    told = done.report["cause"]
    assert (done.exit, told["code"], told["side"]) == (3, "journal-failed", "source"), done
    assert re.search(FULL, told["message"], re.IGNORECASE) and "released" in told["message"], done
    assert (done.report["result"], done.report["runs_on"]) == ("stayed", "source"), done
    full.move.expect_running()
    assert full.records(full.move.agent.state) == [("destination", "refused")]
    assert full.move.vm.ticks.window(None, None, "b") == []
    full.ballast.unlink()
    full.move.expect_next_works()


def test_started(net, tmp_path):
    """The guest does not run there, and the source hears of it as soon as that can be written down."""
    full = Full(net, tmp_path, "destination", "started")
    full.start()
    full.stand()
    faults.wait_until(lambda: "cannot write 'refused'" in full.move.agent.log_tail() or not full.started.is_running(),
                      20, "the refusal")
    mark = full.move.vm.ticks.mark()
    assert full.move.vm.ticks.is_silent("a", 2) and full.started.is_running(), "nobody knows yet"
    full.ballast.unlink()
    done = full.started.wait()
    told = done.report["cause"]
    assert (done.exit, told["code"], told["side"]) == (3, "journal-failed", "destination"), done
    assert re.search(FULL, told["message"], re.IGNORECASE) and "started" in told["message"], done
    full.move.vm.ticks.wait_side("a", 100, since=mark)
    assert full.records(full.move.agent.state) == [("destination", "refused")]
    assert full.move.vm.ticks.window(None, None, "b") == []
    full.move.expect_running()
    full.move.expect_next_works()


def test_refused(net, tmp_path):
    """The command was killed with the right given away; what cannot be written is not answered either."""
    full = Full(net, tmp_path, "destination", "refused")
    released = tmp_path / "released"
    full.start({"GODWIT_POINT": f"stop=released:written={released}"})
    faults.wait_stop(released, 60, "RELEASED")
    full.started.signal(signal.SIGKILL)
    full.started.wait_end()
    full.stand()
    faults.wait_until(lambda: "stays open in the journal" in full.move.agent.log_tail(), 20, "the refusal")
    assert full.records(full.move.agent.state) == []
    full.fill()  # again: the journal's log has gone with its last reader
    done, job = full.reconcile()
    assert (done.exit, job["result"]) == (6, "undecided"), done
    assert re.search(FULL, done.stdout, re.IGNORECASE), done
    assert full.move.vm.ticks.is_silent("a", 1) and full.move.vm.ticks.window(None, None, "b") == []
    full.ballast.unlink()
    done, job = full.reconcile()
    assert (done.exit, job["result"], job["runs_on"]) == (0, "stayed", "source"), done
    full.move.expect_running()
    assert full.records(full.move.agent.state) == [("destination", "refused")]
    full.move.expect_next_works()
