# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where things are: the programs under test, the guest's kernel and init."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("GODWIT_BUILD", ROOT / "build"))
CACHE = ROOT / "cache" / "guest"


class Missing(Exception):
    """Something that the rig needs is not there; tests skip with this text."""


def program(name):
    """The path of a program that the build has made: "godwit", "tests/guest/guest-init"."""
    path = BUILD / name
    if not path.exists():
        raise Missing(f"{path} is not built (set GODWIT_BUILD or run make)")
    return path


def kernel():
    """The folder with the guest's vmlinuz and modules; fetches the kernel the first time."""
    folder = CACHE / "kernel"
    if not (folder / "version").exists():
        done = subprocess.run([ROOT / "scripts" / "guest-kernel", folder], text=True,
                              capture_output=True, timeout=300, check=False)
        if done.returncode != 0:
            raise Missing(done.stderr.strip() or "scripts/guest-kernel failed")
    return folder
