# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running the programs under test."""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import tempfile
import time

from . import faults, paths


@dataclasses.dataclass
class Done:
    """How a godwit command ended. `report` is the last JSON object on its standard output, None when
    there is none."""
    exit: int
    report: dict | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def cause(self):
        """The code of the report's cause, None without one."""
        return ((self.report or {}).get("cause") or {}).get("code")

    def __str__(self):
        return (f"exit {self.exit} after {self.seconds:.1f} s, cause {self.cause}\n"
                f"{json.dumps((self.report or {}).get('cause'), indent=1)}\n{self.stderr[-3000:]}")


def last_object(text):
    """The last JSON object of a text whose first brace stands at the beginning of a line."""
    decoder = json.JSONDecoder()
    lines = text.splitlines(keepends=True)
    for i in range(len(lines) - 1, -1, -1):
        if lines[i].startswith("{"):
            try:
                value, end = decoder.raw_decode("".join(lines[i:]))
            except ValueError:
                continue
            if not "".join(lines[i:])[end:].strip():
                return value
    return None


class Agent:
    """A running godwitd on a host; ends with its Net. `state` is its directory, which is made."""

    def __init__(self, host, state, args=(), env=None, timeout=20):
        self.host = host
        self.state = pathlib.Path(state).absolute()
        self.state.mkdir(parents=True, exist_ok=True)
        self.socket = self.state / "agent.sock"
        self.log = self.state / "agent.log"
        self.argv = [paths.program("godwitd"), "--socket", self.socket, "--state", self.state,
                     "--data-address", host.address, *args]
        self.env = env
        self.start(timeout)

    def start(self, timeout=20):
        """Starts it (again), and waits until it answers."""
        self.process = self.host.popen(self.argv, log=self.log, env=_environment(self.env))
        faults.wait_until(self._answers, timeout, f"godwitd at {self.socket}")

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"godwitd ended with {self.process.returncode}: {self.log_tail()}")
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    @property
    def pid(self):
        """Of the running godwitd."""
        return self.process.pid

    @property
    def destination(self):
        """The DEST of a command."""
        return f"unix:{self.socket}"

    def log_tail(self, size=3000):
        """The end of its log."""
        return self.log.read_bytes()[-size:].decode("utf-8", "replace") if self.log.exists() else ""

    def kill(self):
        """Kills it as a crash does."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, timeout=20):
        """Ends it in good order and returns its exit status."""
        self.process.terminate()
        return self.process.wait(timeout)


def _environment(more):
    return {**os.environ, **(more or {})}


class Migration:
    """A godwit command that runs."""

    def __init__(self, host, argv, env=None):
        self._began = time.monotonic()
        self._out, self._err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.process = host.popen([paths.program("godwit"), *argv], stdout=self._out,
                                  stderr=self._err, env=_environment(env))
        self.pid = self.process.pid

    def is_running(self):
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def signal(self, number=signal.SIGINT):
        """Sends a signal, by default what Ctrl-C sends."""
        self.process.send_signal(number)

    def stderr(self):
        """What it has written to standard error so far."""
        return self._read(self._err)

    @staticmethod
    def _read(file):
        return os.pread(file.fileno(), 1 << 24, 0).decode("utf-8", "replace")

    def seconds(self):
        """Since its start."""
        return time.monotonic() - self._began

    def wait_end(self, timeout=120):
        """Waits until it has ended, and leaves the rest to wait()."""
        self.process.wait(timeout)

    def wait(self, timeout=120):
        """Waits for the end: a Done. A command that does not end in time is killed, and that is an
        error of the test."""
        try:
            status = self.process.wait(timeout)
        except Exception as error:
            self.process.kill()
            self.process.wait(10)
            raise TimeoutError(f"godwit did not end in {timeout} s; it said:\n"
                               f"{self.stderr()[-3000:]}") from error
        out, err = self._read(self._out), self._read(self._err)
        self._out.close()
        self._err.close()
        return Done(status, last_object(out), out, err, time.monotonic() - self._began)


def start_godwit(host, *argv, env=None):
    """Starts any godwit command on a host: a Migration."""
    return Migration(host, argv, env)


def godwit(host, *argv, timeout=60, env=None):
    """Runs any godwit command on a host: a Done."""
    return Migration(host, argv, env).wait(timeout)


def start_migrate(vm, twin, dest, *options, env=None):
    """Starts `godwit migrate` of a VM to its twin's directory; dest is an Agent or a DEST text."""
    dest = dest.destination if isinstance(dest, Agent) else dest
    return Migration(vm.host, ["migrate", f"qmp:{vm.qmp_path}", dest,
                               "--map", f"{vm.directory}={twin.directory}", "--json", *options], env)


def migrate(vm, twin, dest, *options, timeout=120, env=None):
    """Runs `godwit migrate` of a VM to its twin's directory to the end: a Done. When it says that
    the VM has moved, the twin's QEMU is looked up, so that twin.pid is set."""
    done = start_migrate(vm, twin, dest, *options, env=env).wait(timeout)
    if done.report and done.report.get("runs_on") == "destination":
        twin.find(5)
    return done
