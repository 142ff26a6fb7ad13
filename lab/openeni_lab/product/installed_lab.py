"""A lab with openeni installed, for the demo, the benchmarks and the system tests."""

from dataclasses import dataclass

from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.kubernetes.api import Api
from openeni_lab.lab import Lab
from openeni_lab.machine import steps
from openeni_lab.machine.steps import Progress
from openeni_lab.product.installation import AGENT, Installation, installed
from openeni_lab.product.reach import Reach


@dataclass(frozen=True)
class InstalledLab:
    """A lab that is up and has openeni installed."""

    lab: Lab
    installation: Installation

    @classmethod
    def of(cls, lab: Lab) -> "InstalledLab":
        """Describe the lab with openeni in it. Starts and checks nothing."""
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
        """Return a client with every right (system:masters)."""
        return Api(self.lab.layout.kubeconfig)

    def dropped(self) -> dict[str, int]:
        """Return how many packets anti-spoofing has dropped, by port id."""
        return LabNetwork(self.lab.layout, self.lab.machine).dropped()

    def restart_node(self, name: str, progress: Progress) -> None:
        """Restart a node as a reboot would: its processes end, its NICs and its disk stay.

        Its agent is started again afterwards, as a DaemonSet's pod would be.
        """
        place = self.lab.node(name).host.node
        self.lab.restart_node(name, progress)
        if installed(self.lab.layout):
            steps.run([self.installation.start(AGENT, place)], progress)


def up(lab: Lab, progress: Progress) -> InstalledLab:
    """Start whatever is missing of the lab and of openeni in it."""
    lab.up(progress)
    found = InstalledLab.of(lab)
    steps.run(found.installation.steps(), progress)
    return found
