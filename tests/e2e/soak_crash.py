# SPDX-License-Identifier: LGPL-2.1-or-later
"""The crash grid: at every journal record and every message between the parties, something dies, stands still, or is
lost. `make soak`; CELLS=N (how many), SEED=N (which), PART=K/N (every Nth of these); `make test` runs a sample
(test_crash.py).

A cell is (coordinator, where, point, victim, action). The program at `where` stops at the point (GODWIT_POINT), the
victim is dealt with, and the program goes on. Whatever happens then, when all are back, crash_judge.py says what must
hold."""

import collections
import contextlib
import json
import os
import random
import time
import uuid

import pytest
import rig
from rig import faults, imagelocks

import crash_judge as judge

CELLS = int(os.environ.get("CELLS") or "120")
SEED = int(os.environ.get("SEED") or "1")
PART = os.environ.get("PART") or "1/1"
LOG = os.environ.get("GODWIT_CRASH_LOG")  # one JSON object a cell, for scripts/crash-table
POINTS = os.environ.get("GODWIT_CRASH_POINTS")  # a file, made by the first of several runs that are to choose alike

VICTIMS = ("command", "source agent", "destination agent", "source courier", "destination courier", "source QEMU",
           "destination QEMU")
STOP_S, CUT_S = 10, 8
SLOWLY = ("--max-bandwidth", "8M")  # there is memory left when the agent is back
OPTIONS = ("--no-rehearse", "--max-downtime", "2000")
# Not of the job: what a command asks its agent, what is repeated all the time, and a job's first word.
DULL = ("hello", "ping", "job.run", "job.watch", "job.status", "job.abort", "qemu.progress", "qemu.verify",
        "vm.list", "report.list", "report.get")

Cell = collections.namedtuple("Cell", "coordinator where point victim action")
# Memory is copied: an agent that is killed there, and started again, is not missed.
GOES_ON = {"destination agent": ("call:qemu.migrate", "return:qemu.migrate", "call:courier.status", "return:courier.status"),
           "source agent": ("return:qemu.migrate", "call:courier.status", "return:courier.status")}


# The guest runs at the destination, or is about to, and fetches its memory: nobody is missed who comes back.
POSTCOPY = ("--postcopy", "now", "--max-bandwidth", "8M")
SETTLED = ("return:handover.start", "reply:handover.start", "started:runs", "started:written")


def postcopy_cells():
    """All with agents, commands and couriers."""
    points = {"coordinator": ("return:record.put", "call:handover.start", "return:handover.start"),
              "destination": ("started:written", "started:runs", "reply:handover.start")}
    for coordinator in ("command", "agent"):
        for where, names in points.items():
            for point in names:
                for victim in VICTIMS[:5]:
                    for action in ("kill",) + (("end",) if victim == "destination agent" else ()):
                        yield Cell(coordinator, where, point, victim, action)


def goes_on(cell, mode=()):
    """Whether the migration is to go on all the same."""
    if mode:
        return cell.point in SETTLED and cell.victim != "command"
    return cell.where == "coordinator" and cell.action in ("kill", "end") and cell.point in GOES_ON.get(cell.victim, ()) and (
        cell.victim == "destination agent" or cell.coordinator == "agent")


