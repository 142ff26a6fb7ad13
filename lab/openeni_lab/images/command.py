"""`make images`: build both images, write their SBOMs, print sizes, digests and tags."""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Final

from openeni_lab import progress
from openeni_lab.images import sbom
from openeni_lab.images.archive import ImageArchive
from openeni_lab.images.build import ImageBuildError, Source, build
from openeni_lab.images.debian_archive import ArchiveError
from openeni_lab.layout import REPOSITORY

TARGET: Final = REPOSITORY / "build" / "images"
MB: Final = 1_000_000
ID_DIGITS: Final = 12  # as `docker images` shows


def main() -> int:
    """Build; return 0, or 1 after a message that says what to do."""
    parser = argparse.ArgumentParser(prog="make images", description=__doc__)
    parser.add_argument("--base", default="", help="an image of Debian 13 for the build stages")
    base = parser.parse_args().base
    try:
        with progress.display() as display:
            images = build(TARGET, Source.read(), display, base)
    except (ImageBuildError, ArchiveError) as error:
        sys.stderr.write(f"images: {error}\n")
        return 1
    for image in images:
        sbom.write(image, image.path.with_suffix(".spdx.json"))
        print(describe(image))
    return 0


def describe(image: ImageArchive) -> str:
    """Return the image's name, sizes, digests and tag as lines."""
    unpacked = sum(member.size for member in image.files())
    with image.path.open("rb") as file:
        archived = hashlib.file_digest(file, "sha256").hexdigest()
    return "\n".join(
        [
            f"{image.name}",
            f"  image ID    {image.digest}",
            f"  tag to push {tag(image)}",
            f"  unpacked    {unpacked / MB:.0f} MB in {len(image.layers())} layers",
            f"  archive     {_shown(image.path)}, {image.path.stat().st_size / MB:.0f} MB",
            f"  its digest  sha256:{archived}",
        ]
    )


def tag(image: ImageArchive) -> str:
    """Return a tag that no other build has: the version, and digits of the image's ID."""
    version = image.name.rpartition(":")[2]
    return f"{version}-{image.digest.removeprefix('sha256:')[:ID_DIGITS]}"


def _shown(path: Path) -> Path:
    return path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path


if __name__ == "__main__":
    sys.exit(main())
