# SPDX-License-Identifier: LGPL-2.1-or-later
"""Moves over a real ssh: godwitd runs on the destination for one job only, and nothing stays there
but the VM."""

import json
import signal

import pytest
import rig
from rig import faults, leftovers, paths, sshd

LOAD = rig.Load(mem="24M", dirty="3M/s", content="text", fill="16M")
# Ownership records stay for ever; the rig writes the logs of sshd and QEMU.
KEPT = ["/records", "/reports", "/state", "monitor.sock", "sshd.log", "/remote"]


class Scene:
    """A booted guest on a, an sshd on b, and a picture of both before the migration."""

    def __init__(self, net, tmp_path, address=None):
        self.net, self.tmp_path = net, tmp_path
        self.vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem="131064K")
        self.vm.start()
        self.sshd = rig.Sshd(net.b, tmp_path / "sshd", address)
        self.remote = tmp_path / "remote"
        self.vm.wait_boot()
        self.twin = self.vm.twin(net.b, tmp_path / "b")
        self.before = leftovers.snapshot(net, [tmp_path])

    def env(self, agent=None):
        agent = agent or f"{paths.program('godwitd')} --stdio --state {self.remote}"
        return self.sshd.environment(agent)

    def migrate(self, *options, agent=None):
        return rig.migrate(self.vm, self.twin, self.sshd.destination, *options, env=self.env(agent))

    def start(self, rate="4M"):
        """A slow migration in precopy."""
        started = rig.start_migrate(self.vm, self.twin, self.sshd.destination, "--max-bandwidth",
                                    rate, env=self.env())
        faults.wait_until(lambda: 'phase="copying memory"' in started.stderr() or
                          not started.is_running(), 30, "precopy")
        assert started.is_running(), started.wait()
        return started

    def processes(self, host):
        """The names of what runs on a host, sshd's listener apart."""
        found = []
        for pid in host.pids():
            if pid != self.sshd.process.pid and not faults.is_zombie(pid):
                with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                    found.append(file.read().strip())
        return sorted(found)

    def expect_stayed(self, done, exit, cause, words):
        """The guest runs on the source; nothing is left on either host."""
        told = done.report["cause"]
        assert (done.exit, told["code"]) == (exit, cause), done
        assert words in json.dumps(told), done
        assert (done.report["result"], done.report["runs_on"]) == ("stayed", "source")
        self.expect_running()
        faults.wait_until(lambda: self.processes(self.net.b) == [], 20, "clean-up")
        after = leftovers.snapshot(self.net, [self.tmp_path])
        assert leftovers.compare(self.before, after, allowed=KEPT) == []
        assert leftovers.lost(self.before, after) == []
        assert not [path for kind in ("jobs", "vms") for path in self.remote.glob(f"{kind}/*")]

    def expect_running(self):
        mark = self.vm.ticks.mark()
        self.vm.ticks.wait_side("a", 100, since=mark)
        self.vm.report.check()

    def expect_next_works(self):
        done = self.migrate()
        assert done.exit == 0, f"the next migration must work: {done}"
        self.vm.ticks.wait_side("b", 100)


def test_moves_and_leaves_nothing_but_the_vm(net, tmp_path):
    scene = Scene(net, tmp_path)
    started = scene.start("20M")
    assert scene.processes(net.a) == ["godwit", "godwit-courier", "godwit-dialer",
                                          "qemu-system-x86", "ssh"]
    done = started.wait()
    assert done.exit == 0, done
    assert done.report["warnings"] == []
    scene.twin.find()
    # the session ends, and the VM does not notice
    faults.wait_until(lambda: scene.sshd.sessions() == [], 10, "end of the ssh session")
    mark = scene.vm.ticks.mark()
    scene.vm.ticks.wait_side("b", 300, since=mark)
    move = scene.vm.ticks.move("a", "b")
    assert (move.overlap_ms, move.lost, move.repeated) == (0, 0, 0), move
    scene.vm.report.check()
    assert scene.processes(net.a) == []
    assert scene.processes(net.b) == ["qemu-system-x86"]
    assert [c for c in net.connections(net.a) if not c.startswith("TIME-WAIT")] == []


def test_data_goes_where_ssh_went(net, tmp_path):
    """The address by which the destination is reached is on none of its interfaces, and the one that
    is on an interface cannot be reached: only sshd can tell the agent."""
    device, service = net.devices[0], "198.18.255.1"
    net.b.run(["ip", "addr", "flush", "dev", device])
    net.b.run(["ip", "addr", "add", "203.0.113.1/24", "dev", device])
    net.b.run(["ip", "route", "add", "local", service, "dev", "lo"])
    net.b.run(["ip", "route", "add", net.a.address, "dev", device, "src", service])
    net.a.run(["ip", "route", "add", service, "dev", device])
    scene = Scene(net, tmp_path, service)
    started = scene.start("20M")
    connected = net.a.run(["ss", "-Htn", "state", "established"]).stdout.splitlines()
    ends = {line.split()[-1] for line in connected}
    ends.remove(f"{service}:{sshd.PORT}")
    assert [end.rpartition(":")[0] for end in ends] == [service]
    done = started.wait()
    assert done.exit == 0, done


@pytest.mark.parametrize("agent, words", [
    ("/nowhere/godwitd --stdio", "godwit is not installed there"),
    ("echo welcome; exec cat", "must print nothing"),
    ("echo no such luck >&2; exit 3", "no such luck"),
], ids=["missing-command", "chatty-shell", "failing-agent"])
def test_agent_does_not_start(net, tmp_path, agent, words):
    scene = Scene(net, tmp_path)
    done = scene.migrate(agent=agent)
    scene.expect_stayed(done, 8, "ssh-failed", words)


def test_host_key_is_unknown(net, tmp_path):
    scene = Scene(net, tmp_path)
    scene.sshd.trust(False)
    done = scene.migrate()
    scene.expect_stayed(done, 8, "ssh-failed", "Host key verification failed")
    assert (scene.sshd.directory / "known_hosts").read_text() == "", "godwit trusted it by itself"


@pytest.mark.parametrize("victim", ["client", "server"])
def test_connection_is_killed_in_precopy(net, tmp_path, victim):
    scene = Scene(net, tmp_path)
    started = scene.start()
    if victim == "server":
        for pid in scene.sshd.sessions():
            faults.kill(pid, wait=False)
    else:
        (ssh,) = [pid for pid in net.a.pids() if open(f"/proc/{pid}/comm").read() == "ssh\n"]
        faults.kill(ssh, wait=False)
    scene.expect_stayed(started.wait(), 3, "agent-lost", "ssh")
    scene.expect_next_works()


def test_ctrl_c_reaches_the_command_only(net, tmp_path):
    """A terminal sends the signal to the whole foreground group; ssh must not be in it."""
    scene = Scene(net, tmp_path)
    started = scene.start()
    (ssh,) = [pid for pid in net.a.pids() if open(f"/proc/{pid}/comm").read() == "ssh\n"]
    with open(f"/proc/{ssh}/stat", encoding="ascii") as file:
        group = int(file.read().rpartition(")")[2].split()[2])
    assert group == ssh, "ssh shares the command's process group"
    started.signal(signal.SIGINT)
    scene.expect_stayed(started.wait(), 5, "aborted", "")
    scene.expect_next_works()