class Rig:
    """A guest that moves to and fro between two hosts, each with an agent."""

    def __init__(self, net, tmp_path, has_uuid=True):
        self.net, self.tmp_path, self.has_uuid = net, tmp_path, has_uuid
        self.count = 0
        self.agents = {host.name: rig.Agent(host, tmp_path / f"agent-{host.name}") for host in net.hosts}
        self.vm = None

    def directory(self, host):
        self.count += 1
        return self.tmp_path / f"{host.name}{self.count}"

    def boot(self):
        """A new guest on a: the first, or after one was lost."""
        if self.vm:
            self.vm.stop()
            self.twin.stop()
        image = self.tmp_path / f"disk{self.count}.img"
        with open(image, "xb") as file:
            file.truncate(1 << 20)
        self.vm = rig.Guest(self.net.a, self.directory(self.net.a), mem="131064K", disk=str(image),
                            args=["-uuid", str(uuid.uuid4())] if self.has_uuid else [],
                            load=rig.Load(mem="8M", dirty="2M/s", content="text", diskrate=50))
        self.vm.start().wait_boot()
        self.twin = self.vm.twin(self.net.b, self.directory(self.net.b))

    @property
    def here(self):
        return self.agents[self.vm.side]

    @property
    def there(self):
        return self.agents[self.twin.side]

    def restart(self, agent, env=None):
        if agent.process.poll() is None:
            faults.cont(agent.pid)
            agent.kill()
        agent.env = env
        agent.start()

    def start(self, coordinator, env=None, more=()):
        """A migration by the command, or by the source's agent."""
        state = {"GODWIT_STATE": str(self.here.state)}
        options = (*OPTIONS, "--agent", self.here.destination) if coordinator == "agent" else OPTIONS
        return rig.start_migrate(self.vm, self.twin, self.there, *options, *more, env={**state, **(env or {})})

    def has_moved(self):
        """The guest is where the twin was; the next twin is where it came from."""
        self.twin.find(10)
        faults.wait_gone(self.vm.pid)
        if self.vm.process:
            self.vm.process.wait(10)
        old, self.vm = self.vm, self.twin
        self.twin = self.vm.twin(old.host, self.directory(old.host))

    def reconcile(self, *options):
        return rig.godwit(self.here.host, "reconcile", "--json", *options, env={"GODWIT_STATE": str(self.here.state)})

    def strangers(self):
        """Processes of both hosts that are neither an agent nor the QEMU of the guest."""
        known = {agent.pid for agent in self.agents.values()} | ({self.vm.pid} if self.vm else set())
        return [pid for host in self.net.hosts for pid in host.pids() if pid not in known and not faults.is_zombie(pid)]

    def left_over(self):
        """Directories of jobs and of VMs that do not run, leases, proofs beside the image, processes."""
        for agent in self.agents.values():  # whoever comes across what a VM has left that ended removes it
            rig.godwit(agent.host, "list", "--agent", agent.destination)
        left = [str(path) for agent in self.agents.values() for name in ("jobs", "leases") for path in agent.state.glob(f"{name}/*")]
        left += [str(path) for path in self.tmp_path.glob(".godwit-*")]
        mine = sum(len(list(agent.state.glob("vms/*"))) for agent in self.agents.values())
        expected = 1 if self.vm and self.vm.is_alive() and not self.vm.process else 0
        return left + [f"process {pid}: {faults.line(pid)}" for pid in self.strangers()] + (
            [f"{mine} VM directories"] if mine != expected else [])

    def last_job(self):
        """What the source's agent tells of the job that it coordinated."""
        told = rig.godwit(self.here.host, "history", "--json", "--agent", self.here.destination).report
        return next((job for job in told["jobs"] if job["side"] == "source"), None)


# --- the cells ------------------------------------------------------------------------------------------------------

def is_dull(point):
    return any(point.partition(":")[2].startswith(name) for name in DULL)


def points_of(lines, pid):
    found = [line.partition(" ")[2].strip() for line in lines if line.startswith(f"{pid} ")]
    return [point for point in dict.fromkeys(found) if not is_dull(point)]


def enumerate_points(world):
    """The points that one migration passes, by coordinator and by program: noted, not listed."""
    points = {}
    for coordinator in ("command", "agent"):
        file = world.tmp_path / f"points-{coordinator}"
        note = {"GODWIT_POINT": f"note=={file}"}
        world.restart(world.there, note)
        if coordinator == "agent":
            world.restart(world.here, note)
        started = world.start(coordinator, note if coordinator == "command" else None)
        done = started.wait()
        assert done.exit == 0, done
        pid = started.pid if coordinator == "command" else world.here.pid
        lines = file.read_text().splitlines()
        points[coordinator] = {"coordinator": points_of(lines, pid), "destination": points_of(lines, world.there.pid)}
        for agent in world.agents.values():
            world.restart(agent)
        world.has_moved()
    return points


def victims_at(passed):
    """Who is there when these points have been passed."""
    has_qemu = any(point.endswith(":qemu.launch") for point in passed)
    has_couriers = sum(point.endswith(":courier.start") for point in passed) > 1
    return [victim for victim in VICTIMS if (has_qemu or victim != "destination QEMU") and
            (has_couriers or not victim.endswith("courier"))]


def all_cells(points):
    """In an order that does not depend on the machine."""
    for coordinator in ("command", "agent"):
        for where in ("coordinator", "destination"):
            order = points[coordinator][where]
            for point in sorted(order):
                for victim in victims_at(order[:order.index(point)]):
                    for action in ("kill", "stop") + (("end",) if victim.endswith("agent") else ()):
                        yield Cell(coordinator, where, point, victim, action)
                yield Cell(coordinator, where, point, "link", "cut")
                if point.startswith("reply:"):
                    yield Cell(coordinator, where, point, "reply", "lost")


