"""A node with one prepared ENI, to build pods' datapaths on and to break them."""

from dataclasses import replace

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    observe,
    observe_filters,
)
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import Address, FlowtableLink, Link, Operation, State
from openeni_nodeagent.pod_options import Bandwidth, PortMapping, RateLimit, Transport
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
    """One ENI on one node, and a pod with host ports and limits: it is added and deleted again."""

    def __init__(self, datapath: Datapath) -> None:
        self.network = NeutronNetwork()
        self.node = Node("node", self.network, "10.99.0.11", "fd99::11")
        self.eni = eni_facts("eni", 10, datapath, dual=True)
        self.addresses = ("10.98.0.11", "fd98::11")
        self.node.attach("ens7", self.eni, self.addresses)
        self.pod = replace(
            pod_interface("pod", self.eni, *self.addresses),
            host_ports=(
                PortMapping(8080, 80, Transport.TCP),
                PortMapping(8053, 53, Transport.UDP, "10.99.0.11"),
            ),
            bandwidth=Bandwidth(RateLimit(10**9, 10**7), RateLimit(10**9, 10**7)),
        )

    def close(self) -> None:
        self.node.close()
        self.network.close()

    def state(self) -> State:
        """Return our items on the node, but link-local addresses: the kernel adds them later.

        Nor names that it keeps in the flowtable once their links have gone, from Linux 6.16 on.
        """
        seen = self.node.namespace.run(_look)
        there = {i.name for i in seen if isinstance(i, Link)}
        return frozenset(
            i
            for i in seen
            if not (isinstance(i, Address) and i.address.startswith("fe80:"))
            and not (isinstance(i, FlowtableLink) and i.device not in there)
        )

    def place(self) -> NodePod:
        found = self.node.look().links[self.eni.name]
        mark = Marks(names.MARK_MASK).of_table(self.state(), names.eni_table(found.ifindex))
        has_flow_offload = self.node.namespace.run(modes.has_flow_offload)
        eni = NodeENI(self.eni, found, self.node.facts, mark, has_flow_offload=has_flow_offload)
        return pod_on_node(self.pod, eni)

    def add(self, netns: str) -> None:
        self.node.run(self.node.datapath.add, self.pod, netns)
        self.node.run(self.node.datapath.finish_add, self.pod)

    def delete(self, netns: str) -> None:
        self.node.run(self.node.datapath.delete, self.pod)
        self.node.run(self.node.datapath.finish_delete, self.pod, netns)

    def check(self, netns: str) -> tuple[str, ...]:
        return self.node.namespace.run(self.node.datapath.check, self.pod, netns)


def _look() -> State:
    with Netlink() as netlink:
        return observe(netlink) | observe_filters()


def apply_one(operation: Operation) -> None:
    """Apply one operation in the calling thread's namespace."""
    with Netlink() as netlink:
        apply([operation], netlink)
