"""Find what a run of `make fresh` left in its root, beyond what it may leave.

Standard library only. Packages stay installed and caches stay filled; everything else that was not
there before is a remainder, and every exception is named here.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

# Below the home folder: caches that pip, uv, pyright and Go keep for the next time.
HOME_CACHES: Final = (
    ".cache/pip",
    ".cache/uv",
    ".cache/pyright-python",
    ".cache/python-entrypoints",  # stevedore's, of tests that use OpenStack's client
    ".config/go/telemetry",
)
PYTEST: Final = "/tmp/pytest-of-root"  # noqa: S108 - folders of its last three runs
# What apt and dpkg keep about packages, and what their triggers make of all that is installed.
_PACKAGE_STATE: Final = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/cache/ldconfig",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/log/alternatives.log",
    "/var/log/apt",
    "/var/log/dpkg.log",
)
# What maintainer scripts make that no package lists.
_MADE_BY_PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "ca-certificates": ("/etc/ssl/certs", "/etc/ca-certificates.conf"),
    "libwrap0": ("/etc/hosts.allow", "/etc/hosts.deny"),
    "netbase": ("/etc/networks",),
    "sgml-base": ("/etc/sgml", "/usr/local/share/sgml", "/var/lib/sgml-base"),
    # A service that the package does not enable; the link that enabled one would be named.
    "nftables": ("/var/lib/systemd/deb-systemd-helper-enabled/nftables.service.dsh-also",),
}
# Python compiles a module where it lies when it first imports it.
_COMPILED: Final = re.compile(r"/usr/(lib|share)/python3[^ ]*/__pycache__(/[^/]+\.pyc)?")
# Debian's folders for programs and libraries are links into /usr; packages list both names.
_MERGED: Final = re.compile(r"^/(s?bin|lib(32|64|x32)?)/")


class Stamp(NamedTuple):
    """The properties of a file that change with it."""

    mode: int
    owner: tuple[int, int]
    size: int
    written: int
    link: str


@dataclass(frozen=True)
class Installed:
    """The packages of a root."""

    versions: Mapping[str, str]
    asked_for: frozenset[str]  # the rest came along as dependencies
    files: Mapping[str, frozenset[str]]


def snapshot(root: Path, prefix: str = "") -> dict[str, Stamp]:
    """Return the stamps of everything on the file system of `root`, which is called `prefix`."""
    found: dict[str, Stamp] = {}
    folders = [root]
    while folders:
        for entry in os.scandir(folders.pop()):
            state = entry.stat(follow_symlinks=False)
            name = f"{prefix}/{Path(entry.path).relative_to(root)}"
            found[name] = _stamp(Path(entry.path), state)
            if stat.S_ISDIR(state.st_mode):
                folders.append(Path(entry.path))
    return found


def changes(before: Mapping[str, Stamp], after: Mapping[str, Stamp]) -> dict[str, str]:
    """Return `new`, `gone` or `other` for every path that has changed."""
    found = dict.fromkeys(before.keys() - after.keys(), "gone")
    for path, stamp in after.items():
        if before.get(path) != stamp:
            found[path] = "other" if path in before else "new"
    return found


def installed(root: Path) -> Installed:
    """Read dpkg's and apt's own records."""
    state = root / "var/lib/dpkg"
    entries = _records(state / "status")
    versions = {e["Package"]: e["Version"] for e in entries if " installed" in e["Status"]}
    automatic = {
        entry["Package"]
        for entry in _records(root / "var/lib/apt/extended_states")
        if entry.get("Auto-Installed") == "1"
    }
    files: dict[str, frozenset[str]] = {}
    for listed in (state / "info").glob("*.list"):
        names = (_MERGED.sub(r"/usr/\1/", line) for line in listed.read_text().splitlines())
        files[listed.stem.partition(":")[0]] = frozenset(names)
    return Installed(versions, frozenset(versions.keys() - automatic), files)


def remainders(
    found: Mapping[str, str],
    after: Mapping[str, Stamp],
    packages: Iterable[str],
    files: Installed,
    allowed: Iterable[str],
) -> list[str]:
    """Return a line for every change that neither a package nor an allowed place explains."""
    names = set(packages)
    owned = frozenset[str]().union(*(files.files.get(name, frozenset()) for name in names))
    made = (place for name in names for place in _MADE_BY_PACKAGES.get(name, ()))
    places = (*_PACKAGE_STATE, *made, *allowed)

    def explained(path: str) -> bool:
        return (
            path in owned
            or any(path == place or path.startswith(f"{place}/") for place in places)
            or bool(_COMPILED.fullmatch(path))
            or (path in after and after[path].link.startswith("/etc/alternatives/"))
        )

    left = {path: how for path, how in sorted(found.items()) if not explained(path)}
    return [
        f"file: {how}: {path}"
        for path, how in left.items()
        if left.get(str(Path(path).parent)) != "new"  # a new folder speaks for what is in it
    ]


def touched(before: Installed, after: Installed) -> set[str]:
    """Return the packages that are new or of another version."""
    return {
        name for name, version in after.versions.items() if before.versions.get(name) != version
    }


def unannounced(before: Installed, after: Installed, words: Iterable[str]) -> list[str]:
    """Return a line for every package that was requested but not announced to the user."""
    new = after.asked_for - before.versions.keys() - set(words)
    gone = before.versions.keys() - after.versions.keys()
    return [
        *(f"package: new, but never named in the output: {name}" for name in sorted(new)),
        *(f"package: gone: {name}" for name in sorted(gone)),
    ]


def _stamp(path: Path, state: os.stat_result) -> Stamp:
    owner = (state.st_uid, state.st_gid)
    if stat.S_ISDIR(state.st_mode):
        return Stamp(state.st_mode, owner, 0, 0, "")
    link = str(path.readlink()) if stat.S_ISLNK(state.st_mode) else ""
    return Stamp(state.st_mode, owner, state.st_size, state.st_mtime_ns, link)


def _records(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    found = [
        dict(re.findall(r"^([A-Za-z-]+): (.*)$", record, re.MULTILINE))
        for record in path.read_text().split("\n\n")
    ]
    return [record for record in found if record]
