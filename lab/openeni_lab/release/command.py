"""`make release`: check that all agrees, build all files of a release, push and sign nothing."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Final

from openeni_lab import progress
from openeni_lab.images.build import ImageBuildError, Source, build
from openeni_lab.images.command import TARGET as IMAGES
from openeni_lab.images.debian_archive import ArchiveError
from openeni_lab.images.sbom import SBOMError
from openeni_lab.layout import REPOSITORY
from openeni_lab.product.chart import ChartError
from openeni_lab.programs import prepared
from openeni_lab.release import artifacts, checkout
from openeni_lab.release.artifacts import Publication
from openeni_lab.release.changelog import UNRELEASED, section_of, with_absolute_links
from openeni_lab.release.checkout import CheckoutError
from openeni_lab.release.consistency import Checkout, problems

FOLDER: Final = REPOSITORY / "build" / "release"
_END: Final = """\
Nothing was pushed or signed; docs/release.md says what the publisher does next."""


def main() -> int:
    """Build a release; return 0, or 1 after messages that say what to do."""
    given = _options().parse_args()
    publication = Publication(given.source, given.builder, given.base)
    try:
        helm = prepared.read(["helm"]).built.bin("helm")
        found = checkout.read(helm)
        wrong = problems(found, rehearsal=given.rehearsal)
        if wrong:
            sys.stderr.write("".join(f"release: {line}\n" for line in wrong))
            return 1
        _make(helm, notes(found, given.source, rehearsal=given.rehearsal), publication)
    except (
        ArchiveError,
        ChartError,
        CheckoutError,
        ImageBuildError,
        SBOMError,
        prepared.NotPreparedError,
    ) as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    return 0


def notes(found: Checkout, source: str, *, rehearsal: bool) -> str:
    """Return the notes: the version's section of the changelog, with links into `source`."""
    section = section_of(found.changelog, found.version)
    if section is None and rehearsal:
        section = section_of(found.changelog, UNRELEASED)
    text = section.text if section else ""
    if source:
        text = with_absolute_links(text, lambda path: f"{source}/blob/v{found.version}/{path}")
    title = f"openeni {found.version}" + (", a rehearsal" if rehearsal else "")
    return f"# {title}\n\n{text}\n"


def _make(helm: Path, text: str, publication: Publication) -> None:
    source = Source.read()
    with progress.display() as display:
        images = build(IMAGES, source, display, publication.base)
    shutil.rmtree(FOLDER, ignore_errors=True)
    artifacts.write(FOLDER, images, helm=helm, source=source, notes=text, publication=publication)
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.stat().st_size:>13,}  {path.relative_to(REPOSITORY)}")
    print(_END)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument(
        "--rehearsal", action="store_true", help="of changed files, and of what is unreleased"
    )
    parser.add_argument("--source", default="", help="the repository's address, for links")
    parser.add_argument("--builder", default="", help="a URI of who builds, for the provenance")
    parser.add_argument("--base", default="", help="an image of Debian 13 for the build stages")
    return parser


if __name__ == "__main__":
    sys.exit(main())
