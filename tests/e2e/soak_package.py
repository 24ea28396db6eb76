# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make deb` in a fresh Debian: the package installs with what it depends on, works, and goes again."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest
import rig
from rig import faults, paths


def run(argv, timeout=600, **kwargs):
    done = subprocess.run([str(word) for word in argv], text=True, timeout=timeout, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    assert done.returncode == 0, f"{argv}: {done.stdout[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    out = tmp_path_factory.mktemp("deb")
    run([paths.ROOT / "scripts/deb", out], 1200, env={**os.environ, "JOBS": "2"})
    (made,) = out.glob("godwit_*.deb")
    return made


@pytest.fixture(scope="module")
def root():
    """A minimal Debian of the suite of this machine."""
    if shutil.which("debootstrap") is None:
        raise rig.Missing("debootstrap is not installed")
    words = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    with tempfile.TemporaryDirectory(prefix="godwit-root-") as directory:
        run(["debootstrap", "--variant=minbase", "--include=man-db", words["VERSION_CODENAME"].strip('"'), directory])
        # what pytest's own directory would hide from apt's user
        pathlib.Path(directory).chmod(0o755)
        yield pathlib.Path(directory)


def inside(root, *argv, **kwargs):
    return run(["chroot", root, "env", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *argv], **kwargs)


def listing(root):
    return {str(path.relative_to(root)) for path in root.rglob("*")
            if not str(path.relative_to(root)).startswith(("proc/", "sys/", "var/cache/", "var/lib/apt", "var/lib/dpkg",
                                                           "var/log", "usr/share/doc"))}


@pytest.mark.timeout(2400)
def test_installs_works_and_goes(package, root):
    if shutil.which("lintian"):
        assert run(["lintian", "--allow-root", "--fail-on=error,warning", package]) == ""
    shutil.copy(package, root / "godwit.deb")
    inside(root, "apt-get", "-q", "update")
    inside(root, "apt-get", "-q", "install", "-y", "--no-install-recommends", "/godwit.deb")
    assert inside(root, "godwit", "--version").startswith("godwit ")
    assert inside(root, "godwitd", "--version").startswith("godwitd ")
    for page in ("1 godwit", "8 godwitd", "5 godwitd.conf", "8 godwit-courier"):
        assert "godwit" in inside(root, "man", "-w", *page.split())
    inside(root, "cp", "/usr/share/doc/godwit/examples/godwitd.conf", "/tmp/conf")
    agent = subprocess.Popen(["chroot", root, "godwitd", "--config", "/tmp/conf", "--socket", "/tmp/s", "--state", "/tmp/st"])
    try:
        faults.wait_until(lambda: (root / "tmp/s").exists() or agent.poll() is not None, 20, "godwitd in the new Debian")
        assert '"vms"' in inside(root, "godwit", "list", "--json", "--agent", "unix:/tmp/s")
    finally:
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
    if shutil.which("systemd-analyze"):
        run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}",
             "/usr/lib/systemd/system/godwitd.service"])
    before = listing(root)
    inside(root, "dpkg", "--purge", "godwit")
    left = {path for path in listing(root) if "godwit" in path} - {"godwit.deb"}
    assert left == set(), left
    assert any("godwitd" in path for path in before)
