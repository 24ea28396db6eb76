# SPDX-License-Identifier: LGPL-2.1-or-later
"""Agents that serve other hosts over mutual TLS: who is let in, what a peer may have, and what is left of the agent
after ten thousand connections."""

import contextlib
import ctypes
import json
import os
import pathlib
import resource
import signal
import socket
import ssl
import time

import pytest
import rig
from rig import faults, paths, pki

PORT = 16518
LOAD = rig.Load(mem="24M", dirty="3M/s", content="text", fill="16M")
CONFIG = """\
[listen]
addresses={address}
certificates={certificates}

[peers]
names={names}

[disks]
directories={at}

[sockets]
directories={at}

[files]
directories={files}

[qemu]
users=root

[limits]
connections=24
connections-per-address=8
handshake-seconds=3
{more}
"""


class Peers:
    """An agent on b that serves peers, and certificates for both hosts. `allowed` is below which directory a VM may
    have its paths there."""

    def __init__(self, net, tmp_path, names="a.test;good.test", allowed=None, more=""):
        self.net, self.tmp_path = net, tmp_path
        self.authority = pki.Authority(tmp_path / "authority")
        self.there = self.authority.host(tmp_path / "pki-b", "b.test", net.b.address, client=False)
        self.here = self.authority.host(tmp_path / "pki-a", "a.test", server=False)
        self.config = tmp_path / "godwitd.conf"
        self.configure(names, allowed, more)
        self.agent = rig.Agent(net.b, tmp_path / "agent", ["--config", self.config])
        self.destination = f"godwit://{net.b.address}"

    def configure(self, names, allowed=None, more="", address=None):
        """Writes the agent's file."""
        self.config.write_text(CONFIG.format(address=address or self.net.b.address, certificates=self.there, names=names,
                                             at=allowed or self.tmp_path, more=more,
                                             files="/usr/share;/usr/lib;" + str(paths.CACHE.resolve())))

    def read_again(self, words):
        """Has the agent read it, and waits for what it says to that."""
        said = self.agent.log.stat().st_size
        os.kill(self.agent.pid, signal.SIGHUP)
        faults.wait_until(lambda: words in self.agent.log.read_bytes()[said:].decode(), 10, f"'{words}' in the agent's log")

    def env(self, certificates=None):
        return {"GODWIT_CERTIFICATES": str(certificates or self.here)}

    def check(self, vm, certificates=None, dest=None):
        """`godwit check` of a VM by a peer that has these certificates."""
        return rig.godwit(self.net.a, "check", f"qmp:{vm.qmp_path}", dest or self.destination, "--json",
                          "--no-rehearse", "--map", f"{vm.directory}={self.tmp_path}/b", env=self.env(certificates))

    def wait_log(self, words):
        faults.wait_until(lambda: words in self.agent.log_tail(20000), 10, f"'{words}' in the agent's log")


