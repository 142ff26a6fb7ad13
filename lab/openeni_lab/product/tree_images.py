"""openeni's images of this source tree, made in seconds from prepared layers of packages.

They have the layers and the configuration that the Containerfile says, without the labels of a
release: `tests/images` compares the two. Each is tagged with a digest of everything in it, so it is
made once, and a change in one program leaves the other's image as it is.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from openeni_lab.images import build_root, containerfile
from openeni_lab.images.archive import Image, write
from openeni_lab.images.layer import Layer, pack
from openeni_lab.images.stages.layers import PARTS as STAGE_PARTS
from openeni_lab.layout import REPOSITORY, cache_folder
from openeni_lab.machine.isolation import ending_with_caller
from openeni_lab.product.chart import REGISTRY
from openeni_lab.product.pods import AGENT, OPERATOR
from openeni_lab.programs.cache import remove
from openeni_lab.programs.image_set import BASE, LAYERS, STAGES

SOURCES: Final = {  # the folders that each image has its own layer from
    OPERATOR: ("crds/openeni_crds", "kube/openeni_kube", "operator/openeni_operator"),
    AGENT: ("crds/openeni_crds", "kube/openeni_kube", "nodeagent/openeni_nodeagent"),
}
SECONDS: Final = 300
KEPT_SECONDS: Final = 3600  # how long an image of an earlier source is kept
SHOWN: Final = 15  # last lines of a build that failed
_CODE: Final = (
    *(STAGES / name for name in ("bytecode.py", "layers.py", "product.py")),
    *(STAGES.parent / name for name in ("archive.py", "containerfile.py", "layer.py")),
    Path(__file__),
)
TRIES: Final = 5  # while somebody writes to the tree


class TreeImageError(Exception):
    """The images of this source tree cannot be made. The text has the last lines."""


def tags(prepared: Path) -> dict[str, str]:
    """Return the tag of each image; `prepared` is the folder of the set `images`."""
    return {name: _digest(name, prepared) for name in SOURCES}


def make_tree_images(prepared: Path, cache: Path | None = None) -> tuple[Image, ...]:
    """Return both images; make those that are not in the cache. Raises TreeImageError."""
    place = cache or cache_folder()
    for _ in range(TRIES):
        before = tags(prepared)
        images = {name: _image(name, tag, place) for name, tag in before.items()}
        if all(_in_use(image.path) for image in images.values()):
            return tuple(images.values())
        _make(images, before, prepared, place)
    raise TreeImageError("the source tree changes all the time: no image of it can be made")


def _image(name: str, tag: str, place: Path) -> Image:
    full, file = f"{REGISTRY}/openeni-{name}:{tag}", f"image-openeni-{name}-{tag}.tar"
    return Image(full, place / file)


def _in_use(path: Path) -> bool:
    """Mark an archive as used now; return False if there is none."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _make(
    images: Mapping[str, Image], before: Mapping[str, str], prepared: Path, place: Path
) -> None:
    """Make the images, unless the tree has changed since `before`, which their names say."""
    stages = containerfile.read(containerfile.PATH.read_text())
    (place / "scratch").mkdir(parents=True, exist_ok=True)
    _remove_older(place / "scratch", "tree-*")
    with tempfile.TemporaryDirectory(prefix="tree-", dir=place / "scratch") as folder:
        scratch = Path(folder)
        _make_own_layers(prepared, scratch)
        if tags(prepared) != before:
            return
        for name, image in images.items():
            stage = stages[name]
            layers = [_layer(layer, prepared, scratch) for layer in stage.layers]
            unfinished = scratch / image.path.name
            with unfinished.open("wb") as file:
                write(file, image.name, stage.configuration, layers)
                file.flush()
                os.fsync(file.fileno())  # the name must not reach the disk before the content
            unfinished.rename(image.path)
            _remove_older(place, f"image-openeni-{name}-*.tar")


def _make_own_layers(prepared: Path, scratch: Path) -> None:
    source, out = scratch / "source", scratch / "out"
    out.mkdir()
    for folder in sorted({folder for folders in SOURCES.values() for folder in folders}):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / folder, source / Path(folder).name, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", source)
    mounts = (
        f"{REPOSITORY / 'lab'}:/run/build:ro",
        f"{source}:/run/source:ro",
        f"{out}:/run/out",
    )
    argv = build_root.command(prepared / BASE, mounts, build_root.layers_command("product"))
    try:
        done = subprocess.run(
            [*ending_with_caller(), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TreeImageError(f"openeni's layers were not made within {SECONDS} s") from error
    if done.returncode:
        lines = done.stdout.strip().splitlines()[-SHOWN:]
        raise TreeImageError("\n".join(["openeni's layers cannot be made:", *lines]))
    (scratch / LAYERS).mkdir()
    for part in STAGE_PARTS:
        pack(out / part, scratch / LAYERS)


def _layer(name: str, prepared: Path, scratch: Path) -> Layer:
    own = name in STAGE_PARTS
    return Layer.read((scratch if own else prepared) / LAYERS, name)


def _remove_older(folder: Path, pattern: str) -> None:
    """Remove what a killed build has left, and images that no lab has asked for lately."""
    for old in folder.glob(pattern):
        try:
            if time.time() - old.stat().st_mtime > KEPT_SECONDS:
                remove(old)
        except FileNotFoundError:  # removed by another lab
            continue


def _digest(name: str, prepared: Path) -> str:
    digest = hashlib.sha256(prepared.name.encode())
    for path in _inputs(name):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(REPOSITORY)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _inputs(name: str) -> Iterator[Path]:
    yield containerfile.PATH
    yield REPOSITORY / "pyproject.toml"
    yield from _CODE
    for folder in SOURCES[name]:
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path
