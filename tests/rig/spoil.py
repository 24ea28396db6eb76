# SPDX-License-Identifier: LGPL-2.1-or-later
"""Setups that cannot move: a VM that is held before its first instruction, and a destination whose
QEMU does not make of the command line what the source's did."""

from . import faults, leftovers, programs
from .guest import Guest

MEM = "65528K"
KEPT = ["/state", "/journal", "/qemu/", "monitor.sock", "agent.log"]
REAL = "/usr/bin/qemu-system-x86_64"

WRAPPER = """#!/usr/bin/python3 -B
import os, re, subprocess, sys
argv = sys.argv[1:]

def find(text):
    return next(i for i, word in enumerate(argv) if text in word)

def drop(*texts):
    for text in texts:
        at = find(text)
        del argv[at - 1:at + 1]

def change(text, old, new):
    at = find(text)
    assert re.search(old, argv[at]), argv[at]
    argv[at] = re.sub(old, new, argv[at])

def add(*words):
    argv.extend(words)

if '-S' in argv:
{launched}
else:
    said = subprocess.run([{real!r}, *argv], capture_output=True, text=True)
    out = said.stdout
{asked}
    sys.stdout.write(out)
    sys.stderr.write(said.stderr)
    sys.exit(said.returncode)
os.execv({real!r}, [{real!r}, *argv])
"""


def _indented(body):
    return "".join(f"    {line}\n" for line in (body or "pass").splitlines())


def wrapper(directory, launched=None, asked=None, real=REAL):
    """A directory with a QEMU that is spoiled. `launched`: Python that changes `argv` of a QEMU that
    shall take a VM, by drop(text), change(text, old, new) and add(words); `asked`: Python that changes
    `out`, what QEMU says when it is only asked (-machine help and the like), by `argv`."""
    directory.mkdir()
    path = directory / "qemu-system-x86_64"
    path.write_text(WRAPPER.format(real=str(real), launched=_indented(launched), asked=_indented(asked)))
    path.chmod(0o755)
    return directory


def status(vm):
    """Of the source's QEMU, None when it does not answer."""
    try:
        with vm.monitor() as monitor:
            return monitor.execute("query-status")["status"]
    except OSError:
        return None


def hold(vm):
    """Starts QEMU without running the guest, and waits until it answers."""
    vm.start(paused=True)
    faults.wait_until(lambda: status(vm) in ("prelaunch", "paused", "inmigrate"), 20, "QEMU's answer")
    return vm


class Setup:
    """A held VM on a, its twin on b, and an agent there. `launched` and `asked` are those of wrapper()."""

    def __init__(self, net, directory, args=(), launched=None, asked=None, programs_dir=None, **more):
        self.net, self.directory = net, directory
        options = []
        if launched or asked:
            programs_dir = wrapper(directory / "programs", launched, asked)
        if programs_dir:
            config = directory / "godwitd.conf"
            config.write_text(f"[qemu]\ndirectories={programs_dir}\n")
            options = ["--config", config]
        self.vm = hold(Guest(net.a, directory / "a", **{"mem": MEM, **more}, args=list(args)))
        self.twin = self.vm.twin(net.b, directory / "b")
        self.agent = programs.Agent(net.b, directory / "agent", options)
        self.status = status(self.vm)

    def run(self, command, *options):
        """The command, "check" or "migrate"; nothing may be left of it."""
        before = leftovers.snapshot(self.net, [self.directory])
        done = programs.godwit(self.vm.host, command, f"qmp:{self.vm.qmp_path}", self.agent.destination,
                               "--map", f"{self.vm.directory}={self.twin.directory}", "--json", *options)
        # the agent notices only a moment later that the command has closed its connection
        faults.wait_until(lambda: self._is_as(before), 5, "nothing left over")
        assert status(self.vm) == self.status
        return done

    def _is_as(self, before):
        after = leftovers.snapshot(self.net, [self.directory])
        return leftovers.compare(before, after, allowed=KEPT) == []

    def check(self, *options):
        return self.run("check", *options)

    def refused(self, cause, *parts, options=(), more=()):
        """Check and move say so, and say the same; `more` are options of the move alone."""
        for command, given in (("check", options), ("migrate", [*options, *more])):
            done = self.run(command, *given)
            assert (done.exit, done.cause) == (2, cause), (command, done)
            for part in parts:
                assert part in done.report["cause"]["message"], (command, part, done)
        return done

    def passes(self, *options):
        done = self.check(*options)
        assert done.exit == 0, done.report["cause"]
        return done


def verdicts(done):
    """The worst verdict of each check of a report."""
    worst = ["ok", "warning", "refused"]
    found = {}
    for check in done.report["checks"]:
        found[check["check"]] = max(found.get(check["check"], "ok"), check["verdict"], key=worst.index)
    return found