class Client:
    """A peer that speaks by itself."""

    def __init__(self, peers, certificates=None, says_hello=True):
        at = certificates or peers.here
        context = ssl.create_default_context(cafile=at / "ca-cert.pem")
        context.load_cert_chain(at / "client-cert.pem", at / "client-key.pem")
        self._call = 0
        with _inside(peers.net.a):
            raw = socket.create_connection((peers.net.b.address, PORT), 10)
        self.socket = context.wrap_socket(raw, server_hostname=peers.net.b.address)
        self.file = self.socket.makefile("rw")
        if says_hello:
            self.call("hello", protocol=1, program="test", version="0", host="a", pid=1)

    def call(self, method, **params):
        """The answer's result, or its error."""
        self._call += 1
        self.file.write(json.dumps({"jsonrpc": "2.0", "id": self._call, "method": method, "params": params}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if answer.get("id") == self._call:
                return answer.get("result", answer.get("error"))

    def close(self):
        self.file.close()
        self.socket.close()


@contextlib.contextmanager
def _inside(host):
    """What this thread opens inside is of the host's network."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as ours, open(rig.hosts.RUN_DIR / host.netns, "rb") as theirs:
        assert libc.setns(theirs.fileno(), 0) == 0, ctypes.get_errno()
        try:
            yield
        finally:
            assert libc.setns(ours.fileno(), 0) == 0, ctypes.get_errno()


def test_moves_over_tls(net, tmp_path):
    vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem="131064K", disk="8M")
    vm.start()
    peers = Peers(net, tmp_path)
    vm.wait_boot()
    twin = vm.twin(net.b, tmp_path / "b")
    done = rig.migrate(vm, twin, peers.destination, "--overwrite-images", env=peers.env())
    assert done.exit == 0, done
    vm.ticks.wait_side("b", 100)
    move = vm.ticks.move("a", "b")
    assert (move.overlap_ms, move.lost, move.repeated) == (0, 0, 0), move
    vm.report.check()
    peers.wait_log(f"peer 'a.test' at {net.a.address} is served")
    peers.wait_log(f"peer 'a.test' at {net.a.address} has ended")


def idle_vm(net, tmp_path):
    """A QEMU that nobody waits for."""
    (tmp_path / "b").mkdir()
    vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem="128M")
    vm.start()
    with vm.monitor():
        return vm


def test_refuses_whoever_cannot_prove_a_name(net, tmp_path):
    """Each is refused by the right side, which says why; the agent's log has it, and a good peer is served after."""
    peers, vm = Peers(net, tmp_path), idle_vm(net, tmp_path)
    authority, stranger = peers.authority, pki.Authority(tmp_path / "stranger")
    mallory = stranger.host(tmp_path / "pki-m", "a.test", server=False)
    taken_back = authority.host(tmp_path / "pki-r", "good.test", server=False)
    (mallory / "ca-cert.pem").write_bytes((peers.here / "ca-cert.pem").read_bytes())
    for certificates, words in (
            (authority.host(tmp_path / "pki-e", "good.test", expired=True, server=False), "expired"),
            (authority.host(tmp_path / "pki-o", "other.test", server=False), "'other.test' is not among the peers"),
            (authority.host(tmp_path / "pki-u", "good.test", server=False, usage="serverAuth"), "purpose"),
            (mallory, "issuer is unknown"), (taken_back, None), (taken_back, "revoked")):
        done = peers.check(vm, certificates)
        if words is None:
            assert done.exit != 8, done
            authority.revoke(taken_back, "client", [peers.there])
            continue
        cause = done.report["cause"]
        assert (done.exit, cause["code"], cause["side"]) == (8, "peer-refused", "destination"), done
        assert words in json.dumps(cause["evidence"]), done
        peers.wait_log(words)
    for source, words in ((peers.here, "No such file"), (taken_back, "match")):
        broken = tmp_path / f"broken-{source.name}"
        broken.mkdir()
        for name in ("ca-cert.pem", "client-cert.pem"):
            (broken / name).write_bytes((peers.here / name).read_bytes())
        if words != "No such file":
            (broken / "client-key.pem").write_bytes((source / "client-key.pem").read_bytes())
        done = peers.check(vm, broken)
        cause = done.report["cause"]
        assert (done.exit, cause["code"], cause["side"]) == (8, "own-certificate", "source"), done
        assert words in json.dumps(cause["evidence"]), done
    assert peers.check(vm).exit != 8, "a good peer is served after all that"


def test_refuses_a_peer_without_a_certificate(net, tmp_path):
    """It is told why, whatever it asks for, and gets no answer to that."""
    peers = Peers(net, tmp_path)
    context = ssl.create_default_context(cafile=peers.here / "ca-cert.pem")
    with _inside(net.a):
        raw = socket.create_connection((net.b.address, PORT), 10)
    with context.wrap_socket(raw, server_hostname=net.b.address) as bare:
        bare.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {
            "protocol": 1, "program": "test", "version": "0", "host": "a", "pid": 1}}).encode() + b"\n")
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while data := bare.recv(4096):
                said += data
    assert b"it has sent no certificate" in said and b"peer-refused" in said and b'"result"' not in said, said
    peers.wait_log("it has sent no certificate")
    good = Client(peers)
    assert "now_us" in good.call("ping")
    good.close()


@pytest.mark.parametrize("spoil, words", [
    (lambda p: p.authority.host(p.there, "c.test", client=False), "is for 'c.test', not for"),
    (lambda p: p.authority.host(p.there, p.net.b.address, expired=True, client=False), "expired"),
    (lambda p: p.authority.host(p.there, p.net.b.address, usage="clientAuth", client=False), "purpose"),
], ids=["another-host", "expired", "a-client's"])
def test_client_refuses_the_wrong_server(net, tmp_path, spoil, words):
    peers, vm = Peers(net, tmp_path), idle_vm(net, tmp_path)
    spoil(peers)
    done = peers.check(vm)
    cause = done.report["cause"]
    assert (done.exit, cause["code"], cause["side"]) == (8, "peer-untrusted", "destination"), done
    assert words in json.dumps(cause["evidence"]), done


