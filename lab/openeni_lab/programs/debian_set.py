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
    """One static program of a package; `folders` are its places in releases of Debian."""

    name: str
    package: str
    program: str
    folders: tuple[str, ...] = ("usr/bin", "bin")
    seconds: float = 5

    @property
    def entry(self) -> CacheEntry:
        """Return the entry. Its name has no version, so that an update rebuilds nothing."""
        how = repr((self.package, self.program))
        return CacheEntry(self.name, "static", (how.encode(),))

    def build(self, workshop: Workshop) -> None:
        """Copy the program from the package. Raises BuildError, also if it is not static."""
        with workshop.step(self.package, self.seconds) as step:
            archive = fetch(step, self.package, workshop.scratch)
        found = [workshop.scratch / folder / self.program for folder in self.folders]
        source = next((path for path in found if path.is_file()), None)
        if source is None or not is_static(source.read_bytes()):
            what = "no" if source is None else "a dynamic"
            raise BuildError(f"{archive.name} has {what} {self.program}: a static one is needed")
        (workshop.entry / "bin").mkdir()
        shutil.copy2(source, workshop.entry / "bin" / self.program)
        workshop.toolchain = archive.stem


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
