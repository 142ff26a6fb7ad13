"""Reach package indexes from the stages of an image's build as this machine does.

Settings and certificates are mounted for the build and are in no layer of an image.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from openeni_lab.images.debian_archive import write_private

COMMAND_SECONDS: Final = 60
CERTIFICATES: Final = "/run/certificates.crt"  # in the build stages
SYSTEM_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
# Passwords, and the lists of mirrors of `mirror+file:` in the sources of Debian's cloud images.
APT_FOLDERS: Final = (Path("/etc/apt/auth.conf.d"), Path("/etc/apt/mirrors"))
# How packages are reached; other settings, such as folders of wheels, are the machine's own.
_REACHING: Final = frozenset(
    {"index-url", "extra-index-url", "trusted-host", "proxy", "retries", "timeout"}
    | {"default-timeout"}
)


def pip_configuration(settings: Iterable[str], *, certificates: bool) -> str:
    """Return pip.conf from the lines of `pip config list`, with the mounted certificates."""
    found: dict[str, str] = {}
    for line in settings:
        match = re.fullmatch(r"(?:global|install|:env:)\.\.?([a-z-]+)=(.*)", line)
        if match and match[1] in _REACHING:
            found[match[1]] = str(ast.literal_eval(match[2])).replace("\n", "\n    ")
    if certificates:
        found["cert"] = CERTIFICATES
    return "[global]\n" + "".join(f"{name} = {found[name]}\n" for name in sorted(found))


def certificate_file(settings: Iterable[str], environment: Mapping[str, str]) -> Path | None:
    """Return this machine's trusted certificates: pip's, else the environment's, else Debian's."""
    given = [str(ast.literal_eval(s.split("=", 1)[1])) for s in settings if ".cert=" in s]
    given += [environment.get("SSL_CERT_FILE", ""), str(SYSTEM_CERTIFICATES)]
    return next((path for name in given if name and (path := Path(name)).is_file()), None)


def mounts(folder: Path, *, own_base: bool) -> list[str]:
    """Return what to mount, as `source:target:ro`; files that it writes are in `folder`.

    A base that was made here already has Debian's certificates; another base installs them during
    the build, so nothing may be mounted in their place.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=True,
    ).stdout.splitlines()
    trusted = certificate_file(listed, os.environ)
    settings = folder / "pip.conf"
    write_private(settings, pip_configuration(listed, certificates=trusted is not None))
    found = [f"{settings}:/etc/pip.conf:ro"]
    if trusted:
        found.append(f"{trusted}:{CERTIFICATES}:ro")
    if own_base:
        if trusted:
            found.append(f"{trusted}:{SYSTEM_CERTIFICATES}:ro")
        found += [f"{path}:{path}:ro" for path in APT_FOLDERS if path.is_dir()]
    return found
