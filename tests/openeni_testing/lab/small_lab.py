"""A lab without Kubernetes: its init, its network, and OpenStack on request."""

from dataclasses import dataclass
from pathlib import Path

from openeni_lab.cloud import bring_up
from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure, steps
from openeni_lab.machine.client import Machine
from openeni_lab.programs import prepared
from openeni_lab.progress import LogProgress
from openeni_testing.lab.fake_node import FakeNode
from openeni_testing.lab.own_layout import own_layout


@dataclass(frozen=True)
class SmallLab:
    """A running lab for tests; `venv` has OpenStack installed."""

    layout: Layout
    machine: Machine
    network: LabNetwork
    venv: Path | None = None

    @classmethod
    def start(cls, root: Path, name: str, *, with_openstack: bool = False) -> "SmallLab":
        """Start a lab with bridges, gateway, the outside host and the anti-spoofing table.

        With OpenStack there are also two servers without machines, and the remote VM.
        """
        layout = own_layout(root, name)
        machine = Machine(layout.control)
        venv = prepared.read(["openstack"]).built.openstack_venv if with_openstack else None
        lab = cls(layout, machine, LabNetwork(layout, machine), venv)
        try:
            lab.up()
        except BaseException:
            lab.remove()
            raise
        return lab

    def up(self) -> None:
        with enclosure.locked(self.layout) as lock:
            steps.run([enclosure.start_init_step(self.layout, lock), *self.steps()], LogProgress())

    def steps(self) -> list[steps.Step]:
        """Return the steps inside the lab."""
        wires = self.network.steps()
        cloud = bring_up.steps(self.layout, self.machine, self.venv) if self.venv else []
        return [*wires, *cloud]

    def remove(self) -> None:
        with enclosure.locked(self.layout):
            enclosure.remove(self.layout)

    def node(self, name: str, server_id: str = "") -> FakeNode:
        """Create a network namespace in place of a node; `server_id` may be made up."""
        return FakeNode.make(self.layout, self.machine, name, server_id)
