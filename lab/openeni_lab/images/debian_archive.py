"""Reach Debian's packages as this machine does, and make a root of them for a suite.

Standard library only: `make fresh` uses it before anything is set up.
"""

import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.machine.isolation import ending_with_caller

BUILD_SECONDS: Final = 1200
COMMAND_SECONDS: Final = 30
SHOWN: Final = 15  # last lines of a program that failed
_POCKETS: Final = ("", "-updates", "-security")
# How packages are reached; the rest of `apt-config dump` is the machine's own taste.
_REACHING: Final = re.compile(
    r"Acquire::(Check-|http|https|ftp|Retries|ForceIPv[46]|By-Hash|AllowInsecure)"
)
# mmdebstrap writes these before it runs the hook, readable by everybody.
_HIDE_ACCESS: Final = (
    'find "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1"/etc/apt/sources.list* -type f '
    "-exec chmod 600 {} +"
)
# sources.list(5); a flat source has no components.
_ONE_LINE: Final = r"^deb[ \t]+(?:\[([^\]\n]*)\][ \t]+)?(\S+)[ \t]+(\S+)(?:[ \t]+(.+))?$"

Stanza = Mapping[str, str]


class ArchiveError(Exception):
    """Debian's packages cannot be reached, or no root can be made of them. Says what to do."""


@dataclass(frozen=True)
class DebianArchive:
    """A suite of Debian and the way this machine reaches its packages."""

    suite: str
    sources: str  # deb822
    options: tuple[str, ...]  # lines of apt.conf


def machine_archive(suite: str) -> DebianArchive:
    """Read this machine's access to Debian's packages, for a suite that may be another."""
    listed = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = [p.read_text() for p in listed if p.suffix in {".list", ".sources"} and p.is_file()]
    own = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return DebianArchive(
        suite, sources(texts, own, suite), options(_printed(["apt-config", "dump"]))
    )


def sources(texts: Iterable[str], own: str, wanted: str) -> str:
    """Return the machine's sources of Debian itself, for another suite, as deb822."""
    entries = [entry for text in texts for entry in _stanzas(text)]
    kept = [_for_suite(entry, own, wanted) for entry in entries]
    found = [entry for entry in kept if entry.get("Suites")]
    if not found:
        raise ArchiveError(
            f"no apt source of this machine has Debian's suite {own or '(unknown)'!r}: "
            "a Debian machine is needed, with its archive in /etc/apt/sources.list.d"
        )
    return _deb822(found)


def backports(archive: DebianArchive) -> DebianArchive:
    """Return the backports of a suite. Raises ArchiveError if the sources lack the suite."""
    suite = f"{archive.suite}-backports"
    entries = [e for e in _stanzas(archive.sources) if archive.suite in e["Suites"].split()]
    if not entries:
        raise ArchiveError(f"no apt source of this machine has Debian's {archive.suite}")
    return DebianArchive(suite, _deb822(e | {"Suites": suite} for e in entries), archive.options)


def options(dump: str) -> tuple[str, ...]:
    """Return the lines of `apt-config dump` that say how packages are reached."""
    lines = [line for line in dump.splitlines() if _REACHING.match(line)]
    return tuple(line for line in lines if not line.endswith('"";'))


def bootstrap_command(
    archive: DebianArchive,
    packages: Iterable[str],
    root: Path,
    folder: Path,
    excluded: Iterable[str] = (),
) -> list[str]:
    """Return the command that makes a minimal root with more packages.

    `root` is a folder, or an archive named *.tar. Files of packages that match a pattern of
    `excluded` are left out. Sources and options of apt may have passwords: the command reads them
    from files that are written into `folder`, and the root keeps both for root alone.
    """
    listed, settings = folder / "debian.sources", folder / "apt.conf"
    write_private(listed, archive.sources)
    write_private(settings, "".join(f"{line}\n" for line in archive.options))
    return [
        *("mmdebstrap", "--mode=root", "--variant=minbase"),
        f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in excluded),
        *(f"--aptopt={settings}", f"--setup-hook={_HIDE_ACCESS}"),
        *(archive.suite, str(root), str(listed)),
    ]


def bootstrap(
    archive: DebianArchive, packages: Iterable[str], root: Path, excluded: Iterable[str] = ()
) -> None:
    """Make a root as `bootstrap_command` says. Raises ArchiveError."""
    if not shutil.which("mmdebstrap"):
        raise ArchiveError("mmdebstrap is missing: apt-get install mmdebstrap")
    try:
        with tempfile.TemporaryDirectory() as folder:
            command = bootstrap_command(archive, packages, root, Path(folder), excluded)
            done = subprocess.run(
                [*ending_with_caller("--mount"), *command],  # what it mounts must end with it
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=BUILD_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise ArchiveError(f"mmdebstrap did not end within {BUILD_SECONDS} s") from error
    if done.returncode:
        last = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-SHOWN:])
        raise ArchiveError(f"mmdebstrap failed; its last lines:\n{last}")


def write_private(path: Path, text: str) -> None:
    """Write a file anew; only its owner can read it at any time."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _printed(command: Sequence[str]) -> str:
    try:
        return subprocess.check_output(command, text=True, timeout=COMMAND_SECONDS)
    except FileNotFoundError as error:
        raise ArchiveError(f"{command[0]} is missing: a Debian machine is needed") from error


def _deb822(entries: Iterable[Stanza]) -> str:
    return "\n".join("".join(f"{k}: {v}\n" for k, v in entry.items()) for entry in entries)


def _stanzas(text: str) -> list[dict[str, str]]:
    """Read either format of apt's sources."""
    if re.search(r"^Types:", text, re.MULTILINE):
        joined = re.sub(r"\n[ \t]+", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
        fields = [
            re.findall(r"^([A-Za-z-]+):\s*(.*)$", s, re.MULTILINE) for s in joined.split("\n\n")
        ]
        return [dict(pairs) for pairs in fields if pairs]
    found = re.findall(_ONE_LINE, text, re.MULTILINE)
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
