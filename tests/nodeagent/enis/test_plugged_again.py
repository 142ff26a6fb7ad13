"""A running agent builds pods again that were lost with their ENI's NIC, however often it goes.

With the NIC the kernel deletes the slaves in pods' own namespaces, into which not every look looks.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath_api import Hold, NodeSnapshot, WantedNode
from openeni_nodeagent.looks import datapath_reconciler
from openeni_testing.agent.host import AgentHost
from openeni_testing.agent.real_node import RealNode
from openeni_testing.network.netns import Namespace
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]


@pytest.fixture(params=[IPVlanMode.L2, IPVlanMode.L3S, IPVlanMode.L3])
def node(
    tmp_path: Path,
    executable: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Generator[RealNode]:
    monkeypatch.setattr(datapath_reconciler, "LOOK_PERIOD_SECONDS", 5.0)
    datapath = Datapath(Mode.IPVLAN, IPVlanDatapath(request.param))
    made = RealNode(AgentHost(tmp_path, executable), datapath)
    yield made
    made.close()


def has_its_network(pod: Namespace) -> bool:
    return "eth0" in pod.links() and pod.ping("10.98.0.1")


def test_a_pod_is_built_again_each_time_its_nic_is_plugged_again(node: RealNode) -> None:
    with Namespace("web") as pod, node.agent():
        node.add(pod)
        for _ in range(2):  # the second time less than a period after the first
            node.network.unplug(node.port)
            node.port = node.plug("ens8")
            wait_for(lambda: has_its_network(pod), "it is built again")


def test_a_pod_whose_nic_was_gone_while_the_agent_started_is_built_again(
    node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first looks, which are into all pods, find no NIC."""
    looks: list[WantedNode] = []

    def counted(
        self: KernelDatapath, found: NodeSnapshot, wanted: WantedNode, hold: Hold
    ) -> object:
        looks.append(wanted)
        return reconcile(self, found, wanted, hold)

    reconcile = KernelDatapath.reconcile
    monkeypatch.setattr(KernelDatapath, "reconcile", counted)
    with Namespace("web") as pod:
        with node.agent():
            node.add(pod)
            assert has_its_network(pod)
        node.network.unplug(node.port)
        looks.clear()
        with node.agent(ready=False):
            wait_for(lambda: not node.is_ready() and len(looks) > 2, "the NIC is missed")
            node.port = node.plug("ens8")
            wait_for(lambda: has_its_network(pod), "it is built again")
