"""A lab with openeni in it: brought up for the demo, the benchmarks and the system tests alike."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from openeni_lab.hypervisor.network import Network
from openeni_lab.kubernetes.api import Api
from openeni_lab.lab import Kind, Lab
from openeni_lab.layout import Layout
from openeni_lab.machine import service, steps
from openeni_lab.machine.steps import Progress
from openeni_lab.product.demo import Demo
from openeni_lab.product.installation import AGENT, Installation, installed
from openeni_lab.product.reach import Reach

GUEST_MODES: Final = ("veth", "ipvlan-l3s", "ipvlan-l2")


@dataclass(frozen=True)
class Running:
    """A lab that is up and has openeni installed."""

    lab: Lab
    installation: Installation

    @classmethod
    def of(cls, lab: Lab) -> "Running":
        """Describe the lab with openeni in it; starts nothing and looks at nothing."""
        machines = {name: node.machine for name, node in lab.nodes.items()}
        helm = lab.built.bin("helm")
        return cls(lab, Installation(lab.layout, lab.machine, machines, helm))

    @property
    def reach(self) -> Reach:
        layout, kubectl = self.lab.layout, self.lab.built.bin("kubectl")
        machines = self.installation.nodes
        return Reach(layout.kubeconfig, kubectl, layout.kubectl_cache, self.lab.machine, machines)

    @property
    def api(self) -> Api:
        """With every right."""
        return Api(self.lab.layout.kubeconfig)

    def dropped(self) -> dict[str, int]:
        """Packets that anti-spoofing dropped, by port id."""
        return Network(self.lab.layout, self.lab.machine).dropped()

    def restart_node(self, name: str, progress: Progress) -> None:
        """Reboot a node: what ran on it is gone, its NICs and its disk are there.

        Its agent runs again afterwards, as a DaemonSet's pod would.
        """
        place = self.lab.node(name).host.node
        self.lab.restart_node(name, progress)
        if installed(self.lab.layout):
            steps.run([self.installation.start(AGENT, place)], progress)


def up(lab: Lab, progress: Progress) -> Running:
    """Bring up what is missing of the lab and of openeni in it."""
    lab.up(progress)
    running = Running.of(lab)
    steps.run(running.installation.steps(), progress)
    return running


def modes_of(kind: Kind, ipvlan: bool) -> Sequence[str]:
    """The datapaths that nodes of this kind can show."""
    return GUEST_MODES if kind is Kind.VM or ipvlan else GUEST_MODES[:1]


def _yardstick(lab: Lab) -> str:
    """Return the build time of kube-apiserver here, for comparison."""
    took = lab.built.yardstick
    return f" (building kube-apiserver alone took {took.seconds:.0f} s here)" if took else ""


def show(lab: Lab, progress: Progress, modes: Sequence[str], console: Console) -> bool:
    """Run the whole demo and leave the lab up. True if everything worked."""
    begun = time.monotonic()
    running = up(lab, progress)
    console.print(f"ready after {time.monotonic() - begun:.0f} s{_yardstick(lab)}")
    ended = partial(service.ended, lab.machines, service.mark(lab.machines))
    well = Demo(running.api, running.reach, running.dropped, ended, console).run(modes)
    console.rule("Look around", align="left")
    for line in look_around(lab.layout, called_as(Path(sys.argv[0]))):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    return well


def look_around(lab: Layout, program: str) -> tuple[str, ...]:
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
