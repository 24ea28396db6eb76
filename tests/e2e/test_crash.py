# SPDX-License-Identifier: LGPL-2.1-or-later
"""A sample of the crash grid (soak_crash.py): cells in which something was wrong once, and twenty of a seed (SEED=)."""

import json

from rig import soak

import soak_crash as crash
import pytest

CELLS = (crash.Cell("command", "coordinator", "released:written", "command", "kill"),
         crash.Cell("agent", "coordinator", "return:record.put", "source agent", "kill"),
         crash.Cell("agent", "coordinator", "return:qemu.migrate", "source agent", "end"),
         crash.Cell("agent", "coordinator", "step:handover", "source agent", "kill"),  # nothing waits for the next one
         crash.Cell("command", "coordinator", "return:qemu.migrate", "destination agent", "kill"),
         crash.Cell("command", "coordinator", "call:job.keep", "destination courier", "stop"),  # it takes no lease
         crash.Cell("command", "destination", "journal:started", "destination agent", "kill"),
         crash.Cell("command", "destination", "reply:handover.start", "reply", "lost"),
         crash.Cell("agent", "destination", "started:runs", "source QEMU", "kill"))


IN_POSTCOPY = crash.Cell("command", "coordinator", "return:record.put", "source courier", "kill")  # nothing can be recovered


@pytest.mark.skipif(soak.ROUNDS > 0, reason="all of it is run")
def test_a_sample(net, tmp_path):
    world = crash.Rig(net, tmp_path)
    world.boot()
    for cell, mode in [(cell, ()) for cell in CELLS] + [(IN_POSTCOPY, crash.POSTCOPY)]:
        row = crash.run_cell(world, cell, mode)
        assert row["reached"] and row["struck"], row
        print(json.dumps(row))


@pytest.mark.skipif(soak.ROUNDS > 0, reason="all of it is run")
@pytest.mark.timeout(1200)
def test_a_seeded_sample(net, tmp_path):
    failed = crash.run_chosen(net, tmp_path, 20, crash.SEED)
    assert not failed, json.dumps(failed, indent=1)
