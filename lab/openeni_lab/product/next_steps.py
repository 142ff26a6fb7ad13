"""Commands for the user to try after the demo; they work in the folder they are printed in."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from openeni_lab.layout import Layout


def commands(lab: Layout, program: str) -> tuple[str, ...]:
    """Return commands to copy into a shell, which calls openeni-lab as `program`."""
    name = f" --name {lab.name}" if lab.name != Layout().name else ""
    return (
        f"export KUBECONFIG={lab.kubeconfig}",
        f"{program} kubectl{name} -- get enipool,eni,podip -A",
        f"{program} exec{name} -- openstack port list  # clouds.yaml: {lab.clouds_yaml}",
        f"{program} shell{name} --node n1",
        f"{program} down{name}  # stops and removes everything",
    )


def called_as(executable: Path) -> str:
    """Return how a shell in the current folder calls the program `executable`."""
    if executable.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m openeni_lab"
    found = shutil.which(executable.name)
    if found and Path(found).samefile(executable):
        return shlex.quote(executable.name)
    path = os.path.relpath(executable)
    return shlex.quote(path if "/" in path else f"./{path}")
