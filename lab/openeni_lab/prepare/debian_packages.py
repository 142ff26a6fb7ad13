"""Find and install the missing ones of the Debian packages that the lab needs.

None of them starts a service or enables one at boot.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.hypervisor import emulator
from openeni_lab.progress import Progress

APT_SECONDS: Final = 1800
INTERRUPTED_SECONDS: Final = 600  # for what apt-get has begun when Ctrl-C is pressed
_LOCK_WAIT: Final = "DPkg::Lock::Timeout=300"
_SEARCHED: Final = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


class PackageError(Exception):
    """Packages cannot be installed. One line that says what to do."""


@dataclass(frozen=True)
class Need:
    """A program, or a file if it starts with a slash, and the package that has it."""

    what: str
    package: str

    @property
    def present(self) -> bool:
        if self.what.startswith("/"):
            return Path(self.what).exists()
        return shutil.which(self.what, path=_SEARCHED) is not None


def _python_library() -> tuple[Need, ...]:
    """Return the interpreter's library, which uWSGI links to: a package of its own in Debian."""
    name = str(sysconfig.get_config_var("INSTSONAME"))
    if sys.base_prefix != "/usr" or not name.startswith("libpython"):
        return ()
    folder = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}"
    return (Need(f"{folder}/{name}", name.partition(".so")[0]),)


RUNNING: Final = (  # needed by every lab
    Need("ip", "iproute2"),
    Need("nft", "nftables"),
    Need("/etc/protocols", "netbase"),  # nft reads protocol names from it
    Need("mariadbd", "mariadb-server-core"),  # without the service that mariadb-server starts
    Need("mariadb-admin", "mariadb-client"),
    Need("curl", "curl"),
    *_python_library(),
)
TESTING: Final = (  # needed by the tests
    Need("musl-gcc", "musl-tools"),  # for the CNI executable
    Need("ping", "iputils-ping"),
    Need("arping", "arping"),
    Need("conntrack", "conntrack"),
    Need("iptables-nft", "iptables"),
    Need("ipset", "ipset"),  # kube-proxy's mode ipvs
    Need("socat", "socat"),
    Need("openssl", "openssl"),
)
EMULATING: Final = (Need(emulator.PROGRAM, emulator.PACKAGE),)  # needed by `make bench-datapath`
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
    "images": (Need("mmdebstrap", "mmdebstrap"),),
    "openstack": (*_COMPILER, Need(f"{sysconfig.get_path('include')}/Python.h", "python3-dev")),
}


def packages(
    building: Iterable[str] = (), *, testing: bool = False, emulating: bool = False
) -> list[str]:
    """Return the missing packages to run the lab and to build these sets, sorted."""
    needs = [*RUNNING, *(need for name in building for need in BUILDING.get(name, ()))]
    needs += TESTING if testing else ()
    needs += EMULATING if emulating else ()
    return sorted({need.package for need in needs if not need.present})


def install_packages(names: Iterable[str], progress: Progress) -> None:
    """Install packages and their dependencies, without recommended packages.

    Raises PackageError, with the command to run by hand, without root or apt-get or if it fails.
    """
    wanted = sorted(names)
    if not wanted:
        return
    by_hand = f"apt-get install --no-install-recommends {' '.join(wanted)}"
    if not shutil.which("apt-get") or os.geteuid():
        raise PackageError(f"these packages are missing; as root on Debian: {by_hand}")
    progress.start(f"apt-get install {' '.join(wanted)}", 30)
    # apt-get refuses to work after a dpkg that was killed; it also says why if this fails.
    _run(["dpkg", "--configure", "-a"], by_hand, progress)
    _apt(["update"], by_hand, progress)
    _apt(["install", "-y", "--no-install-recommends", *wanted], by_hand, progress)
    progress.done()


def _apt(arguments: list[str], by_hand: str, progress: Progress) -> None:
    progress.note(f"apt-get {arguments[0]}")
    code, output = _run(["apt-get", "-q", "-o", _LOCK_WAIT, *arguments], by_hand, progress)
    if code:
        lines = output.strip().splitlines() or ["no output"]
        raise PackageError(
            f"apt-get {arguments[0]} failed ({lines[-1]}); run it by hand: {by_hand}"
        )


def _run(command: list[str], by_hand: str, progress: Progress) -> tuple[int, str]:
    """Run a program that must not be ended half-way; return its exit status and output.

    Ctrl-C at the terminal does not reach it, and it is never killed: dpkg would be left broken. A
    second Ctrl-C, or the time limit, leaves it to itself, so its output is a file, not a pipe.
    """
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            env=quiet,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(APT_SECONDS)
        except KeyboardInterrupt:
            progress.note(f"waiting for {command[0]} to end; Ctrl-C again leaves it to itself")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(INTERRUPTED_SECONDS)
            raise
        except subprocess.TimeoutExpired as error:
            raise PackageError(
                f"{command[0]} did not finish in time and still runs as process {process.pid}; "
                f"once it has ended, run by hand: {by_hand}"
            ) from error
        output.seek(0)
        return code, output.read().decode(errors="replace")
