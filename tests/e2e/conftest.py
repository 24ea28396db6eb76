# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the rig importable, and skips what this machine cannot do - except in CI, where a missing
program is a failure and not a reason to stay silent."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True

import rig  # noqa: E402  (the path comes first)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Turns what the rig misses, in a test or in its fixtures, into a skip with its reason."""
    outcome = yield
    missing = call.excinfo and call.excinfo.errisinstance(rig.Missing)
    if missing and not os.environ.get("CI"):
        report = outcome.get_result()
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {call.excinfo.value}")


def pytest_terminal_summary(terminalreporter):
    """The table of a grid, when all of it was run: what its tests recorded as "row"."""
    rows = [value for status in ("passed", "failed") for report in terminalreporter.stats.get(status, ())
            for name, value in report.user_properties if name == "row"]
    if rows and rig.soak.ROUNDS:
        terminalreporter.write_sep("=", "phase, failure, cause, side, exit status, where the VM runs, time")
        for row in rows:
            terminalreporter.write_line(row)


@pytest.fixture
def net():
    """Two hosts with an unshaped link; use rig.Net itself for a shaped one."""
    with rig.Net() as made:
        yield made


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Commands that coordinate a job themselves keep their state with the test."""
    monkeypatch.setenv("GODWIT_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("GODWIT_AGENT", raising=False)
