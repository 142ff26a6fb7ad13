"""A lab as a whole: what `up`, `status` and `down` do, from the parts that the other modules are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from openeni_lab import enclosure, openstack
from openeni_lab.builds import Built, ensure, find
from openeni_lab.images import image_files
from openeni_lab.kubernetes import ControlPlane
from openeni_lab.layout import Layout, NodeLayout
from openeni_lab.machine import Machine, MachineError
from openeni_lab.network import Network
from openeni_lab.node import Node
from openeni_lab.node_machine import GuestMachine, Host, NamespaceMachine, NodeMachine
from openeni_lab.probe import has_ipvlan
from openeni_lab.steps import Progress, Step, run

CONTROL_PLANE: Final = ("kubernetes", "kubectl")
WHOLE: Final = (*CONTROL_PLANE, "node", "openstack")


class Kind(StrEnum):
    """What stands for a node; `auto` is a namespace where the machine's kernel has ipvlan."""

    NAMESPACE = "namespace"
    VM = "vm"
    AUTO = "auto"

    def decided(self) -> "Kind":
        if self is not Kind.AUTO:
            return self
        return Kind.NAMESPACE if has_ipvlan() else Kind.VM


@dataclass(frozen=True)
class Lab:
    """One lab by its layout and kind of node; nothing is asked of the machine to make one."""

    layout: Layout
    kind: Kind = Kind.AUTO
    built: Built = field(default_factory=lambda: find(WHOLE))

    @property
    def machine(self) -> Machine:
        return Machine(self.layout.control)

    def program(self, name: str) -> Path:
        return self.built.bin(name)

    @property
    def control_plane(self) -> ControlPlane:
        return ControlPlane(self.layout, self.machine, self.program)

    def node(self, name: str) -> Node:
        """Raises LabError when the lab has no such node."""
        found = next((node for node in self.layout.nodes if node.name == name), None)
        if found is None:
            known = ", ".join(node.name for node in self.layout.nodes)
            raise enclosure.LabError(f"the lab has no node {name!r} (it has {known})")
        return self._node(found)
