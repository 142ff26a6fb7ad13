"""A node with the real datapath in it: its NICs, its pods."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, MetadataService, Mode
from openeni_crds.names import host_link
from openeni_crds.status.eni import PortSubnet
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import NOTHING
from openeni_nodeagent.datapath_api import (
    ENIFacts,
    Hold,
    LinkFacts,
    NodeDatapath,
    NodeFacts,
    NodeReport,
    NodeSnapshot,
    PodInterface,
    PodNetwork,
    WantedNode,
    WantedPod,
)
from openeni_nodeagent.pod_options import Bandwidth, PortMapping
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port

SERVICES: Final = "10.96.0.0/16"
SERVICES_6: Final = "fd96::/112"
LOCAL_DNS: Final = "169.254.20.10"
# Nearer to the pods' addresses than a node's own: the kernel would choose it as their clients'.
LOCAL_DNS_6: Final = "fd98:0:0:1::10"
MTU: Final = 1450
PLANNED_NODE: Final = NodeFacts(("10.99.0.11", "fd99::11"), (SERVICES, SERVICES_6), (LOCAL_DNS,))
DATAPATHS: Final = (
    Datapath(Mode.VETH),
    *(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)) for mode in IPVlanMode),
)


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
    """One node. `datapath` does its work in the node's namespace.

    Without an IPv6 address, the node has IPv6 disabled on all its links.
    """

    name: str
    network: NeutronNetwork
    address: str
    address_6: str
    namespace: Namespace = field(init=False)
    datapath: NodeDatapath = field(default_factory=KernelDatapath)
    pods: list[Pod] = field(default_factory=list[Pod])
    enis: list[ENIFacts] = field(default_factory=list[ENIFacts])
    service_cidrs: tuple[str, ...] = (SERVICES, SERVICES_6)
    bridge: str = "br-nodes"  # of its own NIC

    def __post_init__(self) -> None:
        self.namespace = Namespace(self.name)
        number = self.address.rsplit(".", 1)[1]
        mac = f"fa:16:3e:99:00:{int(number):02x}"
        primary = Port(f"node{number}", mac, self.addresses)
        self.network.plug(self.namespace, "eth0", primary, self.bridge)
        gateway, gateway_6 = neutron.GATEWAYS[self.bridge]
        for links in ("all", "default"):
            self.namespace.sysctl(f"net/ipv6/conf/{links}/disable_ipv6", "01"[not self.address_6])
        self.namespace.ip(
            f"addr add {self.address}/24 dev eth0",
            *([f"addr add {self.address_6}/64 dev eth0 nodad"] if self.address_6 else []),
            "link add nodelocaldns type veth peer name unused",
            f"addr add {LOCAL_DNS}/32 dev nodelocaldns",
            *([f"addr add {LOCAL_DNS_6}/128 dev nodelocaldns nodad"] if self.address_6 else []),
            "link set nodelocaldns up",
            "link set eth0 up",
            f"route add default via {gateway}",
            *([f"route add default via {gateway_6}"] if self.address_6 else []),
        )
        self.namespace.listen(10250)
        for address in self.local_dns:
            self.namespace.listen(53, address)
        self.look()

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.address, self.address_6) if self.address_6 else (self.address,)

    @property
    def local_dns(self) -> tuple[str, ...]:
        return (LOCAL_DNS, LOCAL_DNS_6) if self.address_6 else (LOCAL_DNS,)

    @property
    def facts(self) -> NodeFacts:
        return NodeFacts(self.addresses, self.service_cidrs, self.local_dns)

    def run(self, work: Callable[..., object], *arguments: object) -> object:
        return self.namespace.run(work, *arguments)

    def attach(
        self, device: str, eni: ENIFacts, addresses: tuple[str, ...], bridge: str = "br-pods"
    ) -> Port:
        """Hot-plug the ENI's port with these addresses beside its primary, and prepare it."""
        port = Port(eni.name, eni.mac, (*eni.primary, *addresses))
        self.network.plug(self.namespace, device, port, bridge)
        self.configure(eni)
        return port

    def look(
        self,
        *,
        departing: tuple[ENIFacts, ...] = (),
        strays: Collection[str] = (),
        into: bool = False,
        complete: bool = True,
        snapshot: NodeSnapshot | None = None,
        hold: Hold | None = None,
        facts: NodeFacts | None = None,
        busy: Collection[Pod] = (),
    ) -> NodeReport:
        """Reconcile the node with its ENIs and pods; look into the pods as well with `into`.

        `snapshot` is what an earlier look has seen, `hold` is entered between ENIs and pods, `busy`
        pods are left alone.
        """
        pods = tuple(
            WantedPod(p.facts, p.namespace.path if into else "") for p in self.pods if p not in busy
        )
        wanted = WantedNode(
            facts or self.facts,
            tuple(self.enis),
            departing,
            pods,
            frozenset(strays),
            frozenset(host_link(p.facts.container_id, p.facts.interface) for p in self.pods),
            complete=complete,
        )
        return self.namespace.run(self._look, wanted, snapshot, hold or all_free)

    def configure(self, eni: ENIFacts) -> LinkFacts:
        """Look at the node, which has this ENI, too; return its link. Raises the ENI's error."""
        self.enis = [*(e for e in self.enis if e.name != eni.name), eni]
        report = self.look()
        if error := report.errors.get(eni.name):
            raise error
        return report.links[eni.name]

    def pod_addresses(self) -> set[str]:
        """Return the addresses of pods that the kernel has."""
        return set(self.namespace.run(self.datapath.observe, ()).pods)

    def release(self, eni: ENIFacts) -> NodeReport:
        """Leave the ENI, whose object is being deleted."""
        self.enis.remove(eni)
        return self.look(departing=(eni,))

    def _look(self, wanted: WantedNode, snapshot: NodeSnapshot | None, hold: Hold) -> NodeReport:
        snapshot = snapshot or self.datapath.observe((*wanted.enis, *wanted.departing))
        return self.datapath.reconcile(snapshot, wanted, hold)

    def add(
        self,
        name: str,
        eni: ENIFacts,
        *addresses: str,
        host_ports: tuple[PortMapping, ...] = (),
        bandwidth: Bandwidth | None = None,
    ) -> Pod:
        """Make a pod as a runtime does: a namespace with `lo` up, then CNI ADD."""
        namespace = Namespace(name)
        facts = replace(
            pod_interface(name, eni, *addresses),
            host_ports=host_ports,
            bandwidth=bandwidth or Bandwidth(),
        )
        pod_network = self.namespace.run(self.datapath.add, facts, namespace.path)
        self.run(self.datapath.finish_add, facts)
        pod = Pod(facts, namespace, pod_network)
        self.pods.append(pod)
        namespace.listen(80)
        return pod

    def delete(self, pod: Pod) -> None:
        self.run(self.datapath.delete, pod.facts)
        self.run(self.datapath.finish_delete, pod.facts, pod.namespace.path)
        pod.namespace.close()
        self.pods.remove(pod)

    def close(self) -> None:
        for pod in self.pods:
            pod.namespace.close()
        self.namespace.close()


def placed_pod(datapath: Datapath, *, dual: bool = True) -> NodePod:
    """Return a pod of the ENI `eni` on a node that is in no kernel."""
    eni = eni_facts("eni", 10, datapath, dual=dual)
    mark = Marks(names.MARK_MASK).of_table(NOTHING, names.eni_table(7))
    addresses = ("10.98.0.11", "fd98::11") if dual else ("10.98.0.11",)
    pod = pod_interface("pod", eni, *addresses)
    return pod_on_node(pod, NodeENI(eni, LinkFacts("ens7", 7), PLANNED_NODE, mark))


def all_free(
    pods: Collection[PodInterface],
) -> AbstractContextManager[frozenset[PodInterface]]:
    """Hold all of the pods: nothing else works on them."""
    return nullcontext(frozenset(pods))


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
