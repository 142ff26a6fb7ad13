"""A lab with openeni in it: brought up for the demo, the benchmarks and the system tests alike."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from openeni_lab import steps
from openeni_lab.api import Api
from openeni_lab.demo import Demo
from openeni_lab.lab import Kind, Lab
from openeni_lab.network import Network
from openeni_lab.openeni import Installation
from openeni_lab.preparation import prepare
from openeni_lab.reach import Reach
from openeni_lab.steps import Progress

GUEST_MODES: Final = ("veth", "ipvlan-l3s", "ipvlan-l2")


@dataclass(frozen=True)
class Running:
    """A lab that is up and has openeni installed."""

    lab: Lab
    installation: Installation

    @property
    def reach(self) -> Reach:
        kubectl = self.lab.built.bin("kubectl")
        machines = self.installation.nodes
        return Reach(self.lab.layout.kubeconfig, kubectl, self.lab.machine, machines)

    @property
    def api(self) -> Api:
        """With every right."""
        return Api(self.lab.layout.kubeconfig)

    def dropped(self) -> dict[str, int]:
        """Packets that anti-spoofing dropped, by port id."""
        return Network(self.lab.layout, self.lab.machine).dropped()


def up(lab: Lab, progress: Progress) -> Running:
    """Bring up what is missing of the lab and of openeni in it."""
    # All that is to be built in one go: what Go fetched and compiled is thrown away after each.
    helm = prepare(lab.layout, [*lab.sets, "helm"], progress).bin("helm")
    lab.up(progress)
    machines = {name: node.machine for name, node in lab.nodes.items()}
    installation = Installation(lab.layout, lab.machine, machines, helm)
    steps.run(installation.steps(), progress)
    return Running(lab, installation)


def modes_of(kind: Kind, ipvlan: bool) -> Sequence[str]:
    """The datapaths that nodes of this kind can show."""
    return GUEST_MODES if kind is Kind.VM or ipvlan else GUEST_MODES[:1]


def _yardstick(lab: Lab) -> str:
    """What the first time is to be compared with, whatever the machine."""
    took = lab.built.yardstick
    return f" (building kube-apiserver alone took {took.seconds:.0f} s here)" if took else ""


def show(lab: Lab, progress: Progress, modes: Sequence[str], console: Console) -> bool:
    """The whole demo; leaves the lab up. Whether every line was ok."""
    begun = time.monotonic()
    running = up(lab, progress)
    console.print(f"ready after {time.monotonic() - begun:.0f} s{_yardstick(lab)}")
    well = Demo(running.api, running.reach, running.dropped, console).run(modes)
    console.rule("Look around", align="left")
    name = f" --name {lab.layout.name}" if lab.layout.name != "default" else ""
    for line in (
        f"export KUBECONFIG={lab.layout.kubeconfig}",
        f"openeni-lab kubectl{name} -- get enipool,eni,podip -A",
        f"openeni-lab exec{name} -- openstack port list   (clouds.yaml: {lab.layout.clouds_yaml})",
        f"openeni-lab shell{name} --node n1",
        f"openeni-lab down{name}   stops it and leaves nothing",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    return well
