# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make demo`, which is the first thing that anybody sees."""

import os
import subprocess
import sys

from rig import paths


def test_demo_shows_what_it_says():
    program = paths.ROOT / "scripts" / "demo"
    environment = {**os.environ, "GODWIT_BUILD": str(paths.program("godwit").parent)}
    environment.pop("GODWIT_STATE", None)
    done = subprocess.run([sys.executable, "-B", program], env=environment, capture_output=True, text=True,
                          timeout=150, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    for words in ("web1 has moved: it is 'running'", "0 of them were wrong", "web1 did not move",
                  "exit status 2", "both hosts, the VM and their files are gone"):
        assert words in done.stdout + done.stderr, (words, done.stdout)
