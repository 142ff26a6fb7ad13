"""Copy openeni's own packages into a layer, in the build of an image.

The node agent's layer gets the CNI executable too.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from openeni_lab.images.stages.bytecode import compile_folder
from openeni_lab.images.stages.python_packages import PACKAGES

SECONDS: Final = 300
CNI_BUILDER: Final = "openeni_nodeagent"  # the package that builds the CNI executable
CNI_EXECUTABLE: Final = "usr/local/libexec/openeni"  # where the agent installs it from


def copy(source: Path, layer: Path, packages: Sequence[str]) -> None:
    """Copy the packages, write their metadata, build the CNI executable, compile."""
    folder = layer / PACKAGES
    for package in packages:
        shutil.copytree(source / package, folder / package)
    _write_metadata(source / "pyproject.toml", folder)
    if CNI_BUILDER in packages:
        subprocess.run(
            [sys.executable, "-B", "-m", f"{CNI_BUILDER}.cni.build", layer / CNI_EXECUTABLE],
            env={**os.environ, "PYTHONPATH": str(folder)},
            check=True,
            timeout=SECONDS,
        )
    for path in (layer, *layer.rglob("*")):  # a checkout's umask is its owner's own matter
        path.chmod(0o755 if path.is_dir() or path == layer / CNI_EXECUTABLE else 0o644)
    compile_folder(layer, folder)


def _write_metadata(project_file: Path, folder: Path) -> None:
    """Write what importlib.metadata and scanners of images read of an installed package."""
    project = tomllib.loads(project_file.read_text())["project"]
    place = folder / f"{project['name']}-{project['version']}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(
        "Metadata-Version: 2.4\n"
        f"Name: {project['name']}\n"
        f"Version: {project['version']}\n"
        f"Summary: {project['description']}\n"
        f"License-Expression: {project['license']}\n"
    )
