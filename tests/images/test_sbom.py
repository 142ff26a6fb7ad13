"""The SBOM of an image, made from what the image says of itself."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from openeni_lab.images import sbom
from openeni_lab.images.archive import ImageArchive
from openeni_lab.images.sbom import Component

PACKAGES = "usr/local/lib/python3.13/dist-packages"
DEBIAN = "Package: libc6\nVersion: 1:2.41-12+deb13u5\nArchitecture: arm64\nDescription: C\n more\n"
PYTHON = "Metadata-Version: 2.4\nName: Some_Thing\nVersion: 2\nLicense-Expression: {}\n\nText: x\n"


def archive(folder: Path, *layers: Mapping[str, str]) -> ImageArchive:
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = [{"Config": "abc.json", "RepoTags": ["localhost/thing:1"], "Layers": names}]
    configuration = json.dumps({"created": "2026-01-02T03:04:05Z"}).encode()
    files = dict(zip(names, (tar(_encoded(layer)) for layer in layers), strict=True))
    files |= {"manifest.json": json.dumps(manifest).encode(), "abc.json": configuration}
    (folder / "image.tar").write_bytes(tar(files))
    return ImageArchive(folder / "image.tar")


def tar(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as written:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            written.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}


def test_the_packages_of_every_layer_are_found(tmp_path: Path) -> None:
    image = archive(
        tmp_path,
        {"var/lib/dpkg/status.d/libc6": DEBIAN, "etc/passwd": "root"},
        {f"{PACKAGES}/some_thing-2.dist-info/METADATA": PYTHON.format("MIT")},
    )
    assert sbom.components(image) == [
        Component("deb/debian", "libc6", "1:2.41-12+deb13u5", "arm64"),
        Component("pypi", "some-thing", "2", licence="MIT"),
    ]
    assert sbom.components(image)[0].url == (
        "pkg:deb/debian/libc6@1%3A2.41-12%2Bdeb13u5?arch=arm64"
    )


@pytest.mark.parametrize(
    ("licence", "declared"),
    [
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("Own", "NOASSERTION"),
        ("MIT AND", "NOASSERTION"),
    ],
)
def test_the_document_is_valid_and_asserts_no_licence_that_spdx_does_not_know(
    tmp_path: Path, licence: str, declared: str
) -> None:
    image = archive(tmp_path, {"a.dist-info/METADATA": PYTHON.format(licence)})
    sbom.write(image, tmp_path / "image.spdx.json")
    document = parse_file(str(tmp_path / "image.spdx.json"))
    assert validate_full_spdx_document(document) == []
    assert [str(package.license_declared) for package in document.packages][1] == declared


def test_an_image_of_the_same_contents_has_the_same_document(tmp_path: Path) -> None:
    image = archive(tmp_path, {"a.dist-info/METADATA": PYTHON.format("MIT")})
    texts: list[str] = []
    for name in ("one.spdx.json", "two.spdx.json"):
        sbom.write(image, tmp_path / name)
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]


def test_a_file_of_two_layers_is_the_upper_ones(tmp_path: Path) -> None:
    image = archive(tmp_path, {"a": "1", "b": "1"}, {"a": "22"})
    assert sorted((member.name, member.size) for member in image.files()) == [("a", 2), ("b", 1)]
    assert image.read("a") == {"a": "22"}
