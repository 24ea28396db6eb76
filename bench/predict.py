#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What godwit predicts, beside what then happened: ten moves that differ in guest, load and link.

For each, `godwit check` and then `godwit migrate` of the same guest. A prediction is good when the total
time is within a factor of 1.5 and the downtime within a factor of 2 of what the move took.

Usage: bench/predict.py [--only N,N]   Prints a table in markdown; exit status 1 when fewer than 8 of 10
of the predictions of `migrate` are good.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

import rig  # noqa: E402  (the path comes first)


@dataclasses.dataclass
class Case:
    what: str
    link: str = "300mbit"
    load: rig.Load = dataclasses.field(default_factory=lambda: rig.Load(mem="0"))
    mem: str = "524280K"
    machine: str = "q35"
    smp: int = 1
    options: tuple = ()
    disk_mib: int = 0  # half of it holds something


def load(mem="32M", dirty="0", content="random", fill="64M", order="random"):
    return rig.Load(mem=mem, dirty=dirty, content=content, fill=fill, fill_content="random", order=order)


CASES = [
    Case("idle, 512 MiB, mostly empty", load=load(fill="0")),
    Case("idle, 512 MiB, filled with 300 MiB", load=load(fill="300M"), link="1gbit"),
    Case("idle, 128 MiB", mem="131064K", load=load(fill="16M"), link="100mbit", machine="pc"),
    Case("writes 2 MiB/s to 64 MiB, and a disk of 200 MiB, half full, is copied", disk_mib=200, load=load("64M", "2M/s")),
    Case("writes 15 MiB/s to 32 MiB", load=load("32M", "15M/s")),
    Case("writes 30 MiB/s to 100 MiB", load=load("100M", "30M/s"), link="1gbit", smp=2),
    Case("writes 20 MiB/s to 4 MiB, the same all the time", load=load("4M", "20M/s", fill="128M")),
    Case("writes 40 MiB/s in order", load=load("64M", "40M/s", order="sequential"), link="1gbit",
         machine="pc", options=("--max-downtime", "1000")),
    Case("writes 60 MiB/s to 64 MiB: more than the link carries", load=load("64M", "60M/s")),
    Case("the same, postcopy forbidden", load=load("64M", "60M/s"),
         options=("--postcopy", "never", "--on-timeout", "stop", "--timeout", "20")),
]


def make_disk(case, path):
    """None when the guest has none."""
    if not case.disk_mib:
        return None
    path.parent.mkdir()
    with open(path, "wb") as file:
        file.write(os.urandom(case.disk_mib << 19))
        file.truncate(case.disk_mib << 20)
    return path


def run(case, directory):
    """The reports of `check` and of `migrate`."""
    os.environ["GODWIT_STATE"] = str(directory / "state")
    with rig.Net(case.link) as net:
        vm = rig.Guest(net.a, directory / "a", load=case.load, mem=case.mem, machine=case.machine,
                       smp=case.smp, disk=make_disk(case, directory / "a/disk.img")).start().wait_boot(120)
        vm.ticks.wait_side("a", 3000)
        twin, agent = vm.twin(net.b, directory / "b"), rig.Agent(net.b, directory / "agent")
        where = ("--map", f"{vm.directory}={twin.directory}", "--json", "--progress", "none")
        (directory / "b").mkdir(exist_ok=True)
        checked = rig.godwit(net.a, "check", f"qmp:{vm.qmp_path}", agent.destination, *where, *case.options)
        done = rig.migrate(vm, twin, agent, "--progress", "none", *case.options, timeout=300)
        if checked.exit != 0 or done.exit not in (0, 4):
            print(done.report["timeline"] if done.report else done, file=sys.stderr); raise SystemExit(f"{case.what}: {checked.exit} {done.exit}")
        vm.ticks.wait_side("b", 300)
    return checked.report, done.report


def factor(predicted, happened):
    low, high = sorted((max(predicted, 1), max(happened, 1)))
    return high / low


def is_good(prediction, report):
    return (factor(prediction["total_ms"], report["total_ms"]) <= 1.5 and
            factor(prediction["downtime_ms"], report["downtime_ms"]) <= 2)


def tell(prediction):
    return (f"{prediction['total_ms'] / 1000:.1f} ({prediction['total_low_ms'] / 1000:.1f} to "
            f"{prediction['total_high_ms'] / 1000:.1f}) | {prediction['downtime_ms']} "
            f"({prediction['downtime_low_ms']} to {prediction['downtime_high_ms']})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="numbers of rows, from 1")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    wanted = [int(n) - 1 for n in options.only.split(",")] if options.only else range(len(CASES))
    n_good = {"check": 0, "migrate": 0}
    print("| guest | link | predicted by | s | downtime, ms | was: s | ms | how | good |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for index in wanted:
        case = CASES[index]
        with tempfile.TemporaryDirectory() as name:
            checked, moved = run(case, pathlib.Path(name))
        for who, prediction in (("check", checked["prediction"]), ("migrate", moved["prediction"])):
            good = is_good(prediction, moved)
            n_good[who] += good
            print(f"| {case.what} | {case.link} | {who} | {tell(prediction)} | {moved['total_ms'] / 1000:.1f} "
                  f"| {moved['downtime_ms']} | {prediction['mode']}, {moved['mode']} | "
                  f"{'yes' if good else 'no'} |", flush=True)
            if options.verbose:
                print({key: value for key, value in prediction.items() if key != "text"}, moved["setup_ms"],
                      moved["rounds"], moved["guest_bytes"], moved["rehearsal"]["load_us"], moved["rehearsal"]["pages"],
                      [(e["at_ms"], e["event"], e["detail"]) for e in moved["timeline"]
                       if e["event"] in ("stopping", "pass", "stop", "running", "resume", "handed-over", "loaded", "started", "migration", "step")])
    print(f"\ngood: {n_good['migrate']} of {len(wanted)} of `migrate`, {n_good['check']} of `check`")
    sys.exit(n_good["migrate"] * 10 < 8 * len(wanted))


if __name__ == "__main__":
    main()
