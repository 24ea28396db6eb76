# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever fails: the right exit status, a cause that names the side and carries QEMU's own words, the
guest on the source wherever it still exists, and nothing left behind."""

import json
import signal
import time

import pytest
import rig
from rig import faults, leftovers

LOAD = rig.Load(mem="32M", dirty="5M/s", content="text", fill="32M")
MEM = "196600K"
# What stays on purpose: ownership records and reports; the rig's own connections.
KEPT = ["/records", "/reports", "/qemu/", "/state", "monitor.sock", "agent.sock", "agent.log"]


class Scene:
    """A booted guest on a, an agent on b, and a picture of both before the migration."""

    def __init__(self, net, tmp_path, prepare=None, **more):
        self.net, self.tmp_path = net, tmp_path
        if prepare:
            for name in ("a", "b"):
                (tmp_path / name).mkdir()
                prepare(tmp_path / name)
        self.vm = rig.Guest(net.a, tmp_path / "a", load=LOAD, mem=MEM, **more)
        self.vm.start().wait_boot()
        self.twin = self.vm.twin(net.b, tmp_path / "b")
        self.agent = rig.Agent(net.b, tmp_path / "agent")
        self.before = leftovers.snapshot(net, [tmp_path])

    def start(self, *options, phase="copying memory"):
        """A slow migration that has reached the phase."""
        started = rig.start_migrate(self.vm, self.twin, self.agent, "--max-bandwidth", "4M", *options)
        faults.wait_until(lambda: f'phase="{phase}"' in started.stderr() or not started.is_running(),
                          30, phase)
        return started

    def qemu_there(self):
        """The pid of the destination's QEMU."""
        done = rig.godwit(self.net.b, "list", "--json", "--agent", self.agent.destination)
        (entry,) = done.report["vms"]
        return entry["pid"]

    def courier(self, host):
        """The pid of the courier on a host."""
        (pid,) = [pid for pid in host.pids() if b"godwit-courier" in open(f"/proc/{pid}/cmdline", "rb").read()]
        return pid

    def expect(self, done, exit, cause, side, words="", runs_on="source"):
        """How it must have ended; the guest goes on, and nothing is left."""
        assert done.report is not None, done
        told = done.report["cause"]
        assert (done.exit, told["code"], told["side"]) == (exit, cause, side), done
        assert words in json.dumps(told["evidence"]), done
        assert told["remedy"] and told["title"]
        assert (done.report["result"], done.report["runs_on"]) == ("stayed", runs_on)
        assert done.report["exit"] == exit
        if runs_on == "source":
            self.expect_running()
        self.expect_clean(gone=() if runs_on == "source" else (str(self.vm.directory), str(self.vm.pid)))

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

    def expect_next_works(self):
        done = rig.migrate(self.vm, self.twin, self.agent)
        assert done.exit == 0, f"the next migration must work: {done}"
        self.vm.ticks.wait_side("b", 100)
        self.vm.report.check()


def test_destination_lacks_a_file(net, tmp_path):
    def prepare(directory):
        if directory.name == "a":
            (directory / "blob").write_text("x")
    scene = Scene(net, tmp_path, prepare, args=["-fw_cfg", f"name=opt/godwit,file={tmp_path}/a/blob"])
    done = rig.migrate(scene.vm, scene.twin, scene.agent)
    scene.expect(done, 2, "rehearsal-launch-failed", "destination", f"{tmp_path}/b/blob")
    done = rig.migrate(scene.vm, scene.twin, scene.agent, "--no-rehearse")
    scene.expect(done, 3, "destination-launch-failed", "destination", f"{tmp_path}/b/blob")
    (tmp_path / "b" / "blob").write_text("x")
    scene.expect_next_works()


def test_destination_qemu_is_killed_in_precopy(net, tmp_path):
    scene = Scene(net, tmp_path)
    started = scene.start()
    faults.kill(scene.qemu_there())
    scene.expect(started.wait(), 3, "qemu-died", "destination", "killed by signal 9")
    scene.expect_next_works()


def test_destination_rejects_a_device(net, tmp_path):
    def prepare(directory):
        device = '[device "extra"]\n  driver = "virtio-rng-pci"\n  addr = "0x10"\n'
        (directory / "devices.cfg").write_text(device if directory.name == "a" else "")
    scene = Scene(net, tmp_path, prepare, args=["-readconfig", f"{tmp_path}/a/devices.cfg"])
    done = rig.migrate(scene.vm, scene.twin, scene.agent)
    scene.expect(done, 3, "state-rejected", "destination", "virtio-rng")


