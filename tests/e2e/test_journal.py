# SPDX-License-Identifier: LGPL-2.1-or-later
"""The journal: what it holds after a move, and that nothing is begun without one."""

import json
import re
import shutil
import signal
import socket
import subprocess

import pytest
import rig
from rig import faults, scene

KILO = 1024
UUID = "6d0f2a6e-7a51-4c57-a9a5-3f3b8c1d2e4f"
FULL = "full|no space left"


@pytest.fixture(name="moved")
def fixture_moved(net, tmp_path):
    """A guest whose agent keeps its state on a small file system of its own."""
    scene.tmpfs(net.b, tmp_path / "agent", "size=4m")
    return rig.Scene(net, tmp_path)


def fill(directory):
    """Takes all that is left of a file system; the file that does."""
    ballast = directory / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for size in (64 * KILO, KILO, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return ballast


def remount(directory, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", directory], check=True)


def make_journal(net, state):
    """A journal as a first command makes it."""
    state.mkdir(parents=True)
    done = rig.godwit(net.a, "migrate", "qmp:/nowhere", "unix:/nowhere", env={"GODWIT_STATE": str(state)})
    assert done.exit in (2, 8), done
    assert rig.journal.ask(state, "SELECT result FROM jobs") == [("stayed",)]
    return state


def refused(moved, cause, side, words, env=None):
    """Neither side has begun anything, and the guest has not noticed."""
    mark = moved.vm.ticks.mark()
    done = rig.migrate(moved.vm, moved.twin, moved.agent, env=env)
    told = done.report["cause"]
    assert (done.exit, told["code"], told["side"]) == (2, cause, side), done
    assert re.search(words, told["message"], re.IGNORECASE), done
    assert "starting QEMU" not in done.stderr
    moved.vm.ticks.wait_side("a", 50, since=mark)


def told(move, job):
    """What the commands say of it, here and through the destination's agent."""
    agent = ("--agent", move.agent.destination)
    here = rig.godwit(move.net.a, "history", "--json").report
    assert [(j["job"], j["side"], j["result"]) for j in here["jobs"]] == [(job, "source", "moved")]
    assert [report["job"] for report in here["reports"]] == [job]
    there = rig.godwit(move.net.b, "history", "--json", *agent).report
    assert [(j["job"], j["side"], j["result"]) for j in there["jobs"]] == [(job, "destination", "arrived")]
    assert there["reports"] == []
    vm, = rig.godwit(move.net.b, "list", "--json", *agent).report["vms"]
    assert (vm["owner"], vm["epoch"], vm["job"]) == ("here", 1, job)
    assert "started" in rig.godwit(move.net.b, "explain", job, *agent).stdout
    assert rig.godwit(move.net.a, "status", job).stdout.startswith(job)
    assert rig.godwit(move.net.a, "status", "gw-none").exit == 3


def written(move, done):
    """The move on both sides."""
    here, there, job = move.tmp_path / "state", move.agent.state, done.report["job"]
    faults.wait_until(lambda: rig.journal.ask(there, "SELECT result FROM jobs") == [("arrived",)], 10,
                      "the end of the job at the destination")
    for state, side, record in ((here, "source", "released"), (there, "destination", "started")):
        assert rig.journal.ask(state, "SELECT job, side, record, epoch, vm FROM records") == \
               [(job, side, record, 1, done.report["uuid"])]
    assert rig.journal.ask(here, "SELECT job, side, result, epoch FROM jobs") == [(job, "source", "moved", 1)]
    steps = [step for step, in rig.journal.ask(here, "SELECT step FROM steps ORDER BY number")]
    assert steps[0] == "connect" and steps[-3:] == ["handover", "verify", "cleanup"]
    assert rig.journal.ask(here, "SELECT count (*) FROM steps WHERE left_us = 0") == [(0,)]
    assert rig.journal.ask(there, "SELECT * FROM objects") == []
    told(move, job)
    # STARTED was on the disk before the guest ran there
    at_us, = rig.journal.ask(there, "SELECT at_us FROM records")[0]
    move.vm.ticks.wait_side("b", 100)
    assert at_us * 1000 < min(tick.real_ns for tick in move.vm.ticks.all if tick.side == "b")


class Peer:
    """A connection to an agent that says what it likes."""

    def __init__(self, agent):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(agent.socket))
        self.file = self.socket.makefile("rw", encoding="utf-8")
        self.call("hello", protocol=1, program="godwit", version="0.1.0", host="elsewhere", pid=1)

    def call(self, method, **params):
        """Its result, or the code of the cause."""
        self.file.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n")
        self.file.flush()
        while "id" not in (answer := json.loads(self.file.readline())):
            pass  # an event
        return answer["result"] if "result" in answer else answer["error"]["data"]["cause"]

    def open(self, job, epoch):
        return self.call("job.open", job=job, side="destination", vm="rig", uuid=UUID, epoch=epoch)

    def close(self):
        self.file.close()
        self.socket.close()


def old_messages_are_refused(move, job):
    """What was true once, said again; and two hosts that claim the VM."""
    assert Peer(move.agent).open(job, 2) == "rpc-invalid"
    assert Peer(move.agent).open("gw-another", 1) == "epoch-stale"
    late = Peer(move.agent)
    assert late.call("record.get", job=job, refuse=True) == {"record": "started"}
    assert late.call("handover.start", job=job, run=True, timeout_ms=1000) == "rpc-invalid"
    first, second = Peer(move.agent), Peer(move.agent)
    assert first.open("gw-first", 2) == {}
    assert second.open("gw-second", 2) == "vm-busy"
    first.close()
    faults.wait_until(lambda: second.open("gw-second", 2) == {}, 10, "the end of the other claim", 0.1)
    second.close()
    assert rig.journal.ask(move.agent.state, "SELECT record FROM records") == [("started",)]


def garble(path):
    data = bytearray(path.read_bytes())
    data[200:4000] = bytes(3800)
    path.write_bytes(data)


def test_without_a_journal_at_the_source_nothing_is_begun(net, tmp_path):
    """And with one, what is done is written on both sides, and cannot be undone by old messages."""
    move = rig.Scene(net, tmp_path, args=["-uuid", UUID])
    small = scene.tmpfs(net.a, tmp_path / "small", "size=256k")
    whole = make_journal(net, tmp_path / "whole")

    def state(name):
        copy = tmp_path / name
        copy.mkdir()
        shutil.copy(rig.journal.path(whole), copy)
        return copy, {"GODWIT_STATE": str(copy)}

    directory, env = state("garbled")
    garble(rig.journal.path(directory))
    refused(move, "journal-damaged", "source", "journal.db", env)
    directory, env = state("newer")
    rig.journal.ask(directory, "PRAGMA user_version = 99")
    refused(move, "journal-newer", "source", "schema 99", env)
    for name in ("jobs", "control", "vms", "qemu"):  # a directory would be refused first
        (small / name).mkdir()
    ballast = fill(small)
    refused(move, "journal-failed", "source", FULL, {"GODWIT_STATE": str(small)})
    ballast.unlink()
    make_journal(net, small / "below")
    remount(small, "ro")
    refused(move, "journal-failed", "source", "read-only", {"GODWIT_STATE": str(small / "below")})
    done = rig.migrate(move.vm, move.twin, move.agent)
    assert done.exit == 0, done
    written(move, done)
    old_messages_are_refused(move, done.report["job"])


def test_the_source_s_journal_fails_on_the_way(net, tmp_path):
    """The step that cannot be written is not entered, and what was done is undone."""
    move = rig.Scene(net, tmp_path)
    small = scene.tmpfs(net.a, tmp_path / "small", "size=1m")
    started = rig.start_migrate(move.vm, move.twin, move.agent, "--no-rehearse", "--max-bandwidth", "50M",
                                env={"GODWIT_STATE": str(small)})
    faults.wait_until(lambda: 'phase="copying memory"' in started.stderr(), 60, "precopy")
    fill(small)
    done = started.wait()
    assert (done.exit, done.cause, done.report["runs_on"]) == (3, "journal-failed", "source"), done
    move.expect_running()
    faults.wait_until(lambda: not list(move.agent.state.glob("vms/*")), 10, "clean-up of the destination")


def test_the_next_agent_takes_apart_what_a_killed_one_left(net, tmp_path):
    move = rig.Scene(net, tmp_path, config=rig.scene.NO_RESTART)
    started = move.start()
    with faults.stopped(move.qemu_there()):  # it does not notice that its link is gone
        move.agent.kill()
        done = started.wait()
        assert (done.exit, done.cause) == (3, "agent-lost"), done
        assert list(move.agent.state.glob("vms/*"))
        move.agent.start()
    job = done.report["job"]
    state = move.agent.state
    assert rig.journal.ask(state, "SELECT record FROM records WHERE job = ?", job) == [("refused",)]
    assert rig.journal.ask(state, "SELECT result FROM jobs WHERE job = ?", job) == [("refused",)]
    assert rig.journal.ask(state, "SELECT count (*) FROM objects") == [(0,)]
    move.expect_running()
    move.expect_clean(gone=[str(move.agent.pid), "godwitd"])


@pytest.mark.skipif(not rig.soak.ROUNDS, reason=rig.soak.REASON)
@pytest.mark.parametrize("coordinator", ["agent", "command"])
def test_an_agent_lets_the_guest_go_on(net, tmp_path, monkeypatch, coordinator):
    """Its coordinator is killed while the guest stands still for the switchover: the agent, which is started again,
    or a command beside it."""
    move = rig.Scene(net, tmp_path)
    own = rig.Agent(net.a, tmp_path / "own")
    if coordinator == "agent":
        monkeypatch.setenv("GODWIT_AGENT", own.destination)
    monkeypatch.setenv("GODWIT_STATE", str(own.state))
    started = move.switch_over("last ram")
    if coordinator == "agent":
        own.kill()
    else:
        started.signal(signal.SIGKILL)
    net.set_rate(None)
    done = started.wait()
    assert move.vm.ticks.is_silent("a", 0.5), done
    if coordinator == "agent":
        own.start()
    faults.wait_until(lambda: rig.journal.ask(own.state, "SELECT result FROM jobs") == [("stayed",)], 20, "its end")
    assert rig.journal.ask(own.state, "SELECT result FROM jobs") == [("stayed",)]
    mark = move.vm.ticks.mark()
    move.vm.ticks.wait_side("a", 100, since=mark)
    faults.wait_until(lambda: not list(move.agent.state.glob("vms/*")), 20, "clean-up of the destination")
    monkeypatch.delenv("GODWIT_AGENT", raising=False)
    done = rig.migrate(move.vm, move.twin, move.agent)
    assert done.exit == 0, done.report["cause"]
    move.vm.ticks.wait_side("b", 100)


def test_without_a_journal_at_the_destination_nothing_is_begun(moved):
    state = moved.agent.state
    ballast = fill(state)
    refused(moved, "journal-failed", "destination", FULL)
    ballast.unlink()
    # an agent that finds its journal damaged says so, and does not serve
    moved.agent.stop()
    path = rig.journal.path(state)
    clone = state / "clone"
    clone.mkdir()
    shutil.copy(path, clone)
    with pytest.raises(RuntimeError, match="ended with 2: (.|\n)*is a copy"):
        rig.Agent(moved.net.b, clone)
    whole = path.read_bytes()
    for words, spoil in (("newer godwit", lambda: rig.journal.ask(state, "PRAGMA user_version = 99")),
                         ("damaged", lambda: garble(path)),
                         ("journal", lambda: path.write_bytes(whole[:5000]))):
        spoil()
        with pytest.raises(RuntimeError, match=f"ended with 2: (.|\n)*(journal|{words})"):
            moved.agent.start()
        path.write_bytes(whole)
    moved.agent.start()
    moved.expect_running()
