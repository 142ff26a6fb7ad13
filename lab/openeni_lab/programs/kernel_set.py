"""The set of the user-mode kernel with ipvlan, built from Debian's kernel source.

The source is the newest of Debian's backports: from 6.16 on, programs in such a kernel run under a
seccomp filter instead of ptrace, which makes them several times faster (decision 0021). If it
cannot be had or built, the distribution's own is used, on which its package `linux-source` depends.
The source is downloaded and unpacked, not installed. Debian's 6.1, 6.12 and 7.3 were built and
booted.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.images.build_root import SUITE
from openeni_lab.images.debian_archive import ArchiveError, backports, machine_archive
from openeni_lab.programs.cache import BuildError, BuildStep, CacheEntry, Workshop
from openeni_lab.programs.debian_set import fetch

KERNEL_SECONDS: Final = 150
ASK_SECONDS: Final = 60
_FOLDER: Final = Path(__file__).with_name("specs") / "kernel"
_OPTIONS: Final = _FOLDER / "options"
_TUNING: Final = _FOLDER / "tuning"
_PRELOAD: Final = _FOLDER / "ptrace_xstate.c"
PACKAGE: Final = "linux-source"
_SOURCE: Final = re.compile(rf"{PACKAGE}-(\d+(?:\.\d+)+)")  # 6.12 of Debian, 6.8.0 of Ubuntu
# Two thirds of the files. The build reads Kconfig and Makefiles of every folder, so they stay.
_LEFT_OUT: Final = (
    "*/Documentation/*.*",
    "*/arch/[!ux]*/*.[chS]",  # all but um and x86
    "*/arch/*.dts*",
    "*/drivers/gpu/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/net/ethernet/*.[ch]",
    "*/drivers/net/wireless/*.[ch]",
    "*/drivers/staging/*.[ch]",
    "*/sound/*.[ch]",
    "*/tools/perf/*",
    "*/tools/testing/*",
)
# Headers take three quarters of the compiler's time. A tenth of that is saved if it does not track
# the macro that each token came from, which only warnings need.
_MAKE: Final = ("make", "ARCH=um", "KCFLAGS=-w -ftrack-macro-expansion=0")
_CONFIGURE: Final = "allnoconfig"
_TARGET: Final = "linux"
_NAMELESS: Final = {"KBUILD_BUILD_USER": "openeni", "KBUILD_BUILD_HOST": "openeni"}
_LIBRARY: Final = ("gcc", "-shared", "-fPIC", "-O2")


@dataclass(frozen=True)
class KernelSet:
    """`linux`, its configuration, and the library to start it with (LD_PRELOAD)."""

    name: str = "kernel"
    seconds: float = KERNEL_SECONDS

    @property
    def entry(self) -> CacheEntry:
        """Return the entry. A newer series in the archive rebuilds nothing."""
        files = (path.read_bytes() for path in (_OPTIONS, _TUNING, _PRELOAD))
        how = repr((SUITE, _LEFT_OUT, _MAKE, _CONFIGURE, _TARGET, _NAMELESS, _LIBRARY))
        return CacheEntry(self.name, "uml", (*files, how.encode()))

    def build(self, workshop: Workshop) -> None:
        """Fetch, unpack, configure and build. Raises BuildError, also for a dropped option."""
        try:
            self._build_from(workshop, "backports", _backports(workshop.scratch))
        except (ArchiveError, BuildError, subprocess.SubprocessError) as error:
            if workshop.cancelled.is_set():
                raise
            workshop.warn(
                "the kernel of VM nodes is built from Debian's own source, which makes them "
                f"slower, since the backports cannot be used: {error}\n"
                f"to try again, remove {workshop.entry}"
            )
            self._build_from(workshop, "own", ())

    def _build_from(self, workshop: Workshop, name: str, apt: Sequence[str]) -> None:
        scratch = workshop.scratch / name
        scratch.mkdir()
        with workshop.step("kernel source", 40) as step:
            archive = fetch(step, _newest_package(step, scratch, apt), scratch, apt)
            source = _unpack(step, scratch)
        workshop.toolchain = archive.stem
        with workshop.step("user-mode kernel", KERNEL_SECONDS) as step:
            _make(step, source, workshop.entry)
            library = str(workshop.entry / "ptrace_xstate.so")
            step.run([*_LIBRARY, "-o", library, str(_PRELOAD)], cwd=source)


def newest_source(fields: Iterable[str]) -> str | None:
    """Return the `linux-source-N.M` with the highest version in apt's output, split at blanks."""
    found = (match for field in fields if (match := _SOURCE.fullmatch(field)))
    versions = {match[0]: [int(part) for part in match[1].split(".")] for match in found}
    return max(versions, key=lambda name: versions[name], default=None)


def lost_options(wanted: str, config: str) -> list[str]:
    """Return the `CONFIG_...=y` lines of `wanted` that a configuration lacks, sorted."""
    lines = {line for line in wanted.splitlines() if line.endswith("=y")}
    return sorted(lines - set(config.splitlines()))


def _backports(scratch: Path) -> list[str]:
    """Return words for apt to use Debian's backports alone; what it keeps is in `scratch`."""
    archive = backports(machine_archive(SUITE))
    folder = scratch / "apt"
    (folder / "lists").mkdir(parents=True)
    sources = folder / "debian.sources"
    sources.write_text(archive.sources)
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": folder,
        "Acquire::Languages": "none",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _newest_package(step: BuildStep, folder: Path, apt: Sequence[str]) -> str:
    package = newest_source(_dependencies(apt))
    if package is None:  # no package lists yet
        step.run(["apt-get", *apt, "-q", "update"], cwd=folder)
        package = newest_source(_dependencies(apt))
    if package is None:
        raise BuildError(
            f"kernel: apt has no package {PACKAGE}: add the distribution's main archive to its "
            "sources"
        )
    return package


def _dependencies(apt: Sequence[str]) -> list[str]:
    """Return what `apt-cache depends` prints, split at blanks; nothing if there is no apt."""
    asked = ["apt-cache", *apt, "depends", PACKAGE]
    if not shutil.which(asked[0]):
        return []
    done = subprocess.run(asked, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    return done.stdout.split()


def _unpack(step: BuildStep, scratch: Path) -> Path:
    """Unpack the source; in usr/src, Debian has the archive and Ubuntu a link to it."""
    archives = [*scratch.glob(f"usr/src/{PACKAGE}-*.tar.*")]
    if len(archives) != 1:
        raise BuildError(f"kernel: the package has {len(archives)} source archives, not one")
    source = scratch / "source"
    source.mkdir()
    leave_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    unpack = ["tar", "xf", str(archives[0]), *leave_out, "--strip-components=1", "-C", str(source)]
    step.run(unpack, cwd=scratch, env={"XZ_OPT": "-T0"})
    return source


def _make(step: BuildStep, source: Path, entry: Path) -> None:
    everything = source / "openeni.config"
    everything.write_text(_OPTIONS.read_text() + _TUNING.read_text())
    config = source / ".config"
    make = [*_MAKE, f"-j{(os.cpu_count() or 1) + 1}"]
    step.run([*make, f"KCONFIG_ALLCONFIG={everything}", _CONFIGURE], cwd=source)
    # Kconfig silently drops options whose dependencies are unmet.
    lost = lost_options(_OPTIONS.read_text(), config.read_text())
    if lost:
        raise BuildError(f"kernel: Kconfig dropped {', '.join(lost)}")
    step.run([*make, _TARGET], cwd=source, env=_NAMELESS)
    step.run(["strip", "-o", str(entry / "linux"), _TARGET], cwd=source)
    shutil.copy(config, entry / "config")