def test_destination_rejects_a_memory_block(net, tmp_path):
    def prepare(directory):
        (directory / "rom").write_bytes(b"\x55\xaa" + bytes((1 << 16 if directory.name == "a" else 1 << 17) - 2))
    scene = Scene(net, tmp_path, prepare, args=["-device", f"e1000,romfile={tmp_path}/a/rom"])
    done = rig.migrate(scene.vm, scene.twin, scene.agent)
    scene.expect(done, 2, "rehearsal-rejected", "destination", "ize mismatch")
    done = rig.migrate(scene.vm, scene.twin, scene.agent, "--no-rehearse")
    scene.expect(done, 3, "state-rejected", "destination", "ize mismatch")


def test_agent_is_absent(net, tmp_path):
    scene = Scene(net, tmp_path)
    done = rig.migrate(scene.vm, scene.twin, f"unix:{tmp_path}/nobody.sock")
    scene.expect(done, 8, "destination-unreachable", "destination", "nobody.sock")


def test_ssh_is_refused(net, tmp_path):
    scene = Scene(net, tmp_path)
    done = rig.migrate(scene.vm, scene.twin, f"ssh://{net.b.address}:9")
    scene.expect(done, 8, "ssh-failed", "destination", "refused")


def test_source_qemu_is_killed(net, tmp_path):
    scene = Scene(net, tmp_path)
    started = scene.start()
    faults.kill(scene.vm.pid)
    scene.expect(started.wait(), 3, "source-lost", "source", runs_on="nowhere")


def test_guest_powers_off(net, tmp_path):
    scene = Scene(net, tmp_path)
    started = scene.start()
    scene.vm.report.command("poweroff")
    scene.expect(started.wait(), 3, "guest-powered-off", "source", "guest-shutdown", runs_on="nowhere")


def test_guest_reboots_and_arrives(net, tmp_path):
    scene = Scene(net, tmp_path)
    started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--max-bandwidth", "20M")
    faults.wait_until(lambda: 'phase="copying memory"' in started.stderr(), 30, "precopy")
    boots = len(scene.vm.report.boots)
    scene.vm.report.command("reboot")
    done = started.wait()
    assert done.exit == 0, done
    faults.wait_until(lambda: len(scene.vm.report.boots) > boots, 60, "reboot")
    scene.vm.ticks.wait_side("b", 200, timeout=60)
    scene.vm.report.check()


@pytest.mark.parametrize("args, words", [
    (["-object", "memory-backend-ram,id=shm,size=1M,share=on",
      "-device", "ivshmem-plain,memdev=shm,master=off"], "ivshmem"),
    (["-drive", "if=none,id=none,file=null-co://,format=raw", "-device", "nvme,drive=none,serial=1"], "nvme"),
], ids=["blocked-reason", "unmigratable-device"])
def test_migration_is_blocked(net, tmp_path, args, words):
    scene = Scene(net, tmp_path, args=args)
    done = rig.migrate(scene.vm, scene.twin, scene.agent)
    scene.expect(done, 2, "migration-blocked", "source", words)


@pytest.mark.parametrize("side", ["a", "b"])
def test_courier_is_killed(net, tmp_path, side):
    scene = Scene(net, tmp_path)
    started = scene.start()
    faults.kill(scene.courier(getattr(net, side)))
    scene.expect(started.wait(), 3, "courier-died", "source" if side == "a" else "destination",
                 "killed by signal 9")
    scene.expect_next_works()


def test_destination_agent_is_killed(net, tmp_path):
    """Its QEMU and courier are orphans then; the courier ends with its agent, and QEMU with the link."""
    scene = Scene(net, tmp_path)
    started = scene.start()
    qemu = scene.qemu_there()
    scene.agent.kill()
    done = started.wait()
    assert (done.exit, done.cause) == (3, "agent-lost"), done
    scene.expect_running()
    faults.wait_gone(qemu, 20)


def test_command_is_killed(net, tmp_path):
    """The destination's agent notices and cleans up; the source's courier ends with its command."""
    scene = Scene(net, tmp_path)
    started = scene.start()
    started.signal(signal.SIGKILL)
    faults.wait_until(lambda: not list(scene.agent.state.glob("jobs/*")) and
                      not list(scene.agent.state.glob("vms/*")), 20, "clean-up of the destination")
    mark = scene.vm.ticks.mark()
    scene.vm.ticks.wait_side("a", 100, since=mark)
    with scene.vm.monitor() as monitor:
        # no status: the command died between its last word and the order to migrate
        faults.wait_until(lambda: monitor.execute("query-migrate").get("status") in (None, "failed"), 20,
                          "the end of QEMU's migration")
    scene.vm.report.check()
    scene.expect_next_works()


def test_paths_that_are_in_use_are_refused(net, tmp_path):
    """Both hosts see one file system here; without --map the VM would take its own socket."""
    scene = Scene(net, tmp_path)
    done = rig.godwit(net.a, "migrate", f"qmp:{scene.vm.qmp_path}", scene.agent.destination, "--json")
    scene.expect(done, 2, "path-in-use", "destination", "sock")


