"""The user-mode kernel with ipvlan, from Debian's kernel source, and what it needs to run."""

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.cache import BuildError, Entry, Step, Workshop

SERIES: Final = "6.1"
PACKAGE: Final = f"linux-source-{SERIES}"
KERNEL_SECONDS: Final = 190
_FOLDER: Final = Path(__file__).with_name("builds") / "kernel"
_OPTIONS: Final = _FOLDER / "options"
_PRELOAD: Final = _FOLDER / "ptrace_xstate.c"


@dataclass(frozen=True)
class KernelSet:
    """`linux`, its configuration, and the library that it must be started with."""

    name: str = "kernel"

    @property
    def entry(self) -> Entry:
        """Debian's patch level is recorded, not part of the name: an update rebuilds nothing."""
        return Entry(self.name, SERIES, (_OPTIONS.read_bytes(), _PRELOAD.read_bytes()))

    def build(self, workshop: Workshop) -> None:
        """Fetch, unpack, configure and build. BuildError as `Step.run`, or for a lost option."""
        with workshop.step(f"{PACKAGE} (fetch and unpack)", 25) as step:
            source = _unpack(workshop, step)
        config = source / ".config"
        arch = ["make", "ARCH=um", f"-j{os.cpu_count() or 1}"]
        nameless = {"KBUILD_BUILD_USER": "openeni", "KBUILD_BUILD_HOST": "openeni"}
        with workshop.step("user-mode kernel", KERNEL_SECONDS) as step:
            step.run([*arch, f"KCONFIG_ALLCONFIG={_OPTIONS}", "allnoconfig"], cwd=source)
            _refuse_lost_options(config)
            step.run([*arch, "linux"], cwd=source, env=nameless)
            step.run(["strip", "-o", str(workshop.entry / "linux"), "linux"], cwd=source)
            library = str(workshop.entry / "ptrace_xstate.so")
            step.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, str(_PRELOAD)], cwd=source)
        shutil.copy(config, workshop.entry / "config")
        patch = re.search(r"^# Linux/\S+ (\S+) Kernel", config.read_text(), re.MULTILINE)
        workshop.toolchain = f"Linux {patch[1] if patch else SERIES} on {platform.machine()}"


def _unpack(workshop: Workshop, step: Step) -> Path:
    """The package's archive, installed or fetched; nothing is installed for it."""
    archive = Path(f"/usr/src/{PACKAGE}.tar.xz")
    scratch = workshop.scratch
    if not archive.exists():
        step.run(["apt-get", "-o", "APT::Sandbox::User=root", "download", PACKAGE], cwd=scratch)
        package = next(scratch.glob(f"{PACKAGE}_*.deb"))
        step.run(["dpkg-deb", "-x", str(package), "."], cwd=scratch)
        archive = scratch / "usr" / "src" / archive.name
    step.run(["tar", "xf", str(archive)], cwd=scratch)
    return scratch / PACKAGE


def _refuse_lost_options(config: Path) -> None:
    """Kconfig drops an option whose own conditions are not met without a word."""
    wanted = {line for line in _OPTIONS.read_text().splitlines() if line.endswith("=y")}
    lost = wanted - set(config.read_text().splitlines())
    if lost:
        raise BuildError(f"this kernel source does not take {', '.join(sorted(lost))}")
