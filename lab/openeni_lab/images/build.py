"""Build the images of operator and agent with buildah, in storage of their own and no registry."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from openeni_lab.images.archive import ImageArchive
from openeni_lab.images.build_root import EXCLUDED, PACKAGES, base_archive
from openeni_lab.images.debian_archive import bootstrap, write_private
from openeni_lab.images.machine_access import mounts
from openeni_lab.layout import REPOSITORY, cache_folder
from openeni_lab.machine.isolation import ending_with_caller
from openeni_lab.progress import Progress

PROGRAMS: Final = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}  # and their packages
IMAGES: Final = ("operator", "agent")
BUILD_SECONDS: Final = 1800
SHOWN: Final = 15  # last lines of a program that failed
OVERLAY: Final = "overlay"
OWN_BASE: Final = "localhost/openeni-base"


class ImageBuildError(Exception):
    """An image cannot be built. The text has the last lines and what to do."""


@dataclass(frozen=True)
class Source:
    """Version, commit and time of the images' labels. Equal sources make equal images."""

    version: str
    revision: str
    seconds: int  # since the epoch: the commit's time

    @property
    def created(self) -> str:
        return datetime.fromtimestamp(self.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @classmethod
    def read(cls, checkout: Path = REPOSITORY) -> "Source":
        """Read version and commit of a checkout; SOURCE_DATE_EPOCH replaces the commit's time."""
        project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
        log = ["git", "-C", str(checkout), "log", "-1", "--format=%H %ct"]
        revision, _, seconds = _run(log, 30).strip().partition(" ")
        changed = _run(["git", "-C", str(checkout), "status", "--porcelain"], 30).strip()
        return cls(
            project["version"],
            f"{revision}-changed" if changed else revision,
            int(os.environ.get("SOURCE_DATE_EPOCH", seconds)),
        )


@dataclass(frozen=True)
class Storage:
    """Storage of containers in a folder, without the settings of this machine's users."""

    folder: Path
    driver: str

    def buildah(self, *words: str) -> str:
        """Run buildah in this storage. Raises ImageBuildError."""
        places = ("--root", str(self.folder / "root"), "--runroot", str(self.folder / "run"))
        policy = self.folder / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        signatures = ("--signature-policy", str(policy)) if words[0] in {"bud", "push"} else ()
        command, *rest = words
        # It ends with this process, and its mounts with it: the folder is removed.
        prefix = (*ending_with_caller("--mount"), "buildah", *places)
        driver = ("--storage-driver", self.driver)
        return _run([*prefix, *driver, command, *signatures, *rest], BUILD_SECONDS)


@contextmanager
def clean_storage() -> Generator[Storage]:
    """Yield empty storage, and remove it afterwards."""
    scratch = cache_folder() / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="images-", dir=scratch) as folder:
        yield Storage(Path(folder), _driver(Path(folder)))


def _driver(folder: Path) -> str:
    """Return buildah's driver for storage in a folder.

    `vfs` works everywhere and copies the whole root for each step: three times the time. Its layers
    have the same files in another order, and so another digest.
    """
    (folder / "probe").mkdir()
    try:
        Storage(folder / "probe", OVERLAY).buildah("info")
    except ImageBuildError:  # the folder is on an overlay itself, as in most containers
        return "vfs"
    return OVERLAY


def build(target: Path, source: Source, display: Progress, base: str = "") -> list[ImageArchive]:
    """Build both images into `target`; `base` replaces the base that is made here.

    Raises ImageBuildError, or ArchiveError if the base cannot be made.
    """
    _require_programs()
    target.mkdir(parents=True, exist_ok=True)
    with clean_storage() as storage:
        if not base:
            _import_base(storage, make_base(display), display)
        options = _options(storage, source, base)
        built: list[ImageArchive] = []
        for name in IMAGES:
            display.start(f"image of the {name}", 60)
            built.append(_build(name, source, target / f"{name}.tar", storage, options))
            display.done()
        return built


def make_base(display: Progress) -> Path:
    """Return the root of the build stage as a file of the cache; make it if it is missing.

    An old one does no harm: the stages download what the images hold. Raises ArchiveError.
    """
    archive = base_archive()
    key = hashlib.sha256(repr((archive, PACKAGES, EXCLUDED)).encode()).hexdigest()[:8]
    path = cache_folder() / f"image-base-{archive.suite}-{key}.tar"
    if path.exists():
        return path
    display.start(f"Debian {archive.suite} for the build stage", 40)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.tar")
    write_private(unfinished, "")  # it keeps the passwords of proxies
    bootstrap(archive, PACKAGES, unfinished, EXCLUDED)
    os.sync()  # the name must not reach the disk before the content
    unfinished.rename(path)
    display.done()
    return path


def _build(
    name: str, source: Source, path: Path, storage: Storage, options: Sequence[str]
) -> ImageArchive:
    tag = f"localhost/openeni-{name}:{source.version}"
    storage.buildah("bud", *options, "--target", name, "--tag", tag, str(REPOSITORY))
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)  # buildah adds to an archive that exists
    storage.buildah("push", "--quiet", tag, f"docker-archive:{unfinished}")
    unfinished.rename(path)
    return ImageArchive(path)


def _options(storage: Storage, source: Source, base: str) -> list[str]:
    arguments = {
        "BASE": base or OWN_BASE,
        "VERSION": source.version,
        "REVISION": source.revision,
        "CREATED": source.created,
    }
    return [
        *("--isolation", "chroot", "--layers", "--format", "oci"),
        *("--file", str(REPOSITORY / "Containerfile"), "--timestamp", str(source.seconds)),
        *(word for k, v in arguments.items() for word in ("--build-arg", f"{k}={v}")),
        *(w for m in mounts(storage.folder, own_base=not base) for w in ("--volume", m)),
    ]


def _import_base(storage: Storage, archive: Path, display: Progress) -> None:
    display.start("importing the base", 10)
    context = storage.folder / "base"
    context.mkdir()
    (context / "Containerfile").write_text(f"FROM scratch\nADD {archive.name} /\n")
    try:
        (context / archive.name).hardlink_to(archive)
    except OSError:  # on another file system
        shutil.copy(archive, context)
    storage.buildah("bud", "--quiet", "--tag", OWN_BASE, str(context))
    display.done()


def _require_programs() -> None:
    missing = sorted(package for name, package in PROGRAMS.items() if not shutil.which(name))
    if missing:
        raise ImageBuildError(
            f"missing: {', '.join(missing)}; as root on Debian: "
            f"apt-get install --no-install-recommends {' '.join(missing)}"
        )
    if os.geteuid():
        raise ImageBuildError("building images needs root: it makes a Debian root and chroots")


def _run(command: Sequence[str], seconds: float) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise ImageBuildError(f"{command[0]} is missing") from error
    except subprocess.TimeoutExpired as error:
        raise ImageBuildError(f"{command[0]} did not end within {seconds:.0f} s") from error
    if done.returncode:
        lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()[-SHOWN:]
        raise ImageBuildError("\n".join(["the build failed; its last lines:", *lines]))
    return done.stdout