def test_a_disk_that_is_not_shared_is_refused(net, tmp_path):
    scene = Scene(net, tmp_path, disk="8M")
    done = rig.migrate(scene.vm, scene.twin, scene.agent)
    scene.expect(done, 2, "disk-not-shared", "destination", "disk.img")


# --- with the guest stopped: in the switchover, and after the destination got the right to start ---

def switching_over(net, tmp_path, at="device state"):
    """A migration that is held, with the guest stopped, by a link that has become very slow: while the
    last RAM is sent, or while the device state is."""
    scene = Scene(net, tmp_path)
    net.set_rate("500mbit")
    with scene.vm.monitor() as monitor:
        started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--max-downtime", "60000",
                                    "--no-rehearse")  # or its stop is taken for that of the switchover
        monitor.wait_event("STOP", 60)
    net.set_rate("20mbit")
    if at == "device state":
        faults.wait_until(lambda: 'phase="switching over"' in started.stderr() or not started.is_running(),
                          60, "switchover", interval=0.002)
    net.set_rate("100kbit")
    time.sleep(1)
    assert started.is_running()
    assert ('phase="switching over"' in started.stderr()) == (at == "device state")
    return scene, started


@pytest.mark.parametrize("at", ["last ram", "device state"])
@pytest.mark.parametrize("what", ["source courier", "destination courier", "destination qemu",
                                  "ctrl-c"])
def test_switchover_is_broken(net, tmp_path, what, at):
    """The source's guest runs again, and the destination must have no right yet."""
    scene, started = switching_over(net, tmp_path, at)
    if what == "ctrl-c":
        started.signal()
    elif what == "destination qemu":
        faults.kill(scene.qemu_there())
    else:
        faults.kill(scene.courier(net.a if what == "source courier" else net.b))
    done = started.wait(20)  # though a stop of a minute is allowed
    exit, cause, side = {"source courier": (3, "courier-died", "source"),
                         "destination courier": (3, "courier-died", "destination"),
                         "destination qemu": (3, "qemu-died", "destination"),
                         "ctrl-c": (5, "aborted", "none")}[what]
    assert "released" not in [event["event"] for event in done.report["timeline"]]
    net.set_rate(None)  # or what the kernel still has to send is found
    scene.expect(done, exit, cause, side)
    scene.expect_next_works()


@pytest.mark.parametrize("at", ["last ram", "device state"])
def test_connections_are_reset_in_the_switchover(net, tmp_path, at):
    """New ones take their place, with the guest stopped too."""
    scene, started = switching_over(net, tmp_path, at)
    assert net.reset() == 1
    net.set_rate(None)
    done = started.wait()
    assert done.exit == 0, done
    scene.vm.ticks.wait_side("b", 100)
    scene.vm.report.check()


def test_link_is_down_while_the_guest_stands_still(net, tmp_path):
    """Nobody waits for a link with the guest stopped: it runs on, and moves later."""
    scene = Scene(net, tmp_path)
    net.set_rate("100mbit")
    with scene.vm.monitor() as monitor:
        started = rig.start_migrate(scene.vm, scene.twin, scene.agent, "--no-rehearse")
        monitor.wait_event("STOP", 60)
        with net.outage():
            mark = scene.vm.ticks.mark()
            monitor.wait_event("RESUME", 5)
            scene.vm.ticks.wait_side("a", 100, since=mark)
    done = started.wait()
    assert done.exit == 0, done
    assert "runs-on" in [event["event"] for event in done.report["timeline"]]
    # the first, vain stop is not a part of the downtime
    assert done.report["downtime_ms"] < 600


def test_agent_is_lost_after_the_release_and_nothing_runs_twice(net, tmp_path):
    """Nobody can tell whether the destination started it: the source's guest stays stopped."""
    scene, started = switching_over(net, tmp_path)
    qemu = scene.qemu_there()
    faults.stop(scene.agent.pid)
    net.set_rate(None)
    faults.wait_until(lambda: 'phase="handing over"' in started.stderr(), 60, "handover")
    scene.agent.kill()
    done = started.wait()
    assert (done.exit, done.report["result"], done.report["runs_on"]) == (6, "undecided", "unknown"), done
    assert "reconcile" in done.report["cause"]["remedy"] or done.report["warnings"]
    assert scene.vm.ticks.is_silent("a", 2) and scene.vm.ticks.is_silent("b", 0.1)
    with scene.vm.monitor() as monitor:
        assert monitor.execute("query-status")["status"] == "postmigrate"
    faults.kill(qemu)
    assert scene.vm.ticks.is_silent("a", 2), "the source's guest runs without anybody's decision"
    # the agent comes back: its record was never STARTED
    scene.agent.start()
    records = list(scene.agent.state.glob("records/*"))
    assert all("started" not in path.read_text() for path in records)
