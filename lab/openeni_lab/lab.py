"""A lab as a whole, for the commands `up`, `status` and `down`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from openeni_lab.cloud import bring_up
from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.images.archive import Image
from openeni_lab.invocation import command
from openeni_lab.kubernetes.control_plane import ControlPlane
from openeni_lab.kubernetes.images import make_images
from openeni_lab.layout import Layout, NodeLayout
from openeni_lab.machine import enclosure, service
from openeni_lab.machine.client import Machine
from openeni_lab.machine.enclosure import LabError
from openeni_lab.machine.limits import LabLimits
from openeni_lab.machine.steps import Progress, Step, run, together
from openeni_lab.node.components import Node
from openeni_lab.node.machines import NamespaceMachine, NodeHost, NodeMachine, VMMachine
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import KERNEL, LAB_SETS, Built


class NodeKind(StrEnum):
    """The kind of machine that plays a node."""

    NAMESPACE = "namespace"
    VM = "vm"
    AUTO = "auto"  # NAMESPACE if the machine's own kernel has ipvlan, else VM

    def decided(self, *, ipvlan: bool) -> "NodeKind":
        """Return the kind to use; `ipvlan` is True if the machine's kernel has it."""
        if self is not NodeKind.AUTO:
            return self
        return NodeKind.NAMESPACE if ipvlan else NodeKind.VM


@dataclass(frozen=True)
class Lab:
    """One lab. Creating this object starts and checks nothing."""

    layout: Layout
    kind: NodeKind = NodeKind.NAMESPACE
    limits: LabLimits | None = None  # None: as they are, or the default for this many nodes
    more_images: tuple[Image, ...] = ()  # for the nodes

    @property
    def machine(self) -> Machine:
        """Return the machine that runs the control plane, OpenStack and the bridges."""
        return Machine(self.layout.control)

    @cached_property
    def built(self) -> Built:
        """Return the prepared programs. Raises NotPreparedError if some are missing."""
        return prepared.read(self.sets, self.layout.root).built

    @property
    def sets(self) -> tuple[str, ...]:
        """Return the sets that this lab needs."""
        return (*LAB_SETS, KERNEL.name) if self.kind is NodeKind.VM else LAB_SETS

    @property
    def control_plane(self) -> ControlPlane:
        return ControlPlane(self.layout, self.machine, self.built.bin)

    @property
    def nodes(self) -> Mapping[str, Node]:
        return {node.name: self._node(node) for node in self.layout.nodes}

    @property
    def machines(self) -> Mapping[str, Machine]:
        """Return the lab's own machine and those of its nodes, by name."""
        return {
            service.LAB: self.machine,
            **{name: node.machine for name, node in self.nodes.items()},
        }

    def node(self, name: str) -> Node:
        """Return a node. Raises LabError if the lab has no such node."""
        try:
            return self.nodes[name]
        except KeyError:
            known = ", ".join(node.name for node in self.layout.nodes)
            raise LabError(f"the lab has no node {name!r} (it has {known})") from None

    def up(self, progress: Progress) -> None:
        """Start the whole lab, or whatever is missing of it, on a prepared machine.

        Raises NotPreparedError, LabError, StepError or MachineError, whose texts are for the user.
        """
        with enclosure.locked(self.layout) as lock:
            enclosure.discard_earlier(self.layout)
            self._record()
            if self.limits:
                enclosure.set_limits(self.layout, self.limits)
            run(
                [enclosure.start_init_step(self.layout, lock, self.limits), *self.steps()], progress
            )

    def steps(self) -> list[Step]:
        """Return the steps inside the lab: network, control plane, cloud, nodes."""
        return [
            *LabNetwork(self.layout, self.machine).steps(),
            *self.control_plane.started(),
            *bring_up.steps(self.layout, self.machine, self.built.openstack_venv),
            self.control_plane.settled(),
            Step("images", lambda: "_images" in vars(self), self._make_images, 1),
            together("nodes", [node.steps() for node in self.nodes.values()]),
        ]

    def down(self) -> bool:
        """Stop and remove everything. Return False if there was nothing.

        Raises LabError that names what could not be removed.
        """
        with enclosure.locked(self.layout):
            found = bool(enclosure.leftovers(self.layout))
            enclosure.remove(self.layout)
        return found

    def restart_node(self, name: str, progress: Progress) -> None:
        """Restart a node as a reboot would: its processes end, its NICs and its disk stay."""
        with enclosure.locked(self.layout):
            run(self.node(name).restart(), progress)

    def _node(self, node: NodeLayout) -> Node:
        host = NodeHost(self.layout, self.machine, node)
        machine: NodeMachine = NamespaceMachine(host)
        if self.kind is NodeKind.VM:
            machine = VMMachine(host, self.built.kernel, self.built.kernel_preload)
        return Node(host, machine, self.control_plane, lambda: self._images)

    @cached_property
    def _images(self) -> tuple[Image, ...]:
        return (*make_images(self.built.bin), *self.more_images)

    def _make_images(self) -> None:
        """Make them before the nodes ask for them, all at the same time."""
        _ = self._images

    def _record(self) -> None:
        """Record the lab's shape for later commands; refuse to change it."""
        file = _record_file(self.layout)
        if file.exists():
            recorded = load(self.layout)
            if (recorded.layout, recorded.kind) != (self.layout, self.kind):
                raise LabError(
                    f"the lab {self.layout.name!r} has {recorded.layout.node_count} nodes of kind "
                    f"{recorded.kind}: take it down first, by `{command('down', self.layout)}`"
                )
            return
        self.layout.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(json.dumps({"nodes": self.layout.node_count, "kind": self.kind}))


def load(layout: Layout) -> Lab:
    """Return the lab that `up` recorded under this name. Raises LabError if there is none."""
    try:
        recorded: dict[str, Any] = json.loads(_record_file(layout).read_text())
    except FileNotFoundError:
        raise LabError(
            f"there is no lab {layout.name!r}; `{command('up', layout)}` creates it"
        ) from None
    return Lab(replace(layout, node_count=recorded["nodes"]), NodeKind(recorded["kind"]))


def _record_file(layout: Layout) -> Path:
    return layout.state / "lab.json"
