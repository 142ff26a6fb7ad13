"""The Debian packages that the lab needs: which are missing, and putting them in."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.progress import Progress

APT_SECONDS: Final = 1800
_LOCK_WAIT: Final = "DPkg::Lock::Timeout=300"
_SEARCHED: Final = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
_POLICY: Final = Path("/usr/sbin/policy-rc.d")  # asked by every package that starts a service


class PackageError(Exception):
    """Packages cannot be installed from here; one line that says what to do."""


@dataclass(frozen=True)
class Need:
    """A program, or a file where it starts with a slash, and the package that brings it."""

    what: str
    package: str

    @property
    def present(self) -> bool:
        if self.what.startswith("/"):
            return Path(self.what).exists()
        return shutil.which(self.what, path=_SEARCHED) is not None


RUNNING: Final = (
    Need("ip", "iproute2"),
    Need("nft", "nftables"),
    Need("unshare", "util-linux"),
    Need("busybox", "busybox-static"),
    Need("mariadbd", "mariadb-server-core"),  # without the service that mariadb-server starts
    Need("mariadb-admin", "mariadb-client"),
    Need("nginx", "nginx-light"),
    Need("curl", "curl"),
    Need("ping", "iputils-ping"),
    Need("arping", "arping"),
    Need("conntrack", "conntrack"),
    Need("tcpdump", "tcpdump"),
    Need("socat", "socat"),
    Need("ethtool", "ethtool"),
)
_COMPILER: Final = (Need("gcc", "gcc"), Need("/usr/include/stdio.h", "libc6-dev"))
BUILDING: Final = {
    "node": (
        *_COMPILER,
        Need("pkg-config", "pkg-config"),
        Need("/usr/include/seccomp.h", "libseccomp-dev"),
    ),
    "kernel": (
        *_COMPILER,
        Need("make", "make"),
        Need("flex", "flex"),
        Need("bison", "bison"),
        Need("bc", "bc"),
        Need("xz", "xz-utils"),
        Need("strip", "binutils"),
    ),
    "openstack": (*_COMPILER, Need(f"{sysconfig.get_path('include')}/Python.h", "python3-dev")),
}


def packages(building: Iterable[str] = ()) -> list[str]:
    """The packages that are missing to run the lab and to build these sets, sorted."""
    needs = [*RUNNING, *(need for name in building for need in BUILDING.get(name, ()))]
    return sorted({need.package for need in needs if not need.present})


def install_packages(names: Iterable[str], progress: Progress) -> None:
    """Install packages without starting the services in them.

    PackageError without root or apt-get, or when apt-get fails; it says what to run.
    """
    wanted = sorted(names)
    if not wanted:
        return
    by_hand = f"apt-get install --no-install-recommends {' '.join(wanted)}"
    if not shutil.which("apt-get") or os.geteuid():
        raise PackageError(f"these packages are missing; as root on Debian: {by_hand}")
    progress.start(f"apt-get install {' '.join(wanted)}", 30)
    with _no_service_starts():
        _apt(["update"], by_hand, progress)
        _apt(["install", "-y", "--no-install-recommends", *wanted], by_hand, progress)
    progress.done()


def _apt(words: list[str], by_hand: str, progress: Progress) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    progress.note(f"apt-get {words[0]}")
    try:
        done = subprocess.run(
            ["apt-get", "-q", "-o", _LOCK_WAIT, *words],
            env=quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"apt-get did not end in time; try yourself: {by_hand}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["nothing"]
        raise PackageError(f"apt-get {words[0]} failed ({said[-1]}); try yourself: {by_hand}")


@contextmanager
def _no_service_starts() -> Generator[None]:
    """Debian starts a service when its package is installed, unless the policy file says 101."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
