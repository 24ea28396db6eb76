# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real sshd on a host, with keys and configuration of its own."""

import contextlib
import pathlib
import shutil
import subprocess

from . import faults, paths

PORT = 2222
PRIVILEGE_SEPARATION = pathlib.Path("/run/sshd")  # compiled in; sshd does not start without it

SERVER = """\
Port {port}
ListenAddress {address}
HostKey {at}/host_key
PidFile none
AuthorizedKeysFile {at}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""

CLIENT = """\
Host *
    IdentityFile {at}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {at}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""


def _make_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rig", "-f", path],
                   check=True, capture_output=True, timeout=30)


class Sshd:
    """A running sshd on a host; ends with its Net. `directory` is made and holds its files;
    `address` is the host's unless another one is given."""

    def __init__(self, host, directory, address=None, timeout=20):
        self.host = host
        self.address = address or host.address
        self.directory = pathlib.Path(directory).absolute()
        self.log = self.directory / "sshd.log"
        self.directory.mkdir(parents=True)
        self.program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if self.program is None or shutil.which("ssh") is None:
            raise paths.Missing("sshd and ssh are not installed")
        self._write_files()
        self._start(timeout)

    def _write_files(self):
        at = self.directory
        for name in ("host_key", "user_key"):
            _make_key(at / name)
        (at / "authorized_keys").write_text((at / "user_key.pub").read_text())
        (at / "sshd_config").write_text(
            SERVER.format(at=at, port=PORT, address=self.address))
        (at / "ssh_config").write_text(CLIENT.format(at=at))
        self.trust()

    def trust(self, is_trusted=True):
        """Has the client know the host's key, or not."""
        key = (self.directory / "host_key.pub").read_text() if is_trusted else ""
        (self.directory / "known_hosts").write_text(
            f"[{self.address}]:{PORT} {key}" if key else "")

    def _start(self, timeout):
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        self.process = self.host.popen(
            [self.program, "-D", "-e", "-f", self.directory / "sshd_config"], log=self.log)
        faults.wait_until(self._listens, timeout, f"sshd: {self.log}")

    def _listens(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"sshd ended with {self.process.returncode}: {self.log.read_text()}")
        return bool(self.host.run(["ss", "-Hltn", f"sport = :{PORT}"]).stdout)

    @property
    def destination(self):
        """The DEST of a command."""
        return f"ssh://root@{self.address}:{PORT}"

    def environment(self, remote_agent):
        """What a godwit command needs to come here; `remote_agent` is the command line of the
        agent, a text for the remote shell."""
        return {"GODWIT_SSH": f"ssh -F {self.directory}/ssh_config",
                "GODWIT_REMOTE_AGENT": remote_agent}

    def sessions(self):
        """The processes of sshd that serve somebody, without the one that listens."""
        found = []
        for pid in self.host.pids():
            with contextlib.suppress(OSError):
                name = pathlib.Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
                if name == "sshd" and pid != self.process.pid:
                    found.append(pid)
        return found
