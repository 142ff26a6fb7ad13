"""Install the locked Python packages of an image into a layer, in the build of the image.

What is left out of the packages is in python.toml, beside this file.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from openeni_lab.images.stages.bytecode import compile_folder

SECONDS: Final = 900
# Where Debian's Python looks for packages that are not Debian's own.
PACKAGES: Final = (
    f"usr/local/lib/python{sys.version_info.major}.{sys.version_info.minor}/dist-packages"
)


def install(lock: Path, layer: Path) -> None:
    """Install, strip, and compile what the programs may import."""
    wanted = tomllib.loads(Path(__file__).with_name("python.toml").read_text())
    folder = layer / PACKAGES
    folder.mkdir(parents=True)
    options = ("--no-deps", "--no-compile", "--no-cache-dir", "--only-binary=:all:")
    checks = ("--require-hashes", "--disable-pip-version-check", "--root-user-action=ignore")
    command = [sys.executable, "-m", "pip", "install", "--quiet", *options, *checks]
    subprocess.run(
        [*command, f"--target={folder}", f"--requirement={lock}"], check=True, timeout=SECONDS
    )
    # pip's records of what it did: they name scripts and files that are not in the image.
    records = ("bin", "*.dist-info/RECORD", "*.dist-info/REQUESTED", "*.dist-info/INSTALLER")
    for pattern in (*wanted["stripped"], *records):
        for path in sorted(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    compile_folder(layer, folder, wanted["uncompiled"])