def choose(points, number, seed):
    cells = list(all_cells(points))
    chosen = random.Random(seed).sample(cells, min(number, len(cells)))
    part, parts = (int(word) for word in PART.split("/"))
    return chosen[part - 1::parts], len(cells)


def find_points(world):
    """As the file has them, or as they are."""
    if POINTS and os.path.exists(POINTS):
        with open(POINTS, encoding="utf-8") as file:
            return json.load(file)
    points = enumerate_points(world)
    if POINTS:
        with open(POINTS, "x", encoding="utf-8") as file:
            json.dump(points, file)
    return points


# --- one cell ----------------------------------------------------------------------------------------------------------

class Attempt:
    """What is done to one migration."""

    def __init__(self, world, cell, mode=()):
        self.world, self.cell = world, cell
        self.file = world.tmp_path / f"point{world.count}"
        self.file.unlink(missing_ok=True)
        world.count += 1
        order = "drop" if cell.action == "lost" else "stop"
        env = {"GODWIT_POINT": f"{order}={cell.point}={self.file}"}
        self.mark, self.must_go_on = world.vm.ticks.mark(), goes_on(cell, mode)
        self.source_qemu, self.killed = world.vm.pid, None
        if cell.where == "destination":
            world.restart(world.there, env)
        elif cell.coordinator == "agent":
            world.restart(world.here, env)
        self.started = world.start(cell.coordinator,
                                   env if (cell.where, cell.coordinator) == ("coordinator", "command") else None,
                                   mode or (SLOWLY if goes_on(cell) else ()))
        self.stopped = (world.there.pid if cell.where == "destination" else
                        world.here.pid if cell.coordinator == "agent" else self.started.pid)

    def reach(self):
        """Whether the point was reached."""
        faults.wait_until(lambda: self.file.exists() or not self.started.is_running(), 60, "the point")
        if not self.file.exists():
            return False
        if self.cell.action != "lost":
            faults.wait_until(lambda: faults.state(self.stopped) in ("T", None), 10, "the stop")
        return True

    def victim(self):
        """Its pid; None when it is not there (yet, or any more)."""
        world = self.world
        match self.cell.victim:
            case "command":
                return self.started.pid if self.started.is_running() else None
            case "source agent":
                return world.here.pid
            case "destination agent":
                return world.there.pid
            case "source QEMU":
                return self.source_qemu if not faults.is_zombie(self.source_qemu) else None
            case "destination QEMU":
                pids = faults.named(self.twin_host().pids(), b"qemu-system-x86_64")
                return next((pid for pid in pids if faults.start_time(pid)), None)
            case "source courier" | "destination courier":
                host = world.vm.host if self.cell.victim.startswith("source") else self.twin_host()
                return next(iter(faults.named(host.pids(), b"godwit-courier")), None)
        return None

    def twin_host(self):
        return self.world.twin.host

    def strike(self):
        """The action; whether there was a victim."""
        pid = self.victim()
        if self.cell.action == "cut":
            with self.world.net.outage():
                faults.cont(self.stopped)
                time.sleep(CUT_S)
            return True
        if self.cell.action == "kill" and pid:
            faults.kill(pid, wait=pid != self.started.pid)
            self.killed = pid
            if self.cell.victim.endswith("agent"):  # as a service is
                time.sleep(1)
                self.world.restart(self.world.here if self.cell.victim == "source agent" else self.world.there)
        elif self.cell.action == "end" and pid:
            self.end(pid)
        elif self.cell.action == "stop" and pid:
            if pid != self.stopped:
                faults.stop(pid)
                faults.cont(self.stopped)
            time.sleep(STOP_S)
            faults.cont(pid)
        if self.stopped != self.killed:
            faults.cont(self.stopped)
        return self.cell.action == "lost" or pid is not None

    def end(self, pid):
        """The agent is told to, as for a restart of the service."""
        agent = self.world.here if self.cell.victim == "source agent" else self.world.there
        agent.process.terminate()
        faults.cont(self.stopped)
        assert agent.process.wait(200) == 0, agent.log_tail()
        self.killed = pid
        time.sleep(1)
        self.world.restart(agent)

    def finish(self):
        """The command has ended, and all agents are back: a Done, or None when it was killed."""
        done = None
        if self.killed != self.started.pid:
            done = self.started.wait(150)
        else:
            with contextlib.suppress(Exception):
                self.started.wait(10)
        for agent in self.world.agents.values():
            if agent.process.poll() is not None:
                self.world.restart(agent)
        return done


