"""ENIs and pods on this node: their facts, with the names, indexes and MACs of their links.

All of it follows from the facts, so that an ADD needs no look-up in the kernel and a repeated ADD
of the same pod gives the same result.
"""

import zlib
from dataclasses import dataclass
from typing import Final

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.datapath.marks import Mark
from openeni_nodeagent.datapath_api import ENIFacts, LinkFacts, NodeFacts, PodInterface

# Above the indexes that the kernel assigns, and below 2^24: some users of an index have 24 bits.
_INDEX_BASE: Final = 1 << 20
_INDEX_SPAN: Final = (1 << 24) - _INDEX_BASE
# Of the digest in the name of the host's end. An update of the agent must not change a pod's MAC.
_MAC_DIGITS: Final = slice(len(names.LINK_PREFIX), len(names.LINK_PREFIX) + 10)
_IPVLAN_MODES: Final = {IPVlanMode.L2: 0, IPVlanMode.L3: 1, IPVlanMode.L3S: 2}  # if_link.h


@dataclass(frozen=True, slots=True)
class NodeENI:
    """An ENI whose NIC has been found on this node."""

    facts: ENIFacts
    link: LinkFacts
    node: NodeFacts
    mark: Mark
    has_egress_hook: bool = True  # the kernel's nftables
    has_flow_offload: bool = True  # likewise
    kernel_has_ipv6: bool = True
    may_forward_ipv6: bool = True  # False: the node would lose its default route by that

    def __hash__(self) -> int:
        """Hash the MAC alone: it identifies the ENI, and all fields take ten times as long."""
        return hash(self.facts.mac)

    @property
    def table(self) -> int:
        return names.eni_table(self.link.ifindex)

    @property
    def group(self) -> int:
        """The group of the node's ends of its veth pairs (`ip link set ... group`)."""
        return self.table

    @property
    def families(self) -> frozenset[int]:
        return frozenset(map(family_of, self.facts.primary))

    @property
    def ipvlan(self) -> bool:
        return self.facts.datapath.mode is Mode.IPVLAN

    @property
    def layer_2(self) -> bool:
        return self.facts.datapath.ipvlan_mode is IPVlanMode.L2

    @property
    def pods_table(self) -> int:
        """The table with its pods' routes: rules lead to those from where they answer the same way.

        A pod of ipvlan answers its subnet, in l3s and l3 everybody, by the ENI. So what a veth pod
        sends it goes by the network, too: security groups have state there, and drop the answers to
        what they have not seen.
        """
        if not self.ipvlan:
            return names.TABLE_PODS
        return names.TABLE_L2_PODS if self.layer_2 else names.TABLE_L3_PODS

    @property
    def layer_3(self) -> bool:
        """True in l3s and l3, whose pods send as the node does, by its output hook."""
        return self.ipvlan and not self.layer_2

    @property
    def answers_for_pods(self) -> bool:
        """True if the node answers ARP requests for its pods: in l2 and l3 it does not."""
        return not self.ipvlan or self.facts.datapath.ipvlan_mode is IPVlanMode.L3S

    @property
    def offloads(self) -> bool:
        """True if flows of its pods bypass the node's stack once they are established."""
        return self.has_flow_offload and self.node.flow_offload and not self.ipvlan

    @property
    def host_slave(self) -> str:
        """The name of the host's slave."""
        return names.host_slave(self.link.ifindex)

    @property
    def host_slave_index(self) -> int:
        return chosen_index(self.host_slave)

    @property
    def reserving_slave(self) -> str:
        """The name of the slave that keeps the ENI's own addresses from its pods."""
        return names.reserving_slave(self.link.ifindex)

    @property
    def host_slaves(self) -> tuple[str, ...]:
        """The names of its slaves in the node's namespace, which its pods do not have."""
        return (self.host_slave, self.reserving_slave) if self.ipvlan else ()

    def primary(self, family: int) -> str:
        """Return the primary address of this family, "" if there is none."""
        return _first_of_family(self.facts.primary, family)


@dataclass(frozen=True, slots=True)
class NodePod:
    """A pod interface on this node."""

    facts: PodInterface
    eni: NodeENI
    host_index: int  # of the host's end of a veth pair
    pod_index: int

    @property
    def host_link(self) -> str:
        return names.host_link(self.facts.container_id, self.facts.interface)

    @property
    def mac(self) -> str:
        """The MAC of the pod's end of a veth pair: chosen, so that the host needs no ARP."""
        return self.raw_mac.hex(":")

    @property
    def raw_mac(self) -> bytes:
        """`mac` as six bytes: 02 (locally administered), then the digest in the link's name."""
        return b"\x02" + bytes.fromhex(self.host_link[_MAC_DIGITS])

    def node_address(self, family: int) -> str:
        """Return the source address of what the node sends to the pod, such as kubelet's probes.

        "" if the node has none of this family.
        """
        return _first_of_family(self.eni.node.addresses, family)


def pod_on_node(pod: PodInterface, eni: NodeENI) -> NodePod:
    """Return the pod with the interface indexes that its links' names hash to."""
    host_link = names.host_link(pod.container_id, pod.interface)
    return NodePod(pod, eni, chosen_index(host_link), chosen_index(pod.interface))


def kernel_mode(datapath: Datapath) -> int:
    """Return IPVLAN_MODE_* of linux/if_link.h; 0 for veth."""
    return _IPVLAN_MODES[datapath.ipvlan_mode or IPVlanMode.L2]


def chosen_index(link: str) -> int:
    """Return the interface index for a link of ours, a hash of its name."""
    return _INDEX_BASE + zlib.crc32(link.encode()) % _INDEX_SPAN


def is_chosen(index: int) -> bool:
    """Return True for an index that a link of ours may have, and hardly any other one."""
    return _INDEX_BASE <= index < _INDEX_BASE + _INDEX_SPAN


def gateway(eni: NodeENI, family: int) -> str:
    """Return the address under which an ENI's pods reach their gateway, the node."""
    by_ipv6 = names.GATEWAY_V6_L2 if eni.layer_2 else names.GATEWAY_V6
    return {IPV4: names.GATEWAY_V4, IPV6: by_ipv6}[family]


def _first_of_family(addresses: tuple[str, ...], family: int) -> str:
    return next((a for a in addresses if family_of(a) == family), "")
