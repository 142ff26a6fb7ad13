"""Assemble a layer of Debian packages, unpacked but not installed, in the build of an image.

The packages' control fields go to var/lib/dpkg/status.d, where scanners of images look for them.
"""

import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from openeni_lab.images.stages.bytecode import compile_folder

SECONDS: Final = 600
STATUS: Final = "var/lib/dpkg/status.d"
USERS: Final = (
    "root:x:0:0:root:/root:/sbin/nologin\n"
    "nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n"
)
GROUPS: Final = "root:x:0:\nnonroot:x:65532:\n"


class RootError(Exception):
    """The layer cannot be assembled. One line."""


@dataclass(frozen=True)
class Specification:
    """Contents of a layer; every list is of Debian package names, except `stripped`."""

    release: str
    packages: tuple[str, ...]
    left_out: frozenset[str]
    stripped: tuple[str, ...]  # patterns of paths

    @classmethod
    def read(cls, path: Path) -> "Specification":
        given = tomllib.loads(path.read_text())
        return cls(
            given["release"],
            tuple(given["packages"]),
            frozenset(given["left_out"]),
            tuple(given["stripped"]),
        )


def assemble(specification: str, root: Path, *below: Path) -> None:
    """Make the layer that a file beside this one lists. Raises RootError."""
    wanted = Specification.read(Path(__file__).with_name(specification))
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
    if release != wanted.release:
        raise RootError(
            f"BASE is Debian {release}, but the packages are listed for {wanted.release}: "
            f"give a BASE of {wanted.release}"
        )
    root.mkdir(parents=True)
    with TemporaryDirectory() as folder:
        _unpack(wanted.packages, Path(folder), root)
    under = [_records(layer) for layer in below]
    lacking = missing(_records(root), wanted.left_out, [text for one in under for text in one])
    if lacking:
        raise RootError(f"{specification}: neither listed nor left out: {', '.join(lacking)}")
    if not below:
        _configure(root)
    _strip(root, wanted.stripped)
    if not below:
        compile_folder(root, next((root / "usr/lib").glob("python3.*")))


def missing(
    records: Sequence[str], left_out: frozenset[str], below: Sequence[str] = ()
) -> list[str]:
    """Return the dependencies of packages that neither they nor those below provide.

    A record is a package's control fields as text.
    """
    given = (_words(text, "Package", "Provides") for text in (*records, *below))
    names = left_out.union(*given)
    groups = (
        group
        for text in records
        for line in _fields(text, "Depends", "Pre-Depends")
        for group in line.split(",")
    )
    return sorted(
        {group.strip() for group in groups if group.strip() and not names & _names(group, "|")}
    )


def _unpack(packages: Sequence[str], folder: Path, root: Path) -> None:
    # By default apt downloads as a user who cannot write into the folder.
    _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *packages], folder)
    (root / STATUS).mkdir(parents=True)
    for package in packages:
        archive = next(folder.glob(f"{package}_*.deb"))
        _run(["dpkg-deb", "--extract", str(archive), str(root)], folder)
        control = _run(["dpkg-deb", "--field", str(archive)], folder)
        (root / STATUS / package).write_text(control)


def _records(layer: Path) -> list[str]:
    return [path.read_text() for path in sorted((layer / STATUS).iterdir())]


def _strip(root: Path, patterns: Iterable[str]) -> None:
    """Remove what the patterns name, and of the documentation all but the copyright files."""
    for pattern in patterns:
        found = sorted(root.glob(pattern))
        if not found:
            raise RootError(f"nothing to strip matches {pattern}: remove it from the list")
        for path in found:
            _remove(path)
    for path in sorted(root.glob("usr/share/doc/*/*")):
        if path.name != "copyright":
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _configure(root: Path) -> None:
    """Write what maintainer scripts would have written: certificates, users, links."""
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("".join(path.read_text() for path in certificates))
    (root / "usr/lib/ssl").mkdir(parents=True, exist_ok=True)
    for name, leads_to in (("cert.pem", "certs/ca-certificates.crt"), ("certs", "certs")):
        link = root / "usr/lib/ssl" / name
        if not link.is_symlink():
            link.symlink_to(f"/etc/ssl/{leads_to}")
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUPS)
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    python = next((root / "usr/bin").glob("python3.*"))
    for name in ("python", "python3"):
        (root / "usr/bin" / name).symlink_to(python.name)
    # Runtimes name a pod's network namespace /var/run/netns/..., which is mounted on /run/netns.
    for name in ("run", "lock"):
        (root / "var" / name).rmdir()
        (root / "var" / name).symlink_to(f"/{name}" if name == "run" else f"/run/{name}")
    (root / "var/tmp").chmod(0o755)  # only /tmp is for everybody


def _fields(text: str, *names: str) -> Iterable[str]:
    joined = re.sub(r"\n[ \t]+", " ", text)
    return re.findall(rf"^(?:{'|'.join(names)}): (.*)$", joined, re.MULTILINE)


def _words(text: str, *names: str) -> set[str]:
    return {word for line in _fields(text, *names) for word in _names(line, ",")}


def _names(text: str, separator: str) -> set[str]:
    """Return the package names of a list, without versions and architectures."""
    return {re.split(r"[ :(]", part.strip())[0] for part in text.split(separator)}


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no output"]
        raise RootError(f"{command[0]} failed: {lines[-1]}")
    return done.stdout
