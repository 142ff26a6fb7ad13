"""Layers of images in files: a compressed tar, and beside it the digest of the tar itself."""

import gzip
import hashlib
import io
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


def pack(folder: Path, target: Path) -> None:
    """Write the contents of a folder as a layer of its name; equal layers are equal bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, path.relative_to(folder), recursive=False, filter=_plain)
    layer = Layer.of_tar(packed.getvalue())
    _content(target, folder.name).write_bytes(layer.content)
    _digest(target, folder.name).write_text(layer.digest)


def _content(folder: Path, name: str) -> Path:
    return folder / f"{name}.tar.gz"


def _digest(folder: Path, name: str) -> Path:
    return folder / f"{name}.sha256"


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make it root's, and without a time."""
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
    return member
