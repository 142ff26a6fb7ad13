"""Debian's packages are installed without ever leaving dpkg half-way."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openeni_lab.prepare import debian_packages
from openeni_lab.prepare.debian_packages import PackageError, install_packages
from openeni_testing.lab.recording import RecordedProgress, executable
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow

# Every call is written down. `install` goes on until it may end.
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "{folder}/calls"
case "$*" in *install*) ;; *) exit 0 ;; esac
touch "{folder}/begun"
until test -e "{folder}/go-on"; do sleep 0.05; done
touch "{folder}/ended"
"""
INSTALL = """
import os
from openeni_lab.prepare.debian_packages import install_packages
from openeni_lab.progress import LogProgress
os.geteuid = lambda: 0
install_packages(["hello"], LogProgress())
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put programs in the place of apt-get and dpkg; return their folder."""
    for name in ("apt-get", "dpkg"):
        executable(tmp_path / "bin" / name, STUB.format(folder=tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


@contextmanager
def installing(folder: Path) -> Generator["subprocess.Popen[bytes]"]:
    """Run `install_packages` as from a shell: in a process group that Ctrl-C reaches."""
    argv = [sys.executable, "-c", INSTALL]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, process_group=0) as process:
        try:
            wait_for((folder / "begun").exists, "apt-get to begin")
            yield process
        finally:
            (folder / "go-on").touch()
            process.kill()


def test_ctrl_c_waits_for_what_apt_has_begun(programs: Path) -> None:
    with installing(programs) as process:
        os.killpg(process.pid, signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        (programs / "go-on").touch()
        assert process.wait(30) != 0
    assert (programs / "ended").exists()


def test_apt_ends_by_itself_after_a_second_ctrl_c_or_a_kill(programs: Path) -> None:
    with installing(programs) as process:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        (programs / "go-on").touch()
        wait_for((programs / "ended").exists, "apt-get to end by itself", 30)


def test_apt_is_not_killed_after_its_time(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_packages, "APT_SECONDS", 0.5)
    with pytest.raises(PackageError, match="still runs as process"):
        install_packages(["hello"], RecordedProgress())
    (programs / "go-on").touch()
    wait_for((programs / "ended").exists, "apt-get to end by itself", 30)


def test_what_a_killed_dpkg_has_left_is_configured_first(programs: Path) -> None:
    (programs / "go-on").touch()
    install_packages(["hello"], RecordedProgress())
    configure, *_, install = (programs / "calls").read_text().splitlines()
    assert configure == "dpkg --configure -a"
    assert install.endswith("install -y --no-install-recommends hello")
