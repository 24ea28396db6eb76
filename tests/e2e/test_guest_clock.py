# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's clock after a move, with QEMU's own guest agent in the guest."""

import contextlib
import json
import socket
import time

import pytest
import rig

# What is rewritten all the time goes with the guest stopped, for most of a second at this rate: far more
# than a busy host may make of a guest's answer.
LOAD = rig.Load(mem="16M", dirty="40M/s")
LONG = ("--max-downtime", "3000", "--max-bandwidth", "20M", "--postcopy", "never")
NOISE_MS = 150
MEM = "131060K"


@contextlib.contextmanager
def agent_of(vm):
    """A function that asks the agent, over the socket that QEMU listens on. The agent looks for somebody
    there ten times a second, so the first answer takes a while."""
    with socket.socket(socket.AF_UNIX) as agent, agent.makefile() as answers:
        agent.settimeout(30)
        agent.connect(str(vm.directory / "agent.sock"))

        def ask(command, **arguments):
            agent.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            return json.loads(answers.readline()).get("return")
        ask("guest-ping")
        yield ask


def offset_ms(vm):
    """How far the guest's clock is ahead of ours."""
    with agent_of(vm) as ask:
        before = time.time_ns()
        told = ask("guest-get-time")
        return (told - (before + time.time_ns()) / 2) / 1e6


@pytest.fixture
def vm(net, tmp_path):
    try:
        guest = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=MEM, agent=True)
    except rig.Missing as error:
        pytest.skip(str(error))
    guest.start().wait_boot()

    with agent_of(guest):
        pass
    return guest


def move(net, tmp_path, vm, *options):
    """The other VM, and the report."""
    twin = vm.twin(net.b, tmp_path / "b")
    done = rig.migrate(vm, twin, rig.Agent(net.b, tmp_path / "agent"), *options)
    assert done.exit == 0, done
    return twin, done.report


def test_the_downtime_is_taken_back(net, tmp_path, vm):
    """Also from a clock that is an hour off, and stays so."""
    with agent_of(vm) as ask:
        ask("guest-set-time", time=time.time_ns() + 3600 * 10**9)
    before = offset_ms(vm)
    assert 3590e3 < before < 3610e3
    twin, report = move(net, tmp_path, vm, *LONG)
    clock = report["guest_clock"]
    assert clock["agent"] is True and clock["corrected"] is True, clock
    assert report["downtime_ms"] > 3 * NOISE_MS
    assert abs(clock["behind_ms"] - report["downtime_ms"]) < NOISE_MS and abs(clock["left_ms"]) < NOISE_MS
    assert abs(offset_ms(twin) - before) < NOISE_MS


def test_it_is_left_alone_when_told(net, tmp_path, vm):
    before = offset_ms(vm)
    twin, report = move(net, tmp_path, vm, "--guest-clock", "off", *LONG)
    assert report["guest_clock"] is None
    assert before - offset_ms(twin) > report["downtime_ms"] - NOISE_MS > 2 * NOISE_MS


def test_an_agent_that_hangs_costs_a_second(net, tmp_path, vm):
    """Somebody else is connected to the agent's socket: it is not disturbed, and the move goes on."""
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(vm.directory / "agent.sock"))
        _, report = move(net, tmp_path, vm)
    assert report["guest_clock"] == {"agent": False, "why": "somebody else is connected to it"}
