"""Make a minimal Debian root with the README's prerequisites and nothing else.

Standard library only, like all of `make fresh`: it runs before anything is set up.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from openeni_lab.images.debian_archive import DebianArchive, bootstrap, machine_archive
from openeni_testing.lab.machine_facts import mounts


class FreshError(Exception):
    """The run cannot continue. The text tells the user what to do."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the contents of a pristine root, except the day it is made on."""

    packages: tuple[str, ...]
    archive: DebianArchive

    @property
    def distro(self) -> str:
        return self.archive.suite

    @property
    def key(self) -> str:
        """Return the name of the root in the cache."""
        parts = (*self.packages, self.archive)
        return f"{self.distro}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def recipe(checkout: Path, distro: str) -> Recipe:
    """Read the checkout's prerequisites and this machine's access to Debian's packages."""
    return Recipe(prerequisites((checkout / "README.md").read_text()), machine_archive(distro))


def prerequisites(readme: str) -> tuple[str, ...]:
    """Return the packages of the one `apt-get install` line in the README's "Try it"."""
    section = re.search(r"^## Try it.*?(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"apt-get install ([^\n`#]+)", section.group() if section else "")
    if len(lines) != 1:
        raise FreshError(
            f'README.md: {len(lines)} lines with `apt-get install` in "Try it"; '
            "one must name every prerequisite"
        )
    return tuple(word for word in lines[0].split() if not word.startswith("-"))


def make_root(wanted: Recipe, place: Path) -> Path:
    """Return the pristine root; make it if it is missing. One is kept for each distro."""
    root = place / wanted.key
    if root.is_dir():
        return root
    unfinished = place / f"{wanted.key}.new"
    remove_tree(unfinished)
    bootstrap(wanted.archive, wanted.packages, unfinished)
    for older in place.glob(f"{wanted.distro}-*"):
        if older != unfinished:
            remove_tree(older)
    unfinished.rename(root)
    return root


def remove_tree(folder: Path) -> None:
    """Remove a folder; raise FreshError if something is mounted below it."""
    for point, _ in mounts():
        if Path(point).is_relative_to(folder):
            raise FreshError(f"{point} is mounted: umount it, then remove {folder}")
    shutil.rmtree(folder, ignore_errors=True)