def test_a_peer_has_only_what_is_allowed(net, tmp_path):
    """A VM whose paths are not below the allowed directories is refused before anything is touched, also when they
    lead there by a link; so is a peer that asks the agent by itself for more than a destination is asked."""
    allowed = tmp_path / "allowed"
    (allowed / "vm").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (allowed / "link").symlink_to(tmp_path / "elsewhere")
    peers, vm = Peers(net, tmp_path, allowed=allowed), idle_vm(net, tmp_path)
    for directory, is_allowed in ((tmp_path / "elsewhere", False), (allowed / "link", False), (allowed / "vm", True)):
        done = rig.godwit(net.a, "check", f"qmp:{vm.qmp_path}", peers.destination, "--json", "--no-rehearse",
                          "--map", f"{vm.directory}={directory}", env=peers.env())
        verdict = next(c["verdict"] for c in done.report["checks"] if c["check"] == "allowed")
        assert (verdict == "refused") != is_allowed, done
        if not is_allowed:
            assert (done.exit, done.cause, done.report["cause"]["side"]) == (2, "not-allowed", "destination"), done
    job = {"job": "gw-peer", "side": "destination", "vm": "x", "uuid": "u-1", "epoch": 1}
    client = Client(peers)
    for method, params, words in (
            ("vm.adopt", {"vm": f"qmp:{vm.qmp_path}"}, "not for peers"),
            ("job.run", {"plan": {}}, "not for peers"),
            ("report.list", {}, "not for peers"),
            ("job.open", {**job, "side": "source"}, "destination only"),
            ("job.open", job, None),
            ("qemu.launch", {"qemu": "sh", "argv": ["-c", "id"]}, "not the name of a QEMU program"),
            ("qemu.launch", {"qemu": "qemu-img", "argv": ["info", "/etc/shadow"]}, "not the name of a QEMU program"),
            ("qemu.launch", {"qemu": "../../bin/sh", "argv": []}, "not the name of a QEMU program"),
            ("qemu.launch", launch("-drive", "file=/etc/shadow,if=none,format=raw"), "'/etc/shadow' is not below"),
            ("qemu.launch", launch("-drive", f"file={allowed}/link/x,if=none"), f"'{tmp_path}/elsewhere/x'"),
            ("qemu.launch", launch("-pidfile", "/etc/cron.d/x"), "not below [sockets]"),
            ("qemu.launch", launch("-incoming", "exec:id"), "may not give this option"),
            ("rehearse.launch", launch("-plugin", "/tmp/x.so"), "not known what the option may do"),
            ("qemu.launch", {**launch(), "creates": ["/etc/passwd"]}, "not below [sockets]"),
            ("qemu.launch", {**launch(), "user": "nobody"}, "lets no QEMU run as 'nobody'"),
            ("disk.images", images(tmp_path / "elsewhere/d.img"), "not below [disks]"),
            ("disk.images", images(allowed / "link/d.img"), "not below [disks]"),
            ("disk.images", images(allowed / "d.qcow2", format="qcow2", options="data_file=/etc/x"), "no option"),
            ("disk.images", images(allowed / "d.qcow2", format="qcow2", backing="/etc/shadow"), "'/etc/shadow'"),
            ("ping", {}, None)):
        answer = client.call(method, **params)
        assert ("message" in answer) == (words is not None), (method, params, answer)
        if words is not None:
            assert words in answer["message"], answer
            peers.wait_log(f"peer 'a.test' at {net.a.address}: '{method}' is refused")
    other = Client(peers, peers.authority.host(tmp_path / "pki-g", "good.test", server=False))
    for method, params in (("record.get", {"refuse": True}), ("job.evidence", {"side": "destination"}),
                           ("job.reconcile", {"side": "destination", "act": "refuse"}),
                           ("job.resume", {"side": "destination", "token": 64 * "0"})):
        answer = other.call(method, job="gw-peer", **params)
        assert "not one of peer 'good.test'" in answer["message"], (method, answer)
    other.close()
    assert "message" not in client.call("job.evidence", job="gw-peer", side="destination")
    facts = client.call("host.facts", paths=["/etc/shadow", str(allowed)])["paths"]
    assert facts[0]["is_forbidden"] and not facts[0]["exists"] and facts[0]["bytes"] == 0, facts
    assert not facts[1]["is_forbidden"] and facts[1]["exists"], facts
    client.close()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def launch(*argv):
    return {"qemu": "qemu-system-x86_64", "argv": list(argv), "user": "root", "creates": []}


def images(path, **more):
    return {"user": "root", "disks": [{"name": "d", "action": "copy", "reason": "r", "target": str(path),
                                       "format": "raw", "bytes": 1 << 20, **more}]}


