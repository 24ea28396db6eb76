# SPDX-License-Identifier: LGPL-2.1-or-later
"""godwitd as a service: what it tells the service manager, what a bad configuration ends in, and how it does as a user
who is not root."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest
import rig
from rig import faults, paths

LOAD = rig.Load(mem="16M", dirty="2M/s", content="text", fill="8M")
USER = "nobody"


def test_tells_the_service_manager(net, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        config = tmp_path / "godwitd.conf"
        config.write_text("[limits]\njobs=3\n")
        agent = rig.Agent(net.b, tmp_path / "agent", ["--config", config], env={"NOTIFY_SOCKET": str(tmp_path / "notify"),
                                                          "WATCHDOG_USEC": "400000"})
        assert b"READY=1" in manager.recv(1000).splitlines()
        assert manager.recv(1000) == b"WATCHDOG=1"
        faults.stop(agent.pid)
        manager.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(5):
                manager.recv(1000)
        os.kill(agent.pid, signal.SIGCONT)
        manager.settimeout(10)
        assert manager.recv(1000) == b"WATCHDOG=1"
        os.kill(agent.pid, signal.SIGHUP)
        told = [manager.recv(1000) for _ in range(3)]
        told = [words for words in told if words != b"WATCHDOG=1"]
        assert told[0].startswith(b"RELOADING=1\nMONOTONIC_USEC=") and told[1].startswith(b"READY=1"), told
        assert agent.stop() == 0
        told = b""
        while b"STOPPING=1" not in told.splitlines():
            told = manager.recv(1000)
    assert not agent.socket.exists()


def test_bad_configuration_is_refused(net, tmp_path):
    config = tmp_path / "godwitd.conf"
    config.write_text("[limits]\njobs=3\nconections=5\n")
    done = net.b.run([paths.program("godwitd"), "--config", config, "--state", tmp_path / "state"], check=False)
    assert done.returncode == 1
    assert f"'{config}', line 3: unknown key 'conections' in group [limits]" in done.stderr, done.stderr
    assert not (tmp_path / "state").exists()


def test_unit_is_good(tmp_path):
    """What systemd itself finds in the unit."""
    if shutil.which("systemd-analyze") is None:
        raise rig.Missing("systemd-analyze is not installed")
    text = (paths.BUILD / "packaging/godwitd.service").read_text()
    lines = [f"ExecStart={paths.program('godwitd')}" if line.startswith("ExecStart=") else line
             for line in text.splitlines() if not line.startswith("Documentation=")]
    unit = tmp_path / "godwitd.service"
    unit.write_text("\n".join(lines))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], text=True, capture_output=True,
                          timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.fixture
def open_path():
    """A directory of the user's that he can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="godwit-user-") as directory:
        entry = pwd.getpwnam(USER)
        os.chmod(directory, 0o755)
        for name in ("", "a", "b", "agent", "state"):
            (pathlib.Path(directory) / name).mkdir(exist_ok=True)
            os.chown(pathlib.Path(directory) / name, entry.pw_uid, entry.pw_gid)
        yield pathlib.Path(directory)


AS_USER = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", "--"]


class UsersAgent(rig.Agent):
    """One that runs as the user."""

    def start(self, timeout=20):
        self.argv = [*AS_USER, *self.argv]
        super().start(timeout)


def test_moves_between_users(net, open_path):
    """QEMUs, agent and command are all of a user who is nobody."""
    can = subprocess.run([*AS_USER, paths.program("godwit"), "--version"], capture_output=True, check=False)
    if can.returncode != 0 or shutil.which("setpriv") is None:
        raise rig.Missing(f"'{USER}' cannot run the programs of this build")
    qemu = open_path / "qemu-system-x86_64"
    qemu.write_text(f"#!/bin/sh\nexec {' '.join(AS_USER)} /usr/bin/qemu-system-x86_64 \"$@\"\n")
    qemu.chmod(0o755)
    vm = rig.Guest(net.a, open_path / "a", load=LOAD, mem="98040K", qemu=str(qemu), channels="listen")
    vm.start()
    vm.wait_boot()
    with contextlib.suppress(FileNotFoundError):
        assert os.stat(f"/proc/{vm.pid}").st_uid == pwd.getpwnam(USER).pw_uid
    twin = vm.twin(net.b, open_path / "b")
    agent = UsersAgent(net.b, open_path / "agent")
    done = net.a.run([*AS_USER, "env", f"GODWIT_STATE={open_path}/state", paths.program("godwit"), "migrate",
                      f"qmp:{vm.qmp_path}", agent.destination, "--map", f"{vm.directory}={twin.directory}"],
                     check=False, timeout=100)
    assert done.returncode in (0, 4), done.stdout + done.stderr
    twin.find(5)
    assert os.stat(f"/proc/{twin.pid}").st_uid == pwd.getpwnam(USER).pw_uid
    vm.ticks.wait_side("b", 100)
    vm.report.check()
