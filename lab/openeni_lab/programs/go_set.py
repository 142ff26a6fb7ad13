"""Sets of Go programs from public modules, pinned by go.mod and go.sum.

The lab's programs are tools of one module, specs/programs, so that every dependency has one version
and each package is compiled once for all of them.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.programs.cache import BuildError, CacheEntry, Workshop

SPECS: Final = Path(__file__).with_name("specs")
PROGRAMS: Final = SPECS / "programs"
GO_SECONDS: Final = 20
ASSETS: Final = "KUBEBUILDER_ASSETS"  # envtest's variable: a folder with programs to use
_STRIPPED: Final = "-s -w"
_FLAGS: Final = "-buildvcs=false -mod=readonly -trimpath"
# Pure Go versions of net and os/user, as without cgo, so that their importers compile once.
_PURE: Final = ("netgo", "osusergo")


@dataclass(frozen=True)
class GoProgram:
    """`package` built as `name`, in `seconds` on two cores after the programs before it.

    `says` is the text before the number in its `--version`. Such a program may come from
    KUBEBUILDER_ASSETS if it has the minor version that go.mod requires of `module` (by default the
    set's).
    """

    name: str
    package: str
    seconds: float
    alone: bool = False  # built before the others, as a step of its own
    cgo: tuple[str, ...] = ()  # build tags of a program with C code
    says: str = ""
    module: str = ""

    @property
    def file(self) -> str:
        """Return the file's name from `go build`: the last element that is no major version."""
        *parents, last = self.package.split("/")
        return parents[-1] if re.fullmatch(r"v\d+", last) else last


@dataclass(frozen=True)
class GoSet:
    """Some of the programs of a go.mod; the set has the version of `module`."""

    name: str
    module: str
    programs: tuple[GoProgram, ...]
    linker_flags: str = _STRIPPED
    folder: Path = PROGRAMS

    @property
    def version(self) -> str:
        return self._required(self.module)

    @property
    def seconds(self) -> float:
        """Return the build time from nothing, on two cores."""
        return sum(one.seconds for one in self.programs)

    @property
    def entry(self) -> CacheEntry:
        """Return the entry. Its name has no toolchain, so that a new compiler rebuilds nothing."""
        programs = [(one.name, one.package, one.cgo) for one in self.programs]
        given = (
            (os.environ[ASSETS],) if os.environ.get(ASSETS) else ()
        )  # programs that somebody else built
        how = repr((programs, self.linker_flags, _FLAGS, *given))
        sources = (path.read_text() for path in sorted(self.folder.rglob("*.go")))
        parts = (self._mod, (self.folder / "go.sum").read_text(), how, *sources)
        return CacheEntry(self.name, self.version, tuple(part.encode() for part in parts))

    @property
    def go(self) -> str:
        """Return the oldest version of Go that builds it."""
        found = re.search(r"^go (\S+)$", self._mod, re.MULTILINE)
        return found[1] if found else "1.26.0"

    @property
    def _mod(self) -> str:
        return (self.folder / "go.mod").read_text()

    def build(self, workshop: Workshop, go: Path) -> None:
        """Build the programs into the entry's bin, in few steps. Raises BuildError."""
        out = workshop.entry / "bin"
        out.mkdir()
        workshop.toolchain = _version_of(go)
        for batch in _batches(one for one in self.programs if not self._take(one, workshop, out)):
            name = batch[0].name if len(batch) == 1 else f"{len(batch)} programs of {self.name}"
            with workshop.step(name, sum(one.seconds for one in batch)) as step:
                step.run(
                    self._argv(go, batch, out),
                    cwd=self.folder,
                    env=_environment(workshop.cache, cgo=bool(batch[0].cgo)),
                )
            for one in batch:
                (out / one.file).rename(out / one.name)

    def _argv(self, go: Path, batch: Sequence[GoProgram], out: Path) -> list[str]:
        cgo = batch[0].cgo
        tags = [f"-tags={','.join((*cgo, *_PURE))}"] if cgo else []
        flags = ["-ldflags", self.linker_flags.format(version=self.version)]
        packages = [one.package for one in batch]
        return [str(go), "build", *tags, *flags, "-o", f"{out}/", *packages]

    def _take(self, program: GoProgram, workshop: Workshop, out: Path) -> bool:
        """Copy a suitable program from KUBEBUILDER_ASSETS, if there is one; never from PATH."""
        folder = os.environ.get(ASSETS)
        if not folder or not program.says:
            return False
        found = Path(folder) / program.name
        wanted = _minor(self._required(program.module or self.module))
        if _minor(_answer_of(found).partition(program.says)[2]) != wanted:
            return False
        shutil.copy2(found, out / program.name)
        workshop.after_step(program.name)
        return True

    def _required(self, module: str) -> str:
        """Return the version of a module that go.mod requires."""
        pattern = rf"^(?:require)?\s+{re.escape(module)} v(\S+)"
        found = re.search(pattern, self._mod, re.MULTILINE)
        if not found:
            raise BuildError(f"{self.folder.name}/go.mod does not require {module}")
        return found[1]


def _batches(programs: Iterable[GoProgram]) -> list[list[GoProgram]]:
    """Group the programs that one `go build` can build, with the same flags and environment."""
    batches: dict[tuple[str, tuple[str, ...]], list[GoProgram]] = {}
    for one in programs:
        batches.setdefault((one.name if one.alone else "", one.cgo), []).append(one)
    return list(batches.values())


def _environment(cache: Path, *, cgo: bool) -> Mapping[str, str]:
    """Return the environment of Go, with its caches in ours, to be removed together."""
    return {
        "CGO_ENABLED": str(int(cgo)),
        "GOCACHE": str(cache / "go" / "build"),
        "GOMODCACHE": str(cache / "go" / "modules"),
        "GOFLAGS": f"{_FLAGS} -modcacherw",  # so that it can be removed
        # The user's own settings must not influence what is in the cache.
        "GOOS": "linux",
        "GOARCH": "amd64",
        "GOAMD64": "v1",
        "GOEXPERIMENT": "",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def _answer_of(program: Path) -> str:
    """Return the output of `--version`, or "" if the program does not run."""
    argv = [str(program), "--version"]
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _minor(version: str) -> tuple[int, ...]:
    return _numbers(version)[:2]


def _version_of(go: Path) -> str:
    asked = [str(go), "version"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()[2]


def installed_go(oldest: str) -> Path | None:
    """Return the Go on PATH if it is not older than `oldest` ("1.26.6")."""
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
