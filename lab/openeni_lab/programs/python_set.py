"""Sets that are Python environments, locked by hashes: OpenStack's services, kubectl, Go."""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uv

from openeni_lab.programs.cache import CacheEntry, Workshop

SPECS: Final = Path(__file__).with_name("specs")


def uv_command() -> list[str]:
    """Return the start of uv's command line, without its configuration files."""
    return [uv.find_uv_bin(), "--no-config", "--color", "never"]


@dataclass(frozen=True)
class PythonSet:
    """The environment of specs/<name>.txt; the set has the version of `package`."""

    name: str
    package: str
    seconds: float

    @property
    def entry(self) -> CacheEntry:
        """Return the entry, which depends on the interpreter."""
        locked = self._locked.read_text()
        pinned = next(line for line in locked.splitlines() if line.startswith(f"{self.package}=="))
        interpreter = f"{platform.python_version()} {sys.base_prefix}"
        version = pinned.split("==")[1].split()[0]
        return CacheEntry(self.name, version, (locked.encode(), interpreter.encode()))

    @property
    def _locked(self) -> Path:
        return SPECS / f"{self.name}.txt"

    def build(self, workshop: Workshop) -> None:
        """Make the environment in the entry's folder. BuildError as `Step.run`."""
        workshop.toolchain = f"Python {platform.python_version()}"
        venv = workshop.entry
        base = uv_command()
        make = [*base, "venv", "--clear", "--python", sys.executable, str(venv)]
        install = [*base, "pip", "install", "--python", str(venv / "bin" / "python")]
        own = {"TMPDIR": str(workshop.scratch)}  # uv leaves lock files there
        exactly = ["--compile-bytecode", "--require-hashes", "-r", str(self._locked)]
        with workshop.step(self.name, self.seconds) as step:
            step.run(make, cwd=workshop.scratch, env=own)
            step.run([*install, *exactly], cwd=workshop.scratch, env=own)
