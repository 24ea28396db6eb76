# SPDX-License-Identifier: LGPL-2.1-or-later
"""A migration that is to fail: a busy guest on one host, an agent on the other, both in a known state, and
what must hold afterwards."""

import contextlib
import json
import subprocess
import time

from . import faults, leftovers
from .guest import Guest, Load
from .programs import Agent, godwit, migrate, start_migrate

LOAD = Load(mem="32M", dirty="5M/s", content="text", fill="32M")
MEM = "196600K"
# What stays on purpose: ownership records and reports; the rig's own connections.
NO_RESTART = "[limits]\nrestart-seconds=0\n"  # of an agent whose jobs end with it
KEPT = ["/journal", "/qemu/", "/state", "monitor.sock", "agent.sock", "agent.log"]
QEMU = "qemu-system-x86_64"
CRAWL = "100kbit", 4096  # nothing that matters gets through at once
WAIT = "while [ -e {hold} ]; do sleep 0.02; done"  # a before_qemu, for launching()


def tmpfs(host, directory, options):
    """Mounts a small file system there until the host ends."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "godwit-rig", directory], check=True)
    host.at_close(lambda: subprocess.run(["umount", "-l", directory], check=True))
    return directory


class Scene:
    """A booted guest on a, an agent on b, and a picture of both before the migration. prepare(host,
    directory) is called for the directory of each side before anything runs there; before_qemu is a line of shell
    ({hold} and {at} are paths) that runs in the place of the destination's QEMU before it; config is for the agent."""

    def __init__(self, net, tmp_path, prepare=None, before_qemu=None, config="", agent_args=(), load=LOAD, **more):
        self.net, self.tmp_path = net, tmp_path
        for host in net.hosts if prepare else ():
            (tmp_path / host.name).mkdir()
            prepare(host, tmp_path / host.name)
        self.hold = tmp_path / "hold"
        if before_qemu:
            before_qemu = before_qemu.format(hold=self.hold, at=tmp_path)
            config += self._wrap_qemu(before_qemu)
        if config:
            (tmp_path / "godwitd.conf").write_text(config)
            agent_args = [*agent_args, "--config", tmp_path / "godwitd.conf"]
        more["args"] = [text.format(at=tmp_path) for text in more.get("args", ())]
        more["disk"] = more["disk"].format(at=tmp_path) if more.get("disk") else None
        more.setdefault("mem", MEM)
        self.vm = Guest(net.a, tmp_path / "a", load=load, **more)
        self.vm.start().wait_boot()
        self.twin = self.vm.twin(net.b, tmp_path / "b")
        self.agent = Agent(net.b, tmp_path / "agent", agent_args)
        self.started = None
        self.before = leftovers.snapshot(net, [tmp_path])

    def _wrap_qemu(self, line):
        """A QEMU of the destination that does something first when it is to receive a VM."""
        directory = self.tmp_path / "qemu"
        directory.mkdir()
        (directory / QEMU).write_text(f'#!/bin/sh\ncase "$*" in *" -incoming "*)\n{line}\n;; esac\n'
                                      f'exec /usr/bin/{QEMU} "$@"\n')
        (directory / QEMU).chmod(0o755)
        return f"[qemu]\ndirectories={directory}\n"

    # --- phases ---

    def start(self, *options, phase="copying memory", dest=None):
        """A slow migration that has reached the phase."""
        self.started = start_migrate(self.vm, self.twin, dest or self.agent, "--no-rehearse",
                                     "--max-bandwidth", "4M", *options)
        self.wait_phase(phase)
        return self.started

    def wait_phase(self, phase, timeout=60):
        """Waits until the running migration says that it is in the phase."""
        faults.wait_until(lambda: f'phase="{phase}"' in self.started.stderr() or not self.started.is_running(),
                          timeout, phase, 0.002)

    def switch_over(self, at="device state"):
        """A migration that is held, with the guest stopped, by a link that has become very slow: while the
        last RAM is sent, or while the device state is."""
        if at == "device state":
            self._hold_device_state()
        else:
            self._hold_last_ram()
        time.sleep(1)
        assert self.started.is_running(), self.started.wait()
        assert ('phase="switching over"' in self.started.stderr()) == (at == "device state")
        assert 'phase="handing over"' not in self.started.stderr()
        return self.started

    def _hold_device_state(self):
        """The program stands still until the link is slow: it is faster than whoever watches it."""
        held = self.tmp_path / "held"
        # the stop of a rehearsal would be taken for that of the switchover
        self.started = start_migrate(self.vm, self.twin, self.agent, "--no-rehearse", "--codec", "off",
                                     env={"GODWIT_POINT": f"stop=call:qemu.continue={held}"})
        program = faults.wait_stop(held, 60, "the switchover")
        held.unlink()
        self.net.set_rate(*CRAWL)
        faults.cont(program)
        self.wait_phase("switching over")

    def _hold_last_ram(self):
        """Nothing waits for anybody there; without the codec there is more of it."""
        self.net.set_rate("200mbit")
        with self.vm.monitor() as monitor:
            self.started = start_migrate(self.vm, self.twin, self.agent, "--no-rehearse", "--codec", "off",
                                         "--max-downtime", "60000")
            monitor.wait_event("STOP", 60)
        self.net.set_rate(*CRAWL)

    def hand_over(self):
        """A migration whose destination has got the right to start, and an agent that stands still and
        cannot know: the migration and the pid of the QEMU there."""
        started = self.switch_over()
        qemu = self.qemu_there()
        faults.stop(self.agent.pid)
        self.net.set_rate(None)
        self.wait_phase("handing over")
        return started, qemu

    @contextlib.contextmanager
    def launching(self, *options, dest=None):
        """A migration whose destination's QEMU is about to start, and starts when the block ends. The
        scene's before_qemu must be WAIT."""
        self.hold.write_text("")
        try:
            self.start(*options, phase="starting QEMU at the destination", dest=dest)
            time.sleep(0.2)
            yield self.started
        finally:
            self.hold.unlink()

    # --- who takes part ---

    def qemu_there(self):
        """The pid of the destination's QEMU."""
        (entry,) = godwit(self.net.b, "list", "--json", "--agent", self.agent.destination).report["vms"]
        return entry["pid"]

    def courier(self, host):
        """The pid of the courier on a host."""
        (pid,) = faults.named(host.pids(), b"godwit-courier")
        return pid

    def dialer(self, host):
        """The pid of the courier's child there that makes its connections."""
        (pid,) = faults.named(host.pids(), b"godwit-dialer")
        return pid

    # --- what must hold ---

    def expect(self, done, exit, cause, side, words="", runs_on="source", result="stayed", allowed=()):
        """How it must have ended; the guest goes on, and nothing is left."""
        assert done.report is not None, done
        told = done.report["cause"]
        assert (done.exit, told["code"], told["side"]) == (exit, cause, side), done
        assert words in json.dumps(told["evidence"]), done
        assert told["remedy"] and told["title"]
        assert (done.report["result"], done.report["runs_on"]) == (result, runs_on)
        assert done.report["exit"] == exit
        if runs_on == "source":
            self.expect_running()
        gone = [] if runs_on == "source" else [str(self.vm.directory), str(self.vm.pid)]
        self.expect_clean(gone=[*gone, *allowed])

    def expect_running(self):
        mark = self.vm.ticks.mark()
        self.vm.ticks.wait_side("a", 100, since=mark)
        with self.vm.monitor() as monitor:
            caps = [c["capability"] for c in monitor.execute("query-migrate-capabilities") if c["state"]]
            assert caps == [] and monitor.execute("query-block-jobs") == []
        self.vm.report.check()

    def expect_clean(self, gone=()):
        after = leftovers.snapshot(self.net, [self.tmp_path])
        assert leftovers.compare(self.before, after, allowed=KEPT) == []
        assert leftovers.compare(after, self.before, allowed=[*KEPT, *gone]) == [], "something is gone"

    def expect_next_works(self, *options):
        done = migrate(self.vm, self.twin, self.agent, *options)
        assert done.exit == 0, f"the next migration must work: {done}"
        self.vm.ticks.wait_side("b", 100)
        self.vm.report.check()