def run_cell(world, cell, mode=()):
    """Runs it and says what was seen; raises what must not be."""
    began = time.monotonic()
    with imagelocks.Watch(world.vm.disk) as watch:
        attempt = Attempt(world, cell, mode)
        row = {**cell._asdict(), "mode": "postcopy" if mode else "precopy", "uuid": world.has_uuid, "reached": attempt.reach(), "struck": False}
        if row["reached"]:
            row["struck"] = attempt.strike()
        done = attempt.finish()
        judge.the_end(world, attempt, done, row)
        after(world, row)
    assert watch.most == 1 and watch.looks > 10, f"{watch.most} could write the disk at once: {watch.seen[:5]} ({len(watch.seen)})"
    row["seconds"] = round(time.monotonic() - began, 1)
    return row


def after(world, row):
    """Nothing is left, the guest is whole, and can be moved."""
    for agent in world.agents.values():  # no point waits in it for the next one
        if agent.env:
            world.restart(agent)
    if row["runs"] == "destination":
        world.has_moved()
    faults.wait_until(lambda: not world.left_over(), 15, f"clean-up: {world.left_over()}", 0.2)
    judge.whole(world, row)
    if row["runs"] == "nowhere":
        world.boot()
        return
    done = world.start("command").wait()
    assert done.exit == 0, f"the next migration: {done}"
    world.has_moved()


def note_row(row):
    if LOG:
        with open(LOG, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def run_chosen(net, tmp_path, number, seed):
    """Runs that many; a list of what failed. Of the parts each other one has a VM without a UUID, whose epoch nobody
    knows."""
    world = Rig(net, tmp_path, has_uuid=int(PART.split("/")[0]) % 2 == 1)
    world.boot()
    cells, total = choose(find_points(world), number, seed)
    print(f"seed {seed}: {len(cells)} of {total} cells")
    return run_cells(world, cells)


def run_cells(world, cells, mode=()):
    """A list of what failed."""
    failed = []
    for cell in cells:
        try:
            row = run_cell(world, cell, mode)
        except Exception as error:  # the next cells are run all the same, with another guest
            row = {**cell._asdict(), "mode": "postcopy" if mode else "precopy", "failed": f"{type(error).__name__}: {error}"[:3000]}
            failed.append(row)
            renew(world)
        note_row(row)
        print(json.dumps(row)[:600], flush=True)
    return failed


def renew(world):
    """After a failure: agents, guest and command that know nothing of it."""
    world.net.heal()
    for host in world.net.hosts:
        host.kill_all()
    world.vm = None
    world.agents = {host.name: rig.Agent(host, world.directory(host)) for host in world.net.hosts}
    world.boot()


@pytest.mark.timeout(CELLS * 60 + 300)
def test_the_grid(net, tmp_path):
    failed = run_chosen(net, tmp_path, CELLS, SEED)
    assert not failed, json.dumps(failed, indent=1)


@pytest.mark.timeout(900)
def test_restarts(net, tmp_path):
    """Every cell in which the migration goes on."""
    world = Rig(net, tmp_path)
    world.boot()
    cells = [Cell(coordinator, "coordinator", point, victim, action) for coordinator in ("command", "agent")
             for victim, points in GOES_ON.items() for point in points for action in ("kill", "end")]
    failed = run_cells(world, [cell for cell in cells if goes_on(cell)])
    assert not failed, json.dumps(failed, indent=1)


@pytest.mark.timeout(CELLS * 60 + 300)
def test_postcopy(net, tmp_path):
    """Those in postcopy, CELLS of them at most."""
    world = Rig(net, tmp_path, has_uuid=int(PART.split("/")[0]) % 2 == 1)
    world.boot()
    part, parts = (int(word) for word in PART.split("/"))
    cells = random.Random(SEED).sample(list(postcopy_cells()), min(CELLS, len(list(postcopy_cells()))))
    failed = run_cells(world, cells[part - 1::parts], POSTCOPY)
    assert not failed, json.dumps(failed, indent=1)
