"""Go programs from public modules: a folder with go.mod and go.sum says which, to the last byte."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.cache import BuildError, Entry, Workshop

BUILDS: Final = Path(__file__).with_name("builds")
GO_SECONDS: Final = 20
_STRIPPED: Final = "-s -w"
_FLAGS: Final = "-buildvcs=false -mod=readonly -trimpath"


@dataclass(frozen=True)
class Program:
    """`package` built as `name`; `seconds` from nothing on two cores, in the order of the set."""

    name: str
    package: str
    seconds: float
    tags: str = ""


@dataclass(frozen=True)
class GoSet:
    """The programs of builds/<name>/go.mod; `module` is the one whose version the set has."""

    name: str
    module: str
    programs: tuple[Program, ...]
    linker_flags: str = _STRIPPED

    @property
    def version(self) -> str:
        found = re.search(
            rf"^(?:require)?\s+{re.escape(self.module)} v(\S+)", self._mod, re.MULTILINE
        )
        if not found:
            raise BuildError(f"builds/{self.name}/go.mod does not require {self.module}")
        return found[1]

    @property
    def entry(self) -> Entry:
        """The toolchain is recorded, not part of the name: a new compiler rebuilds nothing."""
        programs = [(one.name, one.package, one.tags) for one in self.programs]
        how = repr((programs, self.linker_flags, _FLAGS))
        parts = (self._mod, (self._folder / "go.sum").read_text(), how)
        return Entry(self.name, self.version, tuple(part.encode() for part in parts))

    @property
    def go(self) -> str:
        """The oldest Go that builds it."""
        found = re.search(r"^go (\S+)$", self._mod, re.MULTILINE)
        return found[1] if found else "1.26.0"

    @property
    def _folder(self) -> Path:
        return BUILDS / self.name

    @property
    def _mod(self) -> str:
        return (self._folder / "go.mod").read_text()

    def build(self, workshop: Workshop, go: Path) -> None:
        """Build each program into the entry's bin, one step each. BuildError as `Step.run`."""
        out = workshop.entry / "bin"
        out.mkdir()
        workshop.toolchain = _version_of(go)
        for program in self.programs:
            given = _given(program.name, self.version)
            if given:
                shutil.copy2(given, out / program.name)
                continue
            flags = self.linker_flags.format(version=self.version)
            tags = [f"-tags={program.tags}"] if program.tags else []
            argv = [str(go), "build", *tags, "-ldflags", flags, "-o", str(out / program.name)]
            with workshop.step(program.name, program.seconds) as step:
                step.run(
                    [*argv, program.package], cwd=self._folder, env=_environment(workshop.cache)
                )


def _environment(cache: Path) -> Mapping[str, str]:
    """Go's own caches are in ours, so that they can be removed as a whole (`forget_sources`)."""
    return {
        "GOCACHE": str(cache / "go" / "build"),
        "GOMODCACHE": str(cache / "go" / "modules"),
        "GOFLAGS": f"{_FLAGS} -modcacherw",  # so that it can be removed
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def _given(program: str, version: str) -> Path | None:
    """A program of the same version in KUBEBUILDER_ASSETS or on PATH saves building it.

    Kubernetes' own programs answer `--version` at once with one line; nothing else is asked.
    """
    if not program.startswith("kube"):
        return None
    places = os.pathsep.join(
        filter(None, [os.environ.get("KUBEBUILDER_ASSETS"), os.environ["PATH"]])
    )
    found = shutil.which(program, path=places)
    if not found:
        return None
    try:
        told = subprocess.run(
            [found, "--version"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(found) if told.strip() == f"Kubernetes v{version}" else None


def _version_of(go: Path) -> str:
    asked = [str(go), "version"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()[2]


def installed_go(oldest: str) -> Path | None:
    """The Go on PATH, if it is as new as `oldest` ("1.26.6")."""
    found = shutil.which("go")
    if not found:
        return None
    try:
        version = _version_of(Path(found)).removeprefix("go")
    except (OSError, subprocess.SubprocessError, IndexError):
        return None
    return Path(found) if _numbers(version) >= _numbers(oldest) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