def test_the_configuration_is_read_again(net, tmp_path):
    """Who is served, and what a VM may have, changes for the next connection; a job that runs is not disturbed. A file that
    is wrong changes nothing."""
    vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem="131064K", disk="8M")
    vm.start().wait_boot()
    peers, twin = Peers(net, tmp_path), vm.twin(net.b, tmp_path / "b")
    idle = rig.Guest(net.a, tmp_path / "idle", load=LOAD, mem="128M").start(paused=True)
    good = peers.authority.host(tmp_path / "pki-g", "good.test", server=False)
    started = rig.start_migrate(vm, twin, peers.destination, "--overwrite-images", "--no-rehearse", "--max-bandwidth", "4M",
                                env=peers.env())
    faults.wait_until(lambda: 'phase="copying memory"' in started.stderr(), 60, "precopy")
    (tmp_path / "elsewhere").mkdir()
    peers.configure("good.test", allowed=tmp_path / "elsewhere", address=f"{net.b.address};127.0.0.1")
    peers.read_again("holds for new connections and jobs")
    peers.wait_log("[listen] addresses has changed, which takes effect when the agent is started again")
    done = peers.check(idle)
    assert (done.exit, done.cause) == (8, "peer-refused") and "'a.test' is not among" in done.stdout, done
    done = peers.check(idle, good)
    verdict = next(c for c in done.report["checks"] if c["check"] == "allowed")
    assert verdict["verdict"] == "refused" and f"{tmp_path}/b" in json.dumps(verdict), done
    for spoil, words in ((lambda: peers.configure("a.test", more="jobs=0"), "'0' is not a number from 1 to 1024"),
                         (lambda: peers.config.write_text("[limits]\njobs=3\n"), "no [listen] addresses any more"),
                         (peers.config.unlink, "No such file or directory")):
        spoil()
        peers.read_again(f"{words}; it stays as it was")
        assert peers.check(idle).exit == 8, "a.test is served again"
    assert started.is_running(), started.wait()
    done = started.wait()
    assert done.exit == 0, done
    vm.ticks.wait_side("b", 100)
    vm.report.check()


def test_ten_thousand_connections(net, tmp_path):
    """They take no more than their address's share, whether they say nothing, nonsense, or go at once; a peer that is
    served meanwhile, one that comes from elsewhere, and this host's own people, do not notice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10000
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, wanted + 500)), hard))
    peers, vm = Peers(net, tmp_path), idle_vm(net, tmp_path)
    for address in ("198.18.255.9", *(f"198.18.254.{number}" for number in range(4))):
        _add_address(net, address)
    good = Client(peers)
    before = _descriptors(peers.agent.pid)
    crowd, began = [], time.monotonic()
    try:
        with _inside(net.a):
            for number in range(4 * 8):  # all that there is room for, and more: they have not said who they are
                crowd.append(_dial(peers, f"198.18.254.{number % 4}"))
            for number in range(wanted):
                crowd.append(_dial(peers, "198.18.255.9"))
                if number % 3 == 0:
                    crowd[-1].send(b"GET / HTTP/1.0\r\n\r\n")
                if number % 1000 == 999:
                    assert "now_us" in good.call("ping")
        seconds = time.monotonic() - began
        assert _descriptors(peers.agent.pid) < before + 100
        assert "now_us" in good.call("ping")
        assert peers.check(vm).exit != 8, "a good peer from another address"
        assert rig.godwit(net.b, "list", "--json", "--agent", peers.agent.destination).exit == 0
    finally:
        for member in crowd:
            member.close()
    peers.wait_log("no room")
    assert len(peers.agent.log.read_text().splitlines()) < 400, "the log is flooded"
    assert peers.agent.process.poll() is None
    print(f"{wanted} connections in {seconds:.1f} s")
    good.close()


def _add_address(net, address):
    net.a.run(["ip", "addr", "add", f"{address}/32", "dev", net.devices[0]])
    net.b.run(["ip", "route", "add", f"{address}/32", "dev", net.devices[0]])


def _dial(peers, source):
    made = socket.socket()
    made.bind((source, 0))
    made.settimeout(10)
    made.connect((peers.net.b.address, PORT))
    return made


def _descriptors(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def test_silent_peers_are_not_kept(net, tmp_path):
    """One that does not shake hands, and one that shakes them and says nothing, go after the time limit."""
    peers = Peers(net, tmp_path)
    with _inside(net.a):
        silent = socket.create_connection((peers.net.b.address, PORT), 10)
    while silent.recv(100):
        pass  # an alert, perhaps
    peers.wait_log("is refused")
    silent.close()
    mute = Client(peers, says_hello=False)
    assert mute.file.readline() == ""
    mute.close()
    peers.wait_log("has ended")
