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


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs a test; what the rig misses becomes a skip with its reason."""
    names = pyfuncitem._fixtureinfo.argnames
    try:
        pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    except rig.Missing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    return True


@pytest.fixture
def net():
    """Two hosts with an unshaped link; use rig.Net itself for a shaped one."""
    with rig.Net() as made:
        yield made
