"""Layers of images in files: a compressed tar, and beside it the digest of the tar itself."""

import gzip
import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LEVEL: Final = 1  # a node reads a third of the bytes; more would cost more time than it saves


@dataclass(frozen=True)
class Layer:
    """A layer: `digest` is the sha256 of its tar, in hexadecimal; `content` may be compressed."""

    digest: str
    content: bytes

    @classmethod
    def of_tar(cls, tar: bytes) -> "Layer":
        """Compress a tar."""
        return cls(hashlib.sha256(tar).hexdigest(), gzip.compress(tar, LEVEL, mtime=0))

    @classmethod
    def read(cls, folder: Path, name: str) -> "Layer":
        """Read what `pack` has written."""
        return cls(_digest(folder, name).read_text(), _content(folder, name).read_bytes())


def pack(layer: Path, folder: Path) -> None:
    """Write the contents of a folder as a layer of its name; equal layers are equal bytes."""
    with (
        _content(folder, layer.name).open("wb") as file,
        gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as compressed,
    ):
        digesting = _Digesting(compressed)
        with tarfile.open(fileobj=digesting, mode="w|", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
            for path in sorted(layer.rglob("*")):
                tar.add(path, path.relative_to(layer), recursive=False, filter=_plain)
    _digest(folder, layer.name).write_text(digesting.digest.hexdigest())


def _content(folder: Path, name: str) -> Path:
    return folder / f"{name}.tar.gz"


def _digest(folder: Path, name: str) -> Path:
    return folder / f"{name}.sha256"


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make it root's, and without a time."""
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
    return member


class _Digesting:
    """A file that is written, and digested on the way."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self._file.write(content)
