"""The container images that the lab's pods run, made here from busybox: no registry is needed.

Archives in the form of `docker save`, which `ctr images import` reads, and the same bytes for the
same contents. The program is the machine's static busybox (Debian: busybox-static).
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.layout import cache_folder

PAUSE: Final = "openeni.lab/pause:1"
WEB: Final = "openeni.lab/web:1"
APPLETS_SECONDS: Final = 20

# The page is the pod's name, made when it starts; `exec` leaves the server as process 1, which
# gets SIGTERM's default action only with a handler, so the shell stays and ends it.
_SERVE: Final = (
    "hostname > /www/index.html; trap 'kill $!; exit 0' TERM INT; httpd -f -p 80 -h /www & wait $!"
)
_SLEEP: Final = "trap 'exit 0' TERM INT; sleep 2147483647 & wait $!"


class ImageError(Exception):
    """An image cannot be made; one line."""


@dataclass(frozen=True)
class Image:
    """A container image and the file to import it from."""

    name: str
    path: Path


@dataclass(frozen=True)
class Content:
    """What a container of an image runs, on a root of busybox and empty folders."""

    name: str
    command: tuple[str, ...]
    folders: tuple[str, ...] = ("dev", "etc", "proc", "sys", "tmp", "var", "www")


CONTENTS: Final = (
    Content(PAUSE, ("/bin/sh", "-c", _SLEEP)),
    Content(WEB, ("/bin/sh", "-c", _SERVE)),
)


def make_images(cache: Path | None = None) -> tuple[Image, ...]:
    """The archive of every image, made if it is not in the cache. ImageError without busybox."""
    busybox, applets = _busybox()
    return tuple(_make(content, busybox, applets, cache or cache_folder()) for content in CONTENTS)


def _make(content: Content, busybox: bytes, applets: Sequence[str], cache: Path) -> Image:
    tar = archive(content, busybox, applets)
    short = content.name.split("/")[1].split(":")[0]
    path = cache / f"image-{short}-{hashlib.sha256(tar).hexdigest()[:8]}.tar"
    if not path.exists():
        _write(path, tar)
    return Image(content.name, path)


def archive(image: Content, busybox: bytes, applets: Sequence[str]) -> bytes:
    """The image as one tar file: a layer, its configuration, and the list that names both."""
    layer = _layer(image, busybox, applets)
    layer_digest = hashlib.sha256(layer).hexdigest()
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": image.command, "Env": ["PATH=/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
    }
    config = json.dumps(configuration, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{layer_digest}/layer.tar"
    entry = {"Config": config_name, "RepoTags": [image.name], "Layers": [layer_name]}
    listing = json.dumps([entry], sort_keys=True).encode()
    files = {config_name: config, layer_name: layer, "manifest.json": listing}
    return _tar([(_member(name), content) for name, content in files.items()])


def _layer(image: Content, busybox: bytes, applets: Sequence[str]) -> bytes:
    members = [(_member(name, tarfile.DIRTYPE, 0o755), b"") for name in ("bin", *image.folders)]
    members.append((_member("bin/busybox", mode=0o755), busybox))
    links = [_member(f"bin/{name}", tarfile.SYMTYPE, link="busybox") for name in sorted(applets)]
    return _tar([*members, *((link, b"") for link in links)])


def _member(
    name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = ""
) -> tarfile.TarInfo:
    """A member of root's without a time, so that the same image has the same bytes."""
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


def _busybox() -> tuple[bytes, list[str]]:
    """The program, and the names that it answers to."""
    found = shutil.which("busybox")
    if not found:
        raise ImageError("busybox is missing: apt-get install busybox-static")
    asked = [found, "--list"]
    told = subprocess.run(
        asked, capture_output=True, text=True, timeout=APPLETS_SECONDS, check=True
    ).stdout
    return Path(found).read_bytes(), [name for name in told.split() if name != "busybox"]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.rename(path)
