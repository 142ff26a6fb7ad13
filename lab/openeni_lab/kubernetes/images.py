"""The lab's container images, built from static programs without a registry.

They are archives in the format of `docker save`, which `ctr images import` reads. The same contents
give the same bytes. Those of openeni are made by `openeni_lab.images`.
"""

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.images.archive import Image, write
from openeni_lab.images.layer import Layer
from openeni_lab.layout import cache_folder

PAUSE: Final = "openeni.lab/pause:1"
WEB: Final = "openeni.lab/web:1"
COREDNS: Final = "openeni.lab/coredns:1"
NETWORK_POLICIES: Final = "openeni.lab/kube-network-policies:1"
APPLETS_SECONDS: Final = 20

# The page is the pod's name. The shell stays process 1 and ends the server on SIGTERM: the server
# itself has no handler, and process 1 ignores signals without one.
_SERVE: Final = (
    "hostname > /www/index.html; trap 'kill $!; exit 0' TERM INT; httpd -f -p 80 -h /www & wait $!"
)
_SLEEP: Final = "trap 'exit 0' TERM INT; sleep 2147483647 & wait $!"


class ImageError(Exception):
    """An image cannot be built. One line."""


@dataclass(frozen=True)
class ImageProgram:
    """A program in an image's /bin, and further names that link to it."""

    name: str
    content: bytes
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageContent:
    """The contents of an image: one program, empty folders, and the command to run."""

    name: str
    command: tuple[str, ...]
    program: ImageProgram
    folders: tuple[str, ...] = ("dev", "etc", "proc", "sys", "tmp", "var", "www")


def make_images(program: Callable[[str], Path], cache: Path | None = None) -> tuple[Image, ...]:
    """Return every image; build the archives that are not in the cache.

    `program` returns the path of the static `busybox` and `coredns`. Raises ImageError if busybox
    does not run.
    """
    busybox = _busybox(program("busybox"))
    contents = (
        ImageContent(PAUSE, ("/bin/sh", "-c", _SLEEP), busybox),
        ImageContent(WEB, ("/bin/sh", "-c", _SERVE), busybox),
        _coredns(program("coredns")),
    )
    return tuple(_make(content, cache or cache_folder()) for content in contents)


def make_network_policies(program: Path, cache: Path | None = None) -> Image:
    """Return the image of the engine for NetworkPolicies, which the sub-chart's pods run."""
    netpol = ImageProgram("netpol", program.read_bytes())
    content = ImageContent(NETWORK_POLICIES, ("/bin/netpol",), netpol, ("proc", "sys", "tmp"))
    return _make(content, cache or cache_folder())


def _make(image: ImageContent, cache: Path) -> Image:
    tar = _layer(image)
    configuration = {"Cmd": image.command, "Env": ["PATH=/bin"], "WorkingDir": "/"}
    key = hashlib.sha256(repr((image.name, configuration)).encode() + tar).hexdigest()[:8]
    path = cache / f"image-{image.name.split('/')[1].split(':')[0]}-{key}.tar"
    if not path.exists():
        _write(path, image.name, configuration, Layer.of_tar(tar))
    return Image(image.name, path)


def _layer(image: ImageContent) -> bytes:
    program = image.program
    members = [(_member(name, tarfile.DIRTYPE, 0o755), b"") for name in ("bin", *image.folders)]
    members.append((_member(f"bin/{program.name}", mode=0o755), program.content))
    links = (_member(f"bin/{n}", tarfile.SYMTYPE, link=program.name) for n in sorted(program.links))
    return _tar([*members, *((link, b"") for link in links)])


def _member(
    name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = ""
) -> tarfile.TarInfo:
    """Return a tar member owned by root and without a time: equal images have equal bytes."""
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.linkname = kind, mode, link
    return member


def _tar(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _busybox(path: Path) -> ImageProgram:
    """Return busybox and its applets."""
    try:
        done = subprocess.run(
            [str(path), "--list"],
            capture_output=True,
            text=True,
            timeout=APPLETS_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ImageError(f"busybox does not run: {error}") from error
    names = tuple(name for name in done.stdout.split() if name != "busybox")
    return ImageProgram("busybox", path.read_bytes(), names)


def _coredns(path: Path) -> ImageContent:
    """Return the image of CoreDNS, whose configuration the pod mounts."""
    command = ("/bin/coredns", "-conf", "/etc/coredns/Corefile")
    return ImageContent(
        COREDNS, command, ImageProgram("coredns", path.read_bytes()), ("etc", "proc", "sys")
    )


def _write(path: Path, name: str, configuration: Mapping[str, object], layer: Layer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        write(file, name, configuration, [layer])
        file.flush()
        os.fsync(file.fileno())  # the name must not reach the disk before the content
    unfinished.rename(path)
