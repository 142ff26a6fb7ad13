"""A lab as a whole: what `up`, `status` and `down` do, from the parts that other modules make."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from openeni_lab.cloud import bring_up
from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.kubernetes.control_plane import ControlPlane
from openeni_lab.kubernetes.images import Image, make_images
from openeni_lab.layout import Layout, NodeLayout
from openeni_lab.machine import enclosure, service
from openeni_lab.machine.client import Machine
from openeni_lab.machine.enclosure import LabError
from openeni_lab.machine.limits import Limits
from openeni_lab.machine.steps import Progress, Step, run, together
from openeni_lab.node.components import Node
from openeni_lab.node.machines import NamespaceMachine, NodeHost, NodeMachine, VMMachine
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import KERNEL, LAB_SETS, Built


class NodeKind(StrEnum):
    """What stands for a node."""

    NAMESPACE = "namespace"
    VM = "vm"
    AUTO = "auto"  # a namespace where the machine's own kernel has ipvlan

    def decided(self, *, ipvlan: bool) -> "NodeKind":
        """Return the kind of node that a machine whose kernel has ipvlan, or has not, gives."""
        if self is not NodeKind.AUTO:
            return self
        return NodeKind.NAMESPACE if ipvlan else NodeKind.VM


@dataclass(frozen=True)
class Lab:
    """One lab. Making this object starts nothing and looks at nothing."""

    layout: Layout
    kind: NodeKind = NodeKind.NAMESPACE
    limits: Limits | None = None  # None: what this many nodes need

    @property
    def machine(self) -> Machine:
        """Where the control plane, OpenStack and the bridges are."""
        return Machine(self.layout.control)

    @cached_property
    def built(self) -> Built:
        """The programs that were prepared. Raises NotPreparedError where they were not."""
        return prepared.read(self.sets, self.layout.root).built

    @property
    def sets(self) -> tuple[str, ...]:
        """What must have been built for this lab."""
        return (*LAB_SETS, KERNEL.name) if self.kind is NodeKind.VM else LAB_SETS

    @property
    def control_plane(self) -> ControlPlane:
        return ControlPlane(self.layout, self.machine, self.built.bin)

    @property
    def nodes(self) -> Mapping[str, Node]:
        return {node.name: self._node(node) for node in self.layout.nodes}

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The lab's own and each node's, by name."""
        return {
            service.LAB: self.machine,
            **{name: node.machine for name, node in self.nodes.items()},
        }

    def node(self, name: str) -> Node:
        """Raises LabError when the lab has no such node."""
        try:
            return self.nodes[name]
        except KeyError:
            known = ", ".join(node.name for node in self.layout.nodes)
            raise LabError(f"the lab has no node {name!r} (it has {known})") from None

    def up(self, progress: Progress) -> None:
        """Make the whole lab, or what is missing of it, on a machine that was prepared.

        Raises NotPreparedError, LabError, StepError or MachineError, for the user to read.
        """
        with enclosure.only_one(self.layout) as lock:
            enclosure.discard_earlier(self.layout)
            self._keep()
            run([enclosure.step(self.layout, lock, self.limits), *self.steps()], progress)

    def steps(self) -> list[Step]:
        """Everything inside: the cloud's wires, control plane, cloud, nodes."""
        return [
            *LabNetwork(self.layout, self.machine).steps(),
            *self.control_plane.started(),
            *bring_up.steps(self.layout, self.machine, self.built.openstack_venv),
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
        host = NodeHost(self.layout, self.machine, node)
        machine: NodeMachine = NamespaceMachine(host)
        if self.kind is NodeKind.VM:
            machine = VMMachine(host, self.built.kernel, self.built.kernel_preload)
        return Node(host, machine, self.control_plane, lambda: self._images)

    @cached_property
    def _images(self) -> tuple[Image, ...]:
        return make_images(self.built.bin)

    def _keep(self) -> None:
        """Remember what this lab is, for the commands that come later."""
        file = _memory(self.layout)
        if file.exists():
            kept = load(self.layout)
            if (kept.layout, kept.kind) != (self.layout, self.kind):
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
    return Lab(replace(layout, node_count=kept["nodes"]), NodeKind(kept["kind"]))


def _memory(layout: Layout) -> Path:
    return layout.state / "lab.json"
