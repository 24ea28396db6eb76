# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is predicted of a move, beside what then happens. bench/predict.py has the figures; the bounds
here are wider, since a test may run beside others."""

import json
import subprocess
import time

import pytest
import rig
from rig import faults, soak
from rig.spoil import verdicts

MEM = "262136K"
BUSY = rig.Load(mem="16M", dirty="6M/s", fill="32M", fill_content="random")
HOT = rig.Load(mem="64M", dirty="80M/s", fill="8M", fill_content="random")


class Scene:
    def __init__(self, net, tmp_path, load):
        self.net = net
        self.vm = rig.Guest(net.a, tmp_path / "a", load=load, mem=MEM).start().wait_boot(120)
        self.vm.ticks.wait_side("a", 1000)
        self.twin, self.agent = self.vm.twin(net.b, tmp_path / "b"), rig.Agent(net.b, tmp_path / "agent")

    def words(self, *options):
        """The arguments of `godwit check`."""
        return ["check", f"qmp:{self.vm.qmp_path}", self.agent.destination, "--map",
                f"{self.vm.directory}={self.twin.directory}", "--json", "--progress", "none", *options]

    def check(self, *options):
        done = rig.godwit(self.net.a, *self.words(*options))
        assert done.exit == 0, done
        return done


@pytest.fixture
def scene(tmp_path):
    with rig.Net("300mbit") as net:
        yield lambda load: Scene(net, tmp_path, load)


def assert_near(predicted, happened, factor):
    low, high = sorted((max(predicted, 1), max(happened, 1)))
    assert high <= factor * low, (predicted, happened)


def assert_in_order(prediction, what):
    assert 0 < prediction[f"{what}_low_ms"] <= prediction[f"{what}_ms"] <= prediction[f"{what}_high_ms"]


def test_prediction_stands_beside_what_happened(scene):
    at = scene(BUSY)
    checked = at.check()
    assert verdicts(checked)["prediction"] == "ok"
    done = rig.migrate(at.vm, at.twin, at.agent, "--progress", "none")
    assert done.exit == 0, done
    for prediction in (checked.report["prediction"], done.report["prediction"]):
        assert (prediction["converges"], prediction["mode"]) == (True, "precopy"), prediction
        assert_in_order(prediction, "total")
        assert_in_order(prediction, "downtime")
        assert_near(prediction["filled_bytes"], done.report["guest_bytes"], 1.5)
        assert_near(prediction["total_ms"], done.report["total_ms"], 2)
        assert_near(prediction["downtime_ms"], done.report["downtime_ms"], 4)
    at.vm.report.check()


def test_guest_that_will_not_converge(scene):
    at = scene(HOT)
    prediction = at.check().report["prediction"]
    assert (prediction["mode"], prediction["converges"]) == ("postcopy", False), prediction
    done = at.check("--postcopy", "never", "--timeout", "20", "--on-timeout", "abort")
    prediction = done.report["prediction"]
    assert (prediction["mode"], prediction["converges"]) == ("none", False), prediction
    assert "will not converge" in prediction["text"] and verdicts(done)["prediction"] == "warning"


def test_memory_that_may_not_be_read(scene):
    """QEMU then says how much of it changes; how much is filled nobody knows."""
    at = scene(BUSY)
    godwit = rig.paths.program("godwit")
    hide = f'mount --bind /dev/null /proc/{at.vm.pid}/mem && exec "$0" "$@"'
    done = at.net.a.popen(["unshare", "--mount", "sh", "-c", hide, godwit, *at.words()],
                          stdout=subprocess.PIPE)
    out, _ = done.communicate(timeout=60)
    assert done.returncode == 0
    prediction = json.loads(out)["prediction"]
    assert (prediction["filled_bytes"], prediction["changed_bytes"]) == (-1, -1), prediction
    assert prediction["later_us"] == 1000000 and 2 << 20 <= prediction["later_bytes"] <= 16 << 20
    assert prediction["confidence"] != "high"
    assert prediction["total_high_ms"] > 1.5 * prediction["total_low_ms"]


def test_move_without_rehearsal_is_not_predicted(scene):
    at = scene(BUSY)
    done = rig.migrate(at.vm, at.twin, at.agent, "--progress", "none", "--no-rehearse")
    assert done.exit == 0 and done.report["prediction"] is None, done


@pytest.mark.parametrize("side", ["a", "b"] if soak.ROUNDS else ["b"])
def test_a_courier_that_dies_while_the_link_is_tried(scene, side):
    """The answer is what broke, not a figure of what had passed until then."""
    at = scene(rig.Load(mem="16M"))
    host = getattr(at.net, side)
    checking = rig.start_godwit(at.net.a, *at.words("--no-rehearse"))
    faults.wait_until(lambda: faults.named(host.pids(), b"godwit-courier"), 30, "courier", 0.002)
    time.sleep(0.15)  # into what is sent for it
    for pid in faults.named(host.pids(), b"godwit-courier"):
        faults.kill(pid)
    done = checking.wait(60)
    assert (done.exit, done.report["runs_on"], done.report["prediction"]) == (2, "source", None), done
    cause = done.report["cause"]
    assert (cause["code"], cause["side"]) == ("courier-died", {"a": "source", "b": "destination"}[side]), done
    assert "signal 9" in cause["message"] and "while the link was tried" in cause["message"]
    at.check()
