"""The root of the images' build stage, Debian with a compiler and pip, and commands in it."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from openeni_lab.images import debian_archive
from openeni_lab.images.debian_archive import DebianArchive, machine_archive

SUITE: Final = "trixie"
# Of the build stage: the images hold nothing of it.
PACKAGES: Final = ("ca-certificates", "gcc", "musl-tools", "python3", "python3-pip")
EXCLUDED: Final = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_PASSED_ON: Final = (*_PROXIES, *(name.upper() for name in _PROXIES))
# Unlike `env -i` with the values of what is kept, this has no password on its command line.
_UNSET_OTHERS: Final = f"""
for name in $(awk 'BEGIN {{ for (name in ENVIRON) print name }}'); do
    case {shlex.quote(f" {' '.join(_PASSED_ON)} ")} in
        *" $name "*) ;;
        *) set -- --unset="$name" "$@" ;;
    esac
done"""
_NAMES: Final = ("/etc/resolv.conf", "/etc/hosts")
_OWN: Final = ("PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1")


def base_archive() -> DebianArchive:
    """Return Debian's archive as the base has it. Raises ArchiveError."""
    archive = machine_archive(SUITE)
    options = (*archive.options, 'Acquire::Languages "none";')
    return DebianArchive(archive.suite, archive.sources, options)


def bootstrap_command(archive: DebianArchive, root: Path, folder: Path) -> list[str]:
    """Return the command that makes the base in `root`, with apt's files in `folder`."""
    return debian_archive.bootstrap_command(archive, PACKAGES, root, folder, EXCLUDED)


def layers_command(step: str) -> list[str]:
    """Return the command that makes layers in a base: of /run/source, in /run/out."""
    return ["python3", "-m", "openeni_lab.images.stages.layers", step, "/run/source", "/run/out"]


def command(root: Path, mounts: Iterable[str], argv: Sequence[str]) -> list[str]:
    """Return the command line that runs `argv` in a root; needs root's rights.

    `mounts` are `source:target` or `source:target:ro`; targets below /run leave nothing behind.
    It runs in the folder /run/build and in a mount namespace of its own. Of the caller's
    environment it has the proxies alone; their passwords are on no command line.
    """
    place = shlex.quote(str(root))
    lines = [
        "umask 022",  # the caller's would be in the layers
        f"mount --rbind /dev {place}/dev",
        f"mount -t proc proc {place}/proc",
        f"mount -t tmpfs -o mode=755 run {place}/run",
    ]
    names = (f"{path}:{path}:ro" for path in _NAMES if Path(path).exists())
    for mounted in (*names, *mounts):
        source, target, *read_only = mounted.split(":")
        lines += _bind(Path(source), root / target.lstrip("/"), read_only=bool(read_only))
    lines += [f'set -- {shlex.join(_OWN)} "$@"', _UNSET_OTHERS]
    lines.append(f'exec chroot {place} /usr/bin/env -C /run/build "$@"')
    return ["unshare", "--mount", "sh", "-ec", "\n".join(lines), "sh", *argv]


def _bind(source: Path, target: Path, *, read_only: bool) -> list[str]:
    place, parent = shlex.quote(str(target)), shlex.quote(str(target.parent))
    make = f"mkdir -p {place}" if source.is_dir() else f"mkdir -p {parent} && touch {place}"
    lines = [f"[ -e {place} ] || {{ {make}; }}", f"mount --bind {shlex.quote(str(source))} {place}"]
    return [*lines, *([f"mount -o remount,bind,ro {place}"] if read_only else [])]
