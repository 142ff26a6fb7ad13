"""What to do next with a lab: commands to copy, which work in the folder they are printed in."""

import os
import shlex
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from openeni_lab.invocation import called_as, command
from openeni_lab.layout import REPOSITORY, Layout, cache_folder

EXAMPLE: Final = REPOSITORY / "docs" / "examples" / "enipool-veth.yaml"


def commands(lab: Layout) -> tuple[str, ...]:
    """Return commands to look around in a lab."""
    return (
        f"{command('kubectl', lab)} -- get enipool,eni,podip -A",
        f"{openeni()} --kubeconfig {lab.kubeconfig} status",
        f"{command('exec', lab)} -- openstack port list  # clouds.yaml: {lab.clouds_yaml}",
        f"{command('shell', lab)} --node n1",
        f"export KUBECONFIG={lab.kubeconfig}  # for a kubectl of your own",
        f"{command('down', lab)}  # stops and removes everything",
    )


def openeni() -> str:
    """Return how a shell in the current folder calls openeni's command line."""
    return called_as(Path(sys.executable).with_name("openeni"), "openeni_cli")


def first_pool(lab: Layout) -> str:
    """Return the command that gives a lab without pools its first one: until then no pod starts."""
    example = shlex.quote(os.path.relpath(EXAMPLE))
    return f"{command('kubectl', lab)} -- apply -f {example}  # no pod starts without a pool"


@contextmanager
def removal_named(lab: Layout) -> Generator[None]:
    """Print the command that removes the lab if the block is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"`{command('down', lab)}` removes the lab", file=sys.stderr)
        raise


def after_down(lab: Layout, *, removed: bool) -> Iterator[str]:
    """Yield what `down` has done, and how to remove what it keeps for the next lab."""
    if not removed:
        yield f"there is no lab {lab.name!r}: nothing was removed"
        return
    yield f"removed the lab {lab.name!r}: its programs, its networks and {lab.state}"
    yield (
        f"kept for the next lab: built programs in {cache_folder()} (`{command('cache prune')}` "
        f"removes old ones), and what `prepare` found on this machine in {lab.root}"
    )
    if not [path for path in lab.root.glob("*") if path.is_dir()]:  # no other lab uses them
        yield f"to remove these too: rm -r {shlex.quote(str(cache_folder()))} {lab.root}"
