"""Sets of programs from Debian packages, which are downloaded and unpacked but not installed."""

import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.programs.cache import BuildError, BuildStep, CacheEntry, Workshop

# By default apt downloads as a user who cannot write into the folder.
_APT: Final = ("apt-get", "-q", "-o", "APT::Sandbox::User=root")
# elf(5): the 64-bit header, and the type of the segment that names a dynamic linker.
_HEADER: Final = struct.Struct("<4sB27xQ14xHH6x")
ELFCLASS64: Final = 2
PT_INTERP: Final = 3


@dataclass(frozen=True)
class DebianSet:
    """Programs of Debian packages; `folders` are their places in releases of Debian.

    A package is downloaded if those before it lack a program: later releases split packages. Names
    and folders may be patterns: a library's name has its version.
    """

    name: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    static: bool = True  # they run in images and VMs; else on this machine alone, with its libc
    folders: tuple[str, ...] = ("usr/bin", "bin")
    seconds: float = 5

    @property
    def entry(self) -> CacheEntry:
        """Return the entry. Its name has no version, so that an update rebuilds nothing."""
        how = repr((*self.packages, *self.programs))
        return CacheEntry(self.name, "static" if self.static else "dynamic", (how.encode(),))

    def build(self, workshop: Workshop) -> None:
        """Copy the programs from the packages. Raises BuildError, also if one should be static."""
        unpacked = workshop.scratch
        with workshop.step(self.packages[0], self.seconds) as step:
            archives = [
                fetch(step, package, unpacked)
                for package in self.packages
                if not all(self._find(program, unpacked) for program in self.programs)
            ]
        names = ", ".join(archive.name for archive in archives)
        (workshop.entry / "bin").mkdir()
        for program in self.programs:
            source = self._find(program, unpacked)
            if source is None:
                raise BuildError(f"{names}: there is no {program}")
            if self.static and not is_static(source.read_bytes()):
                raise BuildError(f"{names}: a dynamic {program}, and a static one is needed")
            shutil.copy2(source, workshop.entry / "bin" / source.name)
        workshop.toolchain = archives[0].stem

    def _find(self, program: str, unpacked: Path) -> Path | None:
        found = (path for folder in self.folders for path in unpacked.glob(f"{folder}/{program}"))
        return next((path for path in found if path.is_file()), None)


def fetch(step: BuildStep, package: str, folder: Path, options: Sequence[str] = ()) -> Path:
    """Download a package and unpack it into `folder`; return the archive's path.

    `options` are words for apt-get.
    """
    download = [*_APT, *options, "download", package]
    try:
        step.run(download, cwd=folder)
    except BuildError:  # no package lists yet, or outdated ones
        step.run([*_APT, *options, "update"], cwd=folder)
        step.run(download, cwd=folder)
    archive = next(folder.glob(f"{package}_*.deb"))
    step.run(["dpkg-deb", "-x", str(archive), "."], cwd=folder)
    return archive


def is_static(program: bytes) -> bool:
    """Return True if a program needs no dynamic linker."""
    if len(program) < _HEADER.size:
        return False
    magic, width, offset, size, count = _HEADER.unpack_from(program)
    if magic != b"\x7fELF" or width != ELFCLASS64:
        return False
    starts = (offset + size * index for index in range(count))
    return all(struct.unpack_from("<I", program, start)[0] != PT_INTERP for start in starts)
