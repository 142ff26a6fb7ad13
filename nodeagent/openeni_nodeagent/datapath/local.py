"""Where an ENI and a pod stand on this node: their facts with names, indexes and MACs of links.

All of it is a function of the facts, so that nothing has to be asked of the kernel before a pod's
first message to it, and a second ADD of the same pod comes to the same answer.
"""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Final

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.datapath_api import EniFacts, LinkFacts, NodeFacts, PodInterface

# Above what the kernel counts up to, below 2^24: some users of an index have no more bits.
_INDEX_BASE: Final = 1 << 20
_INDEX_SPAN: Final = (1 << 24) - _INDEX_BASE
_IPVLAN_MODES: Final = {IPVlanMode.L2: 0, IPVlanMode.L3: 1, IPVlanMode.L3S: 2}  # if_link.h


@dataclass(frozen=True, slots=True)
class LocalEni:
    facts: EniFacts
    link: LinkFacts
    node: NodeFacts

    @property
    def table(self) -> int:
        return names.eni_table(self.link.ifindex)

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
    def slave(self) -> str:
        """Name of the host-side slave."""
        return names.host_slave(self.link.ifindex)

    @property
    def slave_index(self) -> int:
        return chosen_index(self.slave)

    def primary(self, family: int) -> str:
        """The ENI's own address of this family, "" where it has none."""
        return _first_of_family(self.facts.primary, family)


@dataclass(frozen=True, slots=True)
class LocalPod:
    facts: PodInterface
    eni: LocalEni
    node_index: int  # of the node's end of a veth pair
    pod_index: int

    @property
    def node_link(self) -> str:
        return names.host_link(self.facts.container_id, self.facts.interface)

    @property
    def mac(self) -> str:
        """Of the pod's end of a veth pair: chosen, so that the node needs no ARP to reach it."""
        link = f"{self.facts.container_id}/{self.facts.interface}"
        return "02" + "".join(f":{byte:02x}" for byte in hashlib.sha256(link.encode()).digest()[:5])

    def node_address(self, family: int) -> str:
        """What the node speaks to the pod from (its kubelet's probes); "" where it has none."""
        return _first_of_family(self.eni.node.addresses, family)


def local_pod(pod: PodInterface, eni: LocalEni) -> LocalPod:
    """Stand the pod at the indexes that its links' names choose."""
    node_link = names.host_link(pod.container_id, pod.interface)
    return LocalPod(pod, eni, chosen_index(node_link), chosen_index(pod.interface))


def kernel_mode(datapath: Datapath) -> int:
    """IPVLAN_MODE_* of linux/if_link.h; 0 for veth."""
    return _IPVLAN_MODES[datapath.ipvlan_mode or IPVlanMode.L2]


def chosen_index(link: str) -> int:
    """An interface index for a link of ours, from its name."""
    return _INDEX_BASE + zlib.crc32(link.encode()) % _INDEX_SPAN


def gateway(family: int) -> str:
    """What a pod takes for its gateway: the node."""
    return {4: names.GATEWAY_V4, 6: names.GATEWAY_V6}[family]


def _first_of_family(addresses: tuple[str, ...], family: int) -> str:
    return next((a for a in addresses if family_of(a) == family), "")
