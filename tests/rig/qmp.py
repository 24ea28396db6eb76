# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small QMP client for tests. One thread uses one Qmp."""

import json
import socket
import struct
import time


class QmpError(Exception):
    """QEMU refused a command; `kind` is its class."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error.get('desc')}")
        self.kind = error.get("class")


class Qmp:
    """A connection to a QMP unix socket; a context manager.

    path: of the socket; it is tried again until `timeout` seconds have passed, so it may be given
    before QEMU has made it. `pid` is the QEMU behind the socket, `events` what it has told so far.
    """

    def __init__(self, path, timeout=10):
        self.path = str(path)
        self.timeout = timeout
        self.events = []
        self._buffer = b""
        self._next_id = 0
        self._socket = self._connect(time.monotonic() + timeout)
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid = struct.unpack("3i", credentials)[0]
        self.version = self._read(time.monotonic() + timeout)["QMP"]["version"]["qemu"]
        self.execute("qmp_capabilities")

    def _connect(self, deadline):
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.path)
                return connection
            except OSError:
                connection.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the connection; QEMU goes on."""
        self._socket.close()

    def _read(self, deadline):
        """The next message; TimeoutError after the deadline, EOFError when QEMU is gone."""
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.path}: no message")
            self._socket.settimeout(left)
            try:
                chunk = self._socket.recv(1 << 16)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise EOFError(f"{self.path}: QEMU has closed the monitor")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def execute(self, command, arguments=None, timeout=None, **more):
        """Runs a command and returns its answer. Arguments may be given by keyword, with "_" for
        "-"."""
        arguments = {**(arguments or {}), **{k.replace("_", "-"): v for k, v in more.items()}}
        self._next_id += 1
        message = {"execute": command, "id": self._next_id}
        if arguments:
            message["arguments"] = arguments
        self._socket.settimeout(self.timeout)
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            answer = self._read(deadline)
            if "event" in answer:
                self.events.append(answer)
            elif answer.get("id") == self._next_id:
                if "error" in answer:
                    raise QmpError(command, answer["error"])
                return answer["return"]

    def human(self, line):
        """The output of a command of the human monitor."""
        return self.execute("human-monitor-command", command_line=line)

    def status(self):
        """The run state: "running", "paused", "inmigrate", "postmigrate" ..."""
        return self.execute("query-status")["status"]

    def wait_event(self, name, timeout=None):
        """Waits for an event of that name, also one that came earlier, and takes it out."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            message = self._read(deadline)
            if "event" in message:
                self.events.append(message)

    def wait_status(self, *wanted, timeout=None):
        """Waits until the run state is one of `wanted` and returns it."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while (status := self.status()) not in wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.path}: still {status}, wanted {wanted}")
            time.sleep(0.01)
        return status
