"""A node with one prepared ENI, to build pods' datapaths on and to break them."""

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    observe,
    observe_filters,
    open_netlink,
)
from openeni_nodeagent.datapath.model import Address, Operation, State
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts, pod_interface

MODES = [
    pytest.param(Datapath(Mode.VETH), id="veth"),
    *(
        pytest.param(
            Datapath(Mode.IPVLAN, IPVlanDatapath(mode)),
            id=f"ipvlan-{mode}",
            marks=pytest.mark.ipvlan,
        )
        for mode in IPVlanMode
    ),
]


class OneENI:
    """One ENI on one node, and a pod that is added to it and deleted again."""

    def __init__(self, datapath: Datapath) -> None:
        self.network = NeutronNetwork()
        self.node = Node("node", self.network, "10.99.0.11", "fd99::11")
        self.eni = eni_facts("eni", 10, datapath, dual=True)
        self.addresses = ("10.98.0.11", "fd98::11")
        self.node.attach("ens7", self.eni, self.addresses)
        self.pod = pod_interface("pod", self.eni, *self.addresses)

    def close(self) -> None:
        self.node.close()
        self.network.close()

    def state(self) -> State:
        """Return our items on the node, but link-local addresses: the kernel adds them later."""
        seen = self.node.namespace.run(_look)
        return frozenset(
            i for i in seen if not (isinstance(i, Address) and i.address.startswith("fe80:"))
        )

    def place(self) -> NodePod:
        found = self.node.namespace.run(self.node.datapath.configure_eni, self.eni, self.node.facts)
        return pod_on_node(self.pod, NodeENI(self.eni, found, self.node.facts))

    def add(self, netns: str) -> None:
        self.node.run(self.node.datapath.add, self.pod, netns)

    def delete(self, netns: str) -> None:
        self.node.run(self.node.datapath.delete, self.pod, netns)

    def check(self, netns: str) -> tuple[str, ...]:
        return self.node.namespace.run(self.node.datapath.check, self.pod, netns)


def _look() -> State:
    with open_netlink() as netlink:
        return observe(netlink, nic=0) | observe_filters()


def apply_one(operation: Operation) -> None:
    """Apply one operation in the calling thread's namespace."""
    with open_netlink() as netlink:
        apply([operation], netlink)
