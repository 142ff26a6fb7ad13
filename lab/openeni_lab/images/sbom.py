"""Write an image's software bill of materials, SPDX 2.3, from the image's own contents."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final

from license_expression import ExpressionError, get_spdx_licensing
from spdx_tools.spdx.model.actor import Actor, ActorType
from spdx_tools.spdx.model.document import CreationInfo, Document
from spdx_tools.spdx.model.package import (
    ExternalPackageRef,
    ExternalPackageRefCategory,
    Package,
    PackagePurpose,
)
from spdx_tools.spdx.model.relationship import Relationship, RelationshipType
from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from spdx_tools.spdx.writer.json.json_writer import write_document_to_file

from openeni_lab.images.archive import ImageArchive

_ROOT: Final = "SPDXRef-image"
_licensing: Any = get_spdx_licensing()  # untyped


@dataclass(frozen=True, order=True)
class Component:
    """A package that an image holds."""

    kind: str  # of a package URL: `deb/debian` or `pypi`
    name: str
    version: str
    architecture: str = ""
    licence: str = ""  # an SPDX expression, or empty

    @property
    def url(self) -> str:
        """Return the package URL, https://github.com/package-url/purl-spec."""
        where = f"?arch={self.architecture}" if self.architecture else ""
        version = self.version.replace("+", "%2B").replace(":", "%3A")
        return f"pkg:{self.kind}/{self.name}@{version}{where}"


class SBOMError(Exception):
    """The library finds the document invalid."""


def components(image: ImageArchive) -> list[Component]:
    """Return the Debian and Python packages that the image says it holds, sorted.

    Those that a Python package carries in itself are among them.
    """
    debian = map(_debian, image.read("var/lib/dpkg/status.d/*").values())
    python = map(_python, image.read("*.dist-info/METADATA").values())
    return sorted({*debian, *python})


def write(image: ImageArchive, path: Path) -> None:
    """Write the document for an image, and validate it. Raises SBOMError."""
    document = _document(image, components(image))
    problems = validate_full_spdx_document(document)
    if problems:
        raise SBOMError("\n".join(problem.validation_message for problem in problems))
    write_document_to_file(document, str(path), validate=False)


def _document(image: ImageArchive, found: Iterable[Component]) -> Document:
    name, _, version = image.name.rpartition("/")[2].partition(":")
    parts = list(_packages(found))
    whole = Package(
        _ROOT,
        name,
        SpdxNoAssertion(),
        version=version,
        files_analyzed=False,
        primary_package_purpose=PackagePurpose.CONTAINER,
        comment=f"image ID {image.digest}",
    )
    created = datetime.fromisoformat(image.configuration()["created"]).replace(tzinfo=None)
    information = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id="SPDXRef-DOCUMENT",
        name=f"{name}-{version}",
        document_namespace=f"https://openeni.io/spdx/{name}/{image.digest.partition(':')[2]}",
        creators=[Actor(ActorType.TOOL, "openeni-make-images")],
        created=created,
    )
    held = [Relationship(_ROOT, RelationshipType.CONTAINS, part.spdx_id) for part in parts]
    described = Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, _ROOT)
    return Document(information, [whole, *parts], relationships=[described, *held])


def _packages(found: Iterable[Component]) -> Iterator[Package]:
    for one in found:
        yield Package(
            re.sub(r"[^A-Za-z0-9.-]", "-", f"SPDXRef-{one.kind}-{one.name}-{one.version}"),
            one.name,
            SpdxNoAssertion(),
            version=one.version,
            files_analyzed=False,
            license_concluded=SpdxNoAssertion(),
            license_declared=_parsed(one.licence),
            copyright_text=SpdxNoAssertion(),
            external_references=[
                ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", one.url)
            ],
        )


def _parsed(licence: str) -> Any:
    """Return an expression of licences that SPDX lists, or that nothing is asserted."""
    if not licence:
        return SpdxNoAssertion()
    try:
        return _licensing.parse(licence, validate=True)
    except ExpressionError:
        return SpdxNoAssertion()


def _debian(control: str) -> Component:
    fields = HeaderParser().parsestr(control)
    return Component("deb/debian", fields["Package"], fields["Version"], fields["Architecture"])


def _python(metadata: str) -> Component:
    fields = HeaderParser().parsestr(metadata)
    name = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
    licence = fields.get("License-Expression", "")
    return Component("pypi", name, fields["Version"], licence=licence)
