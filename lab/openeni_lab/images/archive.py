"""Read and write an image's archive in the format of `docker save`."""

import hashlib
import io
import json
import tarfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from openeni_lab.images.layer import Layer


@dataclass(frozen=True)
class Image:
    """A container image by its name, and the archive to import it from."""

    name: str
    path: Path


class Manifest(msgspec.Struct, frozen=True, rename="pascal"):
    """The entry of the one image in an archive."""

    config: str
    repo_tags: list[str]
    layers: list[str]


@dataclass(frozen=True)
class ImageArchive:
    """An image in a file. Reading does not unpack it."""

    path: Path

    @property
    def digest(self) -> str:
        """Return the image's ID: the digest of its configuration, which names every layer's."""
        return f"sha256:{self._manifest().config.removesuffix('.json')}"

    @property
    def name(self) -> str:
        return self._manifest().repo_tags[0]

    def layers(self) -> list[str]:
        """Return the digests of the layers, the lowest first."""
        return [str(digest) for digest in self.configuration()["rootfs"]["diff_ids"]]

    def configuration(self) -> Any:
        """Return the image's configuration: user, environment, command, labels."""
        with tarfile.open(self.path) as outer:
            return json.loads(_content(outer, self._manifest().config))

    def files(self) -> list[tarfile.TarInfo]:
        """Return the members of all layers; a path of several layers is the last one's."""
        return list({member.name: member for _, member in self.members()}.values())

    def read(self, pattern: str) -> dict[str, str]:
        """Return the texts of the files whose paths match a pattern of PurePath."""
        return {
            member.name: _content(layer, member).decode()
            for layer, member in self.members()
            if member.isfile() and Path(member.name).match(pattern)
        }

    def unpack(self, folder: Path) -> None:
        """Unpack every layer, as root with owners and modes."""
        for layer in self._layers():
            # Debian 12's Python 3.11.2 has no filters yet; later ones warn where none is chosen.
            layer.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            layer.extractall(folder, numeric_owner=True)  # noqa: S202 - built here

    def members(self) -> Generator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        """Yield each member of each layer, with its layer, which is open until the next."""
        for layer in self._layers():
            for member in layer:
                yield layer, member

    def _layers(self) -> Generator[tarfile.TarFile]:
        names = self._manifest().layers
        with tarfile.open(self.path) as outer:
            for name in names:
                with tarfile.open(fileobj=_opened(outer, name)) as layer:
                    yield layer

    def _manifest(self) -> Manifest:
        with tarfile.open(self.path) as outer:
            content = _content(outer, "manifest.json")
        return msgspec.json.decode(content, type=tuple[Manifest])[0]


def write(target: IO[bytes], name: str, configuration: Any, layers: Sequence[Layer]) -> None:
    """Write an image of these layers, the lowest first: equal images are equal bytes.

    `configuration` is what a runtime reads (`config` of the OCI image specification).
    """
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": configuration,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
    }
    config = json.dumps(described, sort_keys=True).encode()
    members = {f"{hashlib.sha256(config).hexdigest()}.json": config}
    named = {f"{layer.digest}/layer.tar": layer.content for layer in layers}
    entry = {"Config": next(iter(members)), "RepoTags": [name], "Layers": list(named)}
    members |= named | {"manifest.json": json.dumps([entry], sort_keys=True).encode()}
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, content in members.items():
            member = tarfile.TarInfo(path)  # root's, and without a time
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _content(archive: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    with _opened(archive, member) as file:
        return file.read()


def _opened(archive: tarfile.TarFile, member: str | tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{archive.name!r}: {member} is no regular file")
    return file
