"""The NodeDatapath on Linux: each method plans, observes, diffs and applies."""

import ipaddress
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6
from openeni_nodeagent.datapath import ownership
from openeni_nodeagent.datapath.describe import sentence
from openeni_nodeagent.datapath.diff import diff
from openeni_nodeagent.datapath.eni import plan_eni
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath.linux.announce import Announcer
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    delete_filters,
    list_links,
    observe,
    observe_filters,
    observe_sysctls,
    open_netlink,
    speaks_ipv6,
)
from openeni_nodeagent.datapath.linux.namespace import open_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import NOTHING, Address, Operation, Rule, State
from openeni_nodeagent.datapath.plan import plan_node, plan_pod, pod_gateways, pod_routes
from openeni_nodeagent.datapath.pod import (
    build,
    clear,
    clear_host,
    compare,
    repair,
    with_free_indexes,
)
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    KernelRefusedError,
    LinkFacts,
    NamespaceGoneError,
    NICMissingError,
    NodeFacts,
    PodInterface,
    PodNetwork,
)
from openeni_nodeagent.phases import Stopwatch


class KernelDatapath:
    """Implements NodeDatapath in the network namespace of the calling threads: the node's."""

    def __init__(self) -> None:
        self._node = NodeFacts(addresses=())
        self._enis: dict[str, NodeENI] = {}  # by MAC
        self._shared_lock = threading.Lock()  # of rules and filters that ENIs share
        self._announcer = Announcer()

    def close(self) -> None:
        """Close the sockets; nothing in the kernel changes."""
        self._announcer.close()

    def datapath_modes(self) -> frozenset[str]:
        return modes.supported_datapath_modes()

    def configure_node(self, node: NodeFacts) -> None:
        """Keep the facts; `configure_eni` applies them: without an ENI there is nothing to do."""
        self._node = node

    def configure_eni(self, eni: ENIFacts, node: NodeFacts) -> LinkFacts:
        modes.require_support(eni.datapath)
        with self._shared_lock, open_netlink() as netlink:
            if not (nic := ownership.find_nic(list_links(netlink), eni.mac)):
                self._enis.pop(eni.mac, None)
                raise NICMissingError(f"no NIC with MAC {eni.mac} on this node: is it attached?")
            found = LinkFacts(nic.name, nic.index)
            node_eni = NodeENI(eni, found, self._with_present_addresses(node, eni, netlink))
            apply(self._node_differences(netlink), netlink)
            apply(_eni_differences(node_eni, netlink), netlink)
        self._enis[eni.mac] = node_eni
        return found

    def teardown_eni(self, eni: ENIFacts) -> None:
        self._enis.pop(eni.mac, None)
        with self._shared_lock, open_netlink() as netlink:
            nic = ownership.find_nic(list_links(netlink), eni.mac)
            index = nic.index if nic else 0
            seen = observe(netlink, nic=index) | observe_filters()
            left = ownership.left_of_eni(seen, index, eni.primary)
            wanted: State = frozenset({replace(nic, up=False)} if nic else ())
            apply(diff(left, wanted), netlink)
            self._teardown_node(netlink)

    def add(self, pod: PodInterface, netns: str) -> PodNetwork:
        stopwatch = Stopwatch()
        node_pod = self._node_pod(pod)
        with open_namespace(netns) as namespace:
            try:
                self._build(node_pod, namespace, stopwatch)
            except (DatapathError, OSError):
                with suppress(DatapathError, OSError):
                    clear(node_pod, namespace)
                self._require_nic(pod.eni)
                raise
        with stopwatch.phase("announce"):
            self._announcer.announce(node_pod.eni.link.device, pod.eni.mac, pod.addresses)
        slave = node_pod.eni.ipvlan
        return PodNetwork(
            host_interface=node_pod.eni.host_slave if slave else node_pod.host_link,
            host_mac=pod.eni.mac if slave else names.VETH_MAC,
            pod_mac=pod.eni.mac if slave else node_pod.mac,
            gateway=pod_gateways(node_pod),
            routes=pod_routes(plan_pod(node_pod).pod),
            phases=stopwatch.seconds,
        )

    def check(self, pod: PodInterface, netns: str) -> tuple[str, ...]:
        node_pod = self._node_pod(pod)
        with open_namespace(netns) as namespace, open_netlink() as netlink:
            found = (
                *self._node_differences(netlink),
                *_eni_differences(node_pod.eni, netlink),
                *compare(node_pod, namespace).operations,
            )
        return tuple(map(sentence, found))

    def delete(self, pod: PodInterface, netns: str) -> None:
        gone = NodeENI(pod.eni, LinkFacts("", 0), self._node)
        node_pod = pod_on_node(pod, self._enis.get(pod.eni.mac, gone))
        try:
            with open_namespace(netns) as namespace:
                clear(node_pod, namespace)
        except NamespaceGoneError:
            clear(node_pod, None)

    def pods(self) -> Mapping[str, str]:
        with open_netlink() as netlink:
            return ownership.pods(observe(netlink))

    def delete_address(self, address: str) -> None:
        clear_host((address,), self.pods().get(address, ""))

    def _node_pod(self, pod: PodInterface) -> NodePod:
        if not (eni := self._enis.get(pod.eni.mac)):
            raise NICMissingError(f"ENI {pod.eni.name} has no NIC on this node (yet)")
        return pod_on_node(pod, eni)

    def _build(self, node_pod: NodePod, namespace: int, stopwatch: Stopwatch) -> None:
        """Build without looking; where the kernel refuses, observe, then repair or build anew."""
        try:
            build(node_pod, namespace, stopwatch)
        except KernelRefusedError:
            with stopwatch.phase("repair"):
                self._restore_shared(node_pod)
                if repair(node_pod, namespace, Stopwatch()):
                    return
                clear(node_pod, namespace)
                node_pod = with_free_indexes(node_pod, namespace)
            build(node_pod, namespace, stopwatch)

    def _restore_shared(self, node_pod: NodePod) -> None:
        """Restore what a pod relies on, should it have been lost since the ENI was configured."""
        with self._shared_lock, open_netlink() as netlink:
            apply(self._node_differences(netlink), netlink)
            apply(_eni_differences(node_pod.eni, netlink), netlink)

    def _require_nic(self, eni: ENIFacts) -> None:
        with open_netlink() as netlink:
            if not ownership.find_nic(list_links(netlink), eni.mac):
                self._enis.pop(eni.mac, None)
                raise NICMissingError(f"the NIC of ENI {eni.name} ({eni.mac}) is gone")

    def _node_differences(self, netlink: Netlink) -> tuple[Operation, ...]:
        wanted = plan_node(frozenset({IPV4, IPV6} if speaks_ipv6() else {IPV4}))
        seen = ownership.of_node(observe(netlink) | observe_filters())
        return diff(seen | observe_sysctls(wanted), wanted)

    def _teardown_node(self, netlink: Netlink) -> None:
        """Remove what ENIs share if the kernel has neither an ENI nor a pod of ours left."""
        seen = observe(netlink) | observe_filters()
        enis = any(isinstance(i, Rule) and i.priority == names.RULE_FROM_ENI for i in seen)
        if not enis and not ownership.pods(seen):
            rules = frozenset(i for i in ownership.of_node(seen) if isinstance(i, Rule))
            apply(diff(rules, NOTHING), netlink)
            delete_filters()

    def _with_present_addresses(
        self, node: NodeFacts, eni: ENIFacts, netlink: Netlink
    ) -> NodeFacts:
        """Drop node addresses that no link has, and those that are an ENI's primary address."""
        present = {i.address for i in observe(netlink) if isinstance(i, Address)}
        of_enis = {a for known in self._enis.values() for a in known.facts.primary}
        own = present - of_enis - set(eni.primary)
        return replace(node, addresses=tuple(a for a in node.addresses if _canonical(a) in own))


def _eni_differences(eni: NodeENI, netlink: Netlink) -> tuple[Operation, ...]:
    wanted = plan_eni(eni)
    seen = observe(netlink, nic=eni.link.ifindex) | observe_filters()
    mine = ownership.of_eni(seen, eni.link.ifindex, eni.facts.primary)
    return diff(mine | observe_sysctls(wanted), wanted)


def _canonical(address: str) -> str:
    return str(ipaddress.ip_address(address))
