"""Commands to try after the demo, written so that they work where they are printed."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from openeni_lab.layout import Layout


def commands(lab: Layout, program: str) -> tuple[str, ...]:
    """Return commands to copy into a shell; `program` is how it calls `openeni-lab`."""
    name = f" --name {lab.name}" if lab.name != Layout().name else ""
    return (
        f"export KUBECONFIG={lab.kubeconfig}",
        f"{program} kubectl{name} -- get enipool,eni,podip -A",
        f"{program} exec{name} -- openstack port list  # clouds.yaml: {lab.clouds_yaml}",
        f"{program} shell{name} --node n1",
        f"{program} down{name}  # stops everything and leaves nothing",
    )


def called_as(executable: Path) -> str:
    """Return how a shell in this folder calls the program that runs as `executable`."""
    if executable.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m openeni_lab"
    found = shutil.which(executable.name)
    if found and Path(found).samefile(executable):
        return shlex.quote(executable.name)
    path = os.path.relpath(executable)
    return shlex.quote(path if "/" in path else f"./{path}")
