"""Write the files of a release into a folder: images, charts, manifests, and what describes them.

The same commit gives the same bytes, as far as Debian's archive has the same packages.
"""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final

from openeni_lab.images import sbom
from openeni_lab.images.archive import ImageArchive
from openeni_lab.images.build import Source
from openeni_lab.images.command import tag
from openeni_lab.layout import REPOSITORY
from openeni_lab.product import chart, manifests
from openeni_lab.release import provenance
from openeni_lab.release.checkout import LOCKS
from openeni_lab.release.provenance import Build

CHARTS: Final = (chart.CHART, chart.CHART / "charts" / "openeni-crds")
MANIFESTS: Final = "openeni.yaml"
NOTES: Final = "RELEASE-NOTES.md"
STATEMENT: Final = "provenance.json"
ENVELOPE: Final = "provenance.dsse.json"
SUMS: Final = "SHA256SUMS"
HELM_SECONDS: Final = 60


@dataclass(frozen=True)
class Publication:
    """What the publisher says of a release; each may be empty."""

    source: str = ""  # the repository's address
    builder: str = ""  # who built it, as a URI
    base: str = ""  # the image of the build stage


def write(
    folder: Path,
    images: Sequence[ImageArchive],
    *,
    helm: Path,
    source: Source,
    notes: str,
    publication: Publication,
) -> None:
    """Write every file of the release into an empty folder. Raises SBOMError, or ChartError."""
    folder.mkdir(parents=True)
    for image in images:
        stem = image.name.rpartition("/")[2].replace(":", "-")
        _link(image.path, folder / f"{stem}.tar")
        sbom.write(image, folder / f"{stem}.spdx.json")
    for place in CHARTS:
        package_chart(helm, place, folder, source.seconds)
    shutil.copy(REPOSITORY / manifests.PATH, folder / MANIFESTS)
    (folder / NOTES).write_text(f"{notes}\n{_pushed(images)}")
    build = Build(
        source.version,
        source.revision,
        publication.source,
        publication.base,
        publication.builder,
        {name: digest(REPOSITORY / name) for name in LOCKS},
        {path.name: digest(path) for path in sorted(folder.iterdir())},
    )
    statement = provenance.text(provenance.statement(build))
    (folder / STATEMENT).write_text(statement)
    (folder / ENVELOPE).write_text(provenance.text(provenance.envelope(statement.encode())))
    (folder / SUMS).write_text("".join(_sums(folder)))


def package_chart(helm: Path, place: Path, folder: Path, seconds: int) -> None:
    """Package a chart, whose files get this time: it is in the archive. Raises ChartError."""
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / place.name
        shutil.copytree(place, copied)
        for path in (copied, *copied.rglob("*")):
            os.utime(path, (seconds, seconds))
        done = subprocess.run(
            [str(helm), "package", str(copied), "--destination", str(folder)],
            env={**os.environ, **chart.environment(Path(scratch) / "helm")},
            capture_output=True,
            text=True,
            timeout=HELM_SECONDS,
            check=False,
        )
    if done.returncode:
        raise chart.ChartError(f"helm package {place.name}: {done.stderr.strip()}")
    sort_archive(Path(done.stdout.rpartition(": ")[2].strip()), seconds)


def sort_archive(archive: Path, seconds: int) -> None:
    """Write an archive anew with its files in order; Helm has those of sub-charts in any order."""
    with tarfile.open(archive) as read:
        members = sorted(read.getmembers(), key=attrgetter("name"))
        bodies = [read.extractfile(member) for member in members]
        files = [(m, body.read() if body else b"") for m, body in zip(members, bodies, strict=True)]
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=seconds) as packed,
        tarfile.open(fileobj=packed, mode="w") as written,
    ):
        for member, content in files:
            written.addfile(member, io.BytesIO(content))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except OSError:  # on another file system
        shutil.copy(path, target)


def _pushed(images: Sequence[ImageArchive]) -> str:
    """Return the tags of the images, as the notes have them."""
    rows = "".join(
        f"| `{image.name.rpartition('/')[2].partition(':')[0]}` | `{tag(image)}` |\n"
        for image in images
    )
    return f"## Images\n\n| image | tag to push |\n|---|---|\n{rows}"


def _sums(folder: Path) -> Iterator[str]:
    """Yield lines as `sha256sum` prints and checks them."""
    yield from (f"{digest(path)}  {path.name}\n" for path in sorted(folder.iterdir()))
