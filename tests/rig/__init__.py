# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rig of the end-to-end tests; README.md beside this file shows how to use it."""

from . import disk, faults, hosts, imagelocks, journal, leftovers, qemu10, ram, scene, soak, tee
from .guest import Guest, Load
from .hosts import Host, Net
from .native import Native, native_migrate
from .paths import Missing
from .proxy import Proxy
from .programs import Agent, Done, Migration, godwit, migrate, start_godwit, start_migrate
from .qmp import Qmp, QmpError
from .report import GuestError, Report, Status
from .scene import Scene
from .sshd import Sshd
from .tick import Jitter, Move, Tick, Ticks

__all__ = ["Agent", "Done", "Guest", "GuestError", "Host", "Jitter", "Load", "Migration", "Missing",
           "Move", "Native", "Net", "Proxy", "Qmp", "QmpError", "Report", "Scene", "Sshd", "Status", "Tick", "Ticks",
           "disk", "faults", "godwit", "hosts", "imagelocks", "journal", "leftovers", "migrate", "native_migrate", "qemu10",
           "ram", "scene", "soak", "start_godwit", "start_migrate", "tee"]
