# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's own migration over tcp: proof that the rig measures, and the baseline to compare with."""

import dataclasses
import itertools
import time

from .qmp import QmpError

_ports = itertools.count(4900)
ENDED = ("completed", "failed", "cancelled")


@dataclasses.dataclass
class Native:
    """How a migration went by QEMU's own account; `wall_ms` from the command to the destination
    running, `info` is the last answer of query-migrate."""
    status: str
    total_ms: int
    downtime_ms: int
    wall_ms: float
    ram: dict
    info: dict


def _set(monitor, capabilities, parameters):
    if capabilities:
        monitor.execute("migrate-set-capabilities",
                        capabilities=[{"capability": name, "state": True} for name in capabilities])
    if parameters:
        monitor.execute("migrate-set-parameters", parameters)


def native_migrate(vm, twin, capabilities=(), parameters=None, timeout=120, hold=False):
    """Migrates `vm` to its twin, whose QEMU is started here, and returns a Native.

    The bandwidth is not limited unless `parameters` (of migrate-set-parameters) say so. hold: the
    destination does not start the guest, so that ram.compare() can be used; `cont` it then.
    The source's QEMU stays, stopped.
    """
    parameters = {"max-bandwidth": 0, **(parameters or {})}
    uri = f"tcp:{twin.host.address}:{next(_ports)}"
    twin.start(incoming=True, paused=hold)
    with vm.monitor() as source, twin.monitor() as destination:
        for monitor in (source, destination):
            _set(monitor, capabilities, parameters)
        destination.execute("migrate-incoming", uri=uri)
        began = time.monotonic()
        source.execute("migrate", uri=uri)
        info = _wait_end(source, began + timeout)
        if info["status"] != "completed":
            raise QmpError("migrate", {"desc": f"{info['status']}: {info.get('error-desc')}"})
        destination.wait_status("paused" if hold else "running", timeout=10)
        wall_ms = (time.monotonic() - began) * 1000
        # QEMU says "completed" some instants before it has worked out how long it took
        info = _wait_end(source, began + timeout, is_total_known=True)
    return Native(info["status"], info["total-time"], info["downtime"], wall_ms, info["ram"], info)


def _wait_end(source, deadline, is_total_known=False):
    """The answer of query-migrate when the migration has ended."""
    while ((info := source.execute("query-migrate")).get("status") not in ENDED
           or is_total_known and not info.get("total-time")):
        if time.monotonic() > deadline:
            source.execute("migrate_cancel")
            raise TimeoutError(f"migration still {info.get('status')}: {info.get('ram')}")
        time.sleep(0.02)
    return info
