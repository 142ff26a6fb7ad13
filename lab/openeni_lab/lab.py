"""A lab as a whole: what `up`, `status` and `down` do, from the parts that other modules make."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from openeni_lab import enclosure, openstack
from openeni_lab.builds import Built, find
from openeni_lab.enclosure import LabError
from openeni_lab.images import Image, make_images
from openeni_lab.kubernetes import ControlPlane
from openeni_lab.layout import Layout, NodeLayout
from openeni_lab.machine import Machine
from openeni_lab.network import Network
from openeni_lab.node import Node
from openeni_lab.node_machine import GuestMachine, Host, NamespaceMachine, NodeMachine
from openeni_lab.preparation import prepare
from openeni_lab.probe import has_ipvlan
from openeni_lab.steps import Progress, Step, run, together

PROGRAMS: Final = ("kubernetes", "kubectl", "node", "openstack")


class Kind(StrEnum):
    """What stands for a node."""

    NAMESPACE = "namespace"
    VM = "vm"
    AUTO = "auto"  # a namespace where the machine's own kernel has ipvlan

    @property
    def decided(self) -> "Kind":
        if self is not Kind.AUTO:
            return self
        return Kind.NAMESPACE if has_ipvlan() else Kind.VM


@dataclass(frozen=True)
class Lab:
    """One lab. Making this object starts nothing and looks at nothing."""

    layout: Layout
    kind: Kind = Kind.NAMESPACE

    @property
    def machine(self) -> Machine:
        """Where the control plane, OpenStack and the bridges are."""
        return Machine(self.layout.control)

    @cached_property
    def built(self) -> Built:
        """The programs; a BuildError comes when one is asked for that was never built."""
        return find(self.sets)

    @property
    def sets(self) -> tuple[str, ...]:
        """What must be built for this lab."""
        return (*PROGRAMS, "kernel") if self.kind is Kind.VM else PROGRAMS

    @property
    def control_plane(self) -> ControlPlane:
        return ControlPlane(self.layout, self.machine, self.built.bin)

    @property
    def nodes(self) -> Mapping[str, Node]:
        return {node.name: self._node(node) for node in self.layout.nodes}

    def node(self, name: str) -> Node:
        """Raises LabError when the lab has no such node."""
        try:
            return self.nodes[name]
        except KeyError:
            known = ", ".join(node.name for node in self.layout.nodes)
            raise LabError(f"the lab has no node {name!r} (it has {known})") from None

    def up(self, progress: Progress) -> None:
        """Make the whole lab, or what is missing of it. The first lab of a machine builds first.

        Raises BuildError, LabError, PackageError, StepError or MachineError, for the user to read.
        """
        if not self.machine.alive():
            prepare(self.layout, self.sets, progress)
        with enclosure.only_one(self.layout) as lock:
            self._keep()
            run([enclosure.step(self.layout, lock), *self.steps()], progress)

    def steps(self) -> list[Step]:
        """Everything inside: the cloud's wires, control plane, cloud, nodes."""
        return [
            *Network(self.layout, self.machine).steps(),
            *self.control_plane.started(),
            *openstack.steps(self.layout, self.machine, self.built.openstack_venv),
            self.control_plane.settled(),
            together("nodes", [node.steps() for node in self.nodes.values()]),
        ]

    def down(self) -> None:
        """End everything and leave nothing. Raises LabError naming what could not be removed."""
        with enclosure.only_one(self.layout):
            enclosure.remove(self.layout)

    def restart_node(self, name: str, progress: Progress) -> None:
        """As a reboot of the node: what ran on it is gone, its NICs and its disk are there."""
        with enclosure.only_one(self.layout):
            run(self.node(name).restart(), progress)

    def _node(self, node: NodeLayout) -> Node:
        host = Host(self.layout, self.machine, node)
        machine: NodeMachine = NamespaceMachine(host)
        if self.kind is Kind.VM:
            machine = GuestMachine(host, self.built.kernel, self.built.kernel_preload)
        return Node(host, machine, self.control_plane, _images)

    def _keep(self) -> None:
        """Remember what this lab is, for the commands that come later."""
        file = _memory(self.layout)
        if file.exists():
            kept = load(self.layout)
            if kept != self:
                raise LabError(
                    f"the lab {self.layout.name!r} has {kept.layout.node_count} nodes of kind "
                    f"{kept.kind}: take it down first (openeni-lab down)"
                )
            return
        self.layout.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(json.dumps({"nodes": self.layout.node_count, "kind": self.kind}))


def load(layout: Layout) -> Lab:
    """The lab that `up` made under this name. Raises LabError when there is none."""
    try:
        kept: dict[str, Any] = json.loads(_memory(layout).read_text())
    except FileNotFoundError:
        raise LabError(f"there is no lab {layout.name!r}: openeni-lab up makes it") from None
    return Lab(replace(layout, node_count=kept["nodes"]), Kind(kept["kind"]))


def _memory(layout: Layout) -> Path:
    return layout.state / "lab.json"


@cache
def _images() -> tuple[Image, ...]:
    return make_images()
