# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot move is refused before anything moves: spoiled setups with real QEMU, each refused with
exit status 2, the right cause and the values of both sides, and nothing touched on either host."""

import pytest
import rig
from rig import faults, leftovers

MEM = "65528K"
KEPT = ["/state", "/records", "/reports", "/qemu/", "monitor.sock", "agent.log"]


class Setup:
    """A VM on a that is stopped before its first instruction, its twin on b, and an agent there."""

    def __init__(self, net, tmp_path, args=(), agent=(), **more):
        self.net, self.tmp_path = net, tmp_path
        self.vm = rig.Guest(net.a, tmp_path / "a", **{"mem": MEM, **more}, args=list(args))
        self.vm.start(paused=True)
        faults.wait_until(lambda: self._status() in ("prelaunch", "paused"), 20, "QEMU")
        self.twin = self.vm.twin(net.b, tmp_path / "b")
        self.agent = rig.Agent(net.b, tmp_path / "agent", agent)

    def _status(self):
        try:
            with self.vm.monitor() as monitor:
                return monitor.execute("query-status")["status"]
        except OSError:
            return None

    def check(self, *options):
        """godwit check; nothing may be left of it."""
        before = leftovers.snapshot(self.net, [self.tmp_path])
        done = rig.godwit(self.vm.host, "check", f"qmp:{self.vm.qmp_path}", self.agent.destination,
                          "--map", f"{self.vm.directory}={self.twin.directory}", "--json", *options)
        assert leftovers.compare(before, leftovers.snapshot(self.net, [self.tmp_path]),
                                 allowed=KEPT) == []
        assert self._status() in ("prelaunch", "paused")
        return done

    def refused(self, cause, *parts, options=()):
        """Both the check and the move say so, and say the same."""
        done = self.check(*options)
        assert (done.exit, done.cause) == (2, cause), done
        for part in parts:
            assert part in done.report["cause"]["message"], done
        before = leftovers.snapshot(self.net, [self.tmp_path])
        moved = rig.migrate(self.vm, self.twin, self.agent, *options)
        assert (moved.exit, moved.cause) == (2, cause), moved
        assert leftovers.compare(before, leftovers.snapshot(self.net, [self.tmp_path]),
                                 allowed=KEPT) == []
        return done

    def passes(self, *options):
        done = self.check(*options)
        assert done.exit == 0, done.report["cause"]
        return done


@pytest.fixture
def setup(net, tmp_path):
    def make(*args, **more):
        return Setup(net, tmp_path, *args, **more)
    return make


def verdicts(done):
    return {check["check"]: check["verdict"] for check in done.report["checks"]}


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_nothing_is_said_against_what_can_move(setup, machine):
    done = setup(machine=machine, args=["-device", "virtio-scsi-pci"]).passes()
    assert set(verdicts(done).values()) == {"ok"}, done.report["checks"]
    assert len(verdicts(done)) > 10


def test_table_for_people_has_the_reason_in_the_same_line(setup):
    spoiled = setup(mem="64M")
    done = rig.godwit(spoiled.vm.host, "check", f"qmp:{spoiled.vm.qmp_path}", spoiled.agent.destination,
                      "--map", f"{spoiled.vm.directory}={spoiled.twin.directory}")
    assert done.exit == 2
    said = done.stderr.split("\n")
    [line] = [line for line in said if line.startswith("refused")]
    assert "known-bugs" in line and "multiple of 256 KiB" in line and "--accept-risk" in line
    assert any(line.startswith("ok       machine-type") for line in said)


# --- known bugs and settings ---

def test_lost_dirty_pages_of_tcg(setup):
    spoiled = setup(mem="64M")
    spoiled.refused("qemu-bug", "03bfc2188f", "7.2", "--accept-risk tcg-dirty-pages")
    done = spoiled.passes("--accept-risk", "tcg-dirty-pages")
    assert verdicts(done)["known-bugs"] == "warning"


def test_unknown_risk(setup):
    done = setup().check("--accept-risk", "tcg-dirty")
    assert (done.exit, done.cause) == (1, "usage"), done
    assert "tcg-dirty:" in done.report["cause"]["message"]


@pytest.mark.parametrize("capability", ["multifd", "postcopy-ram", "x-ignore-shared"])
def test_capability_that_somebody_left_on(setup, capability):
    spoiled = setup()
    with spoiled.vm.monitor() as monitor:
        monitor.execute("migrate-set-capabilities",
                        capabilities=[{"capability": capability, "state": True}])
    spoiled.refused("migration-settings", f"'{capability}'", "migrate-set-capabilities")


def test_qemus_own_tls(setup):
    spoiled = setup()
    with spoiled.vm.monitor() as monitor:
        monitor.execute("migrate-set-parameters", **{"tls-creds": "tls0"})
    spoiled.refused("migration-settings", "'tls0'")
