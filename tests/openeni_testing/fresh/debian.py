"""Make a minimal Debian root with the README's prerequisites and nothing else.

Standard library only, like all of `make fresh`: it runs before anything is set up.
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_testing.lab.machine_facts import mounts

BUILD_SECONDS: Final = 1200
COMMAND_SECONDS: Final = 30
SHOWN: Final = 15  # last lines of a program that failed
_POCKETS: Final = ("", "-updates", "-security")
# How packages are reached; the rest of `apt-config dump` is the machine's own taste.
_REACHING: Final = re.compile(
    r"Acquire::(Check-|http|https|ftp|Retries|ForceIPv[46]|By-Hash|AllowInsecure)"
)

Stanza = Mapping[str, str]


class FreshError(Exception):
    """The run cannot continue. The text tells the user what to do."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the contents of a pristine root, except the day it is made on."""

    distro: str
    packages: tuple[str, ...]
    sources: str  # deb822
    options: tuple[str, ...]  # lines of apt.conf

    @property
    def key(self) -> str:
        """Return the name of the root in the cache."""
        parts = (self.distro, *self.packages, self.sources, *self.options)
        return f"{self.distro}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def recipe(checkout: Path, distro: str) -> Recipe:
    """Read the checkout's prerequisites and this machine's access to Debian's packages."""
    listed = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = [p.read_text() for p in listed if p.suffix in {".list", ".sources"} and p.is_file()]
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if line
    )
    return Recipe(
        distro,
        prerequisites((checkout / "README.md").read_text()),
        sources(texts, release.get("VERSION_CODENAME", ""), distro),
        options(_printed(["apt-config", "dump"])),
    )


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


def sources(texts: Iterable[str], own: str, wanted: str) -> str:
    """Return the machine's sources of Debian itself, for another suite, as deb822."""
    entries = [entry for text in texts for entry in _stanzas(text)]
    kept = [_for_suite(entry, own, wanted) for entry in entries]
    found = [entry for entry in kept if entry.get("Suites")]
    if not found:
        raise FreshError(
            f"no apt source of this machine has Debian's suite {own or '(unknown)'!r}: "
            "`make fresh` needs a Debian machine with its archive in /etc/apt/sources.list.d"
        )
    return "\n".join("".join(f"{k}: {v}\n" for k, v in entry.items()) for entry in found)


def options(dump: str) -> tuple[str, ...]:
    """Return the lines of `apt-config dump` that say how packages are reached."""
    lines = [line for line in dump.splitlines() if _REACHING.match(line)]
    return tuple(line for line in lines if not line.endswith('"";'))


def make_root(wanted: Recipe, place: Path) -> Path:
    """Return the pristine root; make it if it is missing. One is kept for each distro."""
    root = place / wanted.key
    if root.is_dir():
        return root
    if not shutil.which("mmdebstrap"):
        raise FreshError("mmdebstrap is missing: apt-get install mmdebstrap")
    unfinished = place / f"{wanted.key}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    _bootstrap(wanted, unfinished)
    for older in place.glob(f"{wanted.distro}-*"):
        if older != unfinished:
            remove_tree(older)
    unfinished.rename(root)
    return root


def _bootstrap(wanted: Recipe, root: Path) -> None:
    command = [
        *("setpriv", "--pdeathsig", "KILL", "mmdebstrap", "--mode=root", "--variant=minbase"),
        f"--include={','.join(wanted.packages)}",
        *(f"--aptopt={line}" for line in wanted.options),
        *(wanted.distro, str(root), "-"),
    ]
    try:
        done = subprocess.run(
            command,
            input=wanted.sources,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FreshError(f"mmdebstrap did not end within {BUILD_SECONDS} s") from error
    if done.returncode:
        last = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-SHOWN:])
        raise FreshError(f"mmdebstrap failed; its last lines:\n{last}")


def _printed(command: Sequence[str]) -> str:
    try:
        return subprocess.check_output(command, text=True, timeout=COMMAND_SECONDS)
    except FileNotFoundError as error:
        raise FreshError(f"{command[0]} is missing: `make fresh` needs a Debian machine") from error


def _stanzas(text: str) -> list[dict[str, str]]:
    """Read either format of apt's sources."""
    if re.search(r"^Types:", text, re.MULTILINE):
        joined = re.sub(r"\n[ \t]+", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
        fields = [
            re.findall(r"^([A-Za-z-]+):\s*(.*)$", s, re.MULTILINE) for s in joined.split("\n\n")
        ]
        return [dict(pairs) for pairs in fields if pairs]
    found = re.findall(r"^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)$", text, re.MULTILINE)
    return [
        {"Types": "deb", "URIs": uri, "Suites": suite, "Components": parts, **_signed_by(given)}
        for given, uri, suite, parts in found
    ]


def _signed_by(given: str) -> dict[str, str]:
    key = re.search(r"signed-by=(\S+)", given)
    return {"Signed-By": key[1]} if key else {}


def _for_suite(entry: Stanza, own: str, wanted: str) -> dict[str, str]:
    """Return a source for another suite, or {} if it is not Debian's own binary archive."""
    named = {f"{own}{pocket}": f"{wanted}{pocket}" for pocket in _POCKETS}
    suites = [named[suite] for suite in entry.get("Suites", "").split() if suite in named]
    alien = "main" not in entry.get("Components", "").split() or "deb" not in entry["Types"].split()
    if not own or alien or entry.get("Enabled", "yes").lower() == "no":
        return {}
    kept = {"Types": "deb", "URIs": entry["URIs"], "Suites": " ".join(suites), "Components": "main"}
    return kept | {k: v for k, v in entry.items() if k == "Signed-By"}


def remove_tree(folder: Path) -> None:
    """Remove a folder; raise FreshError if something is mounted below it."""
    for point, _ in mounts():
        if Path(point).is_relative_to(folder):
            raise FreshError(f"{point} is mounted: umount it, then remove {folder}")
    shutil.rmtree(folder, ignore_errors=True)
