"""A node with the real datapath in it: its NICs, its kube-proxy (imitated by DNAT), its pods."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from openeni_crds.eni import PortSubnet
from openeni_crds.enipool import Datapath, MetadataService
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath_api import (
    ENIFacts,
    NodeDatapath,
    NodeFacts,
    PodInterface,
    PodNetwork,
)
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port

SERVICES: Final = "10.96.0.0/16"
SERVICES_6: Final = "fd96::/112"
LOCAL_DNS: Final = "169.254.20.10"
MTU: Final = 1450
_MASQUERADE: Final = "0x4000"  # kube-proxy's mark
_PROXY: Final = """
table inet kubeproxy {
  chain services { }
  chain pre { type nat hook prerouting priority dstnat; jump services; }
  chain out { type nat hook output priority -100; jump services; }
  chain post {
    type nat hook postrouting priority srcnat;
    meta mark & 0x4000 != 0 masquerade;
  }
}
"""


@dataclass
class Pod:
    facts: PodInterface
    namespace: Namespace
    pod_network: PodNetwork

    @property
    def address(self) -> str:
        return self.facts.addresses[0]


@dataclass
class Node:
    """One node. `datapath` does its work in the node's namespace."""

    name: str
    network: NeutronNetwork
    address: str
    address_6: str
    namespace: Namespace = field(init=False)
    datapath: NodeDatapath = field(default_factory=KernelDatapath)
    pods: list[Pod] = field(default_factory=list[Pod])

    def __post_init__(self) -> None:
        self.namespace = Namespace(self.name)
        number = self.address.rsplit(".", 1)[1]
        mac = f"fa:16:3e:99:00:{int(number):02x}"
        primary = Port(f"node{number}", mac, (self.address, self.address_6))
        self.network.plug(self.namespace, "eth0", primary, bridge="br-nodes")
        self.namespace.ip(
            f"addr add {self.address}/24 dev eth0",
            f"addr add {self.address_6}/64 dev eth0 nodad",
            "link add nodelocaldns type veth peer name unused",
            f"addr add {LOCAL_DNS}/32 dev nodelocaldns",
            "link set nodelocaldns up",
            "link set eth0 up",
            f"route add default via {neutron.NODES_GATEWAY}",
            "route add default via fd99::1",
        )
        self.namespace.nft(_PROXY)
        self.namespace.listen(10250)
        self.namespace.listen(53, LOCAL_DNS)
        self.run(self.datapath.configure_node, self.facts)

    @property
    def facts(self) -> NodeFacts:
        addresses = (self.address, self.address_6)
        return NodeFacts(addresses, (SERVICES, SERVICES_6), (LOCAL_DNS,))

    def run(self, work: Callable[..., object], *arguments: object) -> object:
        return self.namespace.run(work, *arguments)

    def attach(self, device: str, eni: ENIFacts, addresses: tuple[str, ...]) -> Port:
        """Hot-plug the ENI's port with these addresses beside its primary, and prepare it."""
        port = Port(eni.name, eni.mac, (*eni.primary, *addresses))
        self.network.plug(self.namespace, device, port)
        self.run(self.datapath.configure_eni, eni, self.facts)
        return port

    def add(self, name: str, eni: ENIFacts, *addresses: str) -> Pod:
        """Make a pod as a runtime does: a namespace with `lo` up, then CNI ADD."""
        namespace = Namespace(name)
        facts = pod_interface(name, eni, *addresses)
        pod_network = self.namespace.run(self.datapath.add, facts, namespace.path)
        pod = Pod(facts, namespace, pod_network)
        self.pods.append(pod)
        namespace.listen(80)
        return pod

    def delete(self, pod: Pod) -> None:
        self.run(self.datapath.delete, pod.facts, pod.namespace.path)
        pod.namespace.close()
        self.pods.remove(pod)

    def services(self, backends: Mapping[str, str]) -> None:
        """Make ClusterIPs as kube-proxy does: a pod that reaches itself is masqueraded."""
        self._proxy(*(rule for pair in backends.items() for rule in _of_service(*pair)))

    def node_port(self, port: int, backend: str, *, local: bool = False) -> None:
        """A NodePort; with `local` the client keeps its address (externalTrafficPolicy)."""
        word = "ip6" if ":" in backend else "ip"
        match = f"meta nfproto {'ipv6' if word == 'ip6' else 'ipv4'} fib daddr type local tcp dport"
        mark = [] if local else [f"{match} {port} meta mark set meta mark or {_MASQUERADE}"]
        self._proxy(*mark, f"{match} {port} dnat {word} to {_socket(backend)}")

    def close(self) -> None:
        for pod in self.pods:
            pod.namespace.close()
        self.namespace.close()

    def _proxy(self, *rules: str) -> None:
        self.namespace.nft("".join(f"add rule inet kubeproxy services {r}\n" for r in rules))


def eni_facts(name: str, number: int, datapath: Datapath, *, dual: bool = False) -> ENIFacts:
    """An ENI of the test subnet; its primary address ends in `number`."""
    subnets = [PortSubnet("v4", neutron.SUBNET, neutron.GATEWAY)]
    primary = [f"10.98.0.{number}"]
    if dual:
        subnets.append(PortSubnet("v6", neutron.SUBNET_6, neutron.GATEWAY_6))
        primary.append(f"fd98::{number}")
    mac = f"fa:16:3e:98:00:{number:02x}"
    return ENIFacts(name, mac, MTU, datapath, tuple(primary), tuple(subnets))


def pod_interface(name: str, eni: ENIFacts, *addresses: str) -> PodInterface:
    return PodInterface(f"uid-{name}", f"container-{name}", "eth0", addresses, MTU, eni)


def allowing_metadata(eni: ENIFacts) -> ENIFacts:
    datapath = msgspec.structs.replace(eni.datapath, metadata_service=MetadataService.ALLOW)
    return replace(eni, datapath=datapath)


def _of_service(address: str, backend: str) -> tuple[str, str]:
    word = "ip6" if ":" in address else "ip"
    match = f"{word} daddr {address} tcp dport 80"
    mark = f"{word} saddr {backend} meta mark set meta mark or {_MASQUERADE}"
    return f"{match} {mark}", f"{match} dnat {word} to {_socket(backend)}"


def _socket(address: str) -> str:
    return f"[{address}]:80" if ":" in address else f"{address}:80"
