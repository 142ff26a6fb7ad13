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
from openeni_nodeagent.datapath.local import LocalEni, LocalPod, local_pod
from openeni_nodeagent.datapath.model import NOTHING, Address, Operation, Rule, State
from openeni_nodeagent.datapath.plan import plan_node, plan_pod, pod_gateways, pod_routes
from openeni_nodeagent.datapath.pod import (
    build,
    clear,
    clear_node,
    compare,
    repair,
    with_free_indexes,
)
from openeni_nodeagent.datapath_api import (
    DatapathError,
    EniFacts,
    KernelRefusedError,
    LinkFacts,
    NamespaceGoneError,
    NicMissingError,
    NodeFacts,
    PodInterface,
    PodNetwork,
)
from openeni_nodeagent.phases import Stopwatch


class KernelDatapath:
    """Implements NodeDatapath in the network namespace of the calling threads: the node's."""

    def __init__(self) -> None:
        self._node = NodeFacts(addresses=())
        self._enis: dict[str, LocalEni] = {}  # by MAC
        self._shared_lock = threading.Lock()  # of rules and filters that ENIs share
        self._announcer = Announcer()

    def close(self) -> None:
        """Close the sockets; nothing in the kernel changes."""
        self._announcer.close()

    def modes(self) -> frozenset[str]:
        return modes.supported_modes()

    def prepare_node(self, node: NodeFacts) -> None:
        """Keep the facts; `prepare_eni` applies them, for there is nothing to do without an ENI."""
        self._node = node

    def prepare_eni(self, eni: EniFacts, node: NodeFacts) -> LinkFacts:
        modes.require_support(eni.datapath)
        with self._shared_lock, open_netlink() as netlink:
            if not (nic := ownership.find_nic(list_links(netlink), eni.mac)):
                self._enis.pop(eni.mac, None)
                raise NicMissingError(f"no NIC with MAC {eni.mac} on this node: is it attached?")
            found = LinkFacts(nic.name, nic.index)
            local = LocalEni(eni, found, self._with_present_addresses(node, eni, netlink))
            apply(self._node_differences(netlink), netlink)
            apply(_eni_differences(local, netlink), netlink)
        self._enis[eni.mac] = local
        return found

    def release_eni(self, eni: EniFacts) -> None:
        self._enis.pop(eni.mac, None)
        with self._shared_lock, open_netlink() as netlink:
            nic = ownership.find_nic(list_links(netlink), eni.mac)
            index = nic.index if nic else 0
            seen = observe(netlink, nic=index) | observe_filters()
            left = ownership.left_of_eni(seen, index, eni.primary)
            wanted: State = frozenset({replace(nic, up=False)} if nic else ())
            apply(diff(left, wanted), netlink)
            self._release_node(netlink)

    def add(self, pod: PodInterface, netns: str) -> PodNetwork:
        stopwatch = Stopwatch()
        local = self._local_pod(pod)
        with open_namespace(netns) as namespace:
            try:
                self._build(local, namespace, stopwatch)
            except (DatapathError, OSError):
                with suppress(DatapathError, OSError):
                    clear(local, namespace)
                self._require_nic(pod.eni)
                raise
        with stopwatch.phase("announce"):
            self._announcer.announce(local.eni.link.device, pod.eni.mac, pod.addresses)
        slave = local.eni.ipvlan
        return PodNetwork(
            host_interface=local.eni.slave if slave else local.node_link,
            host_mac=pod.eni.mac if slave else names.VETH_MAC,
            pod_mac=pod.eni.mac if slave else local.mac,
            gateway=pod_gateways(local),
            routes=pod_routes(plan_pod(local).pod),
            phases=stopwatch.seconds,
        )

    def check(self, pod: PodInterface, netns: str) -> tuple[str, ...]:
        local = self._local_pod(pod)
        with open_namespace(netns) as namespace, open_netlink() as netlink:
            found = (
                *self._node_differences(netlink),
                *_eni_differences(local.eni, netlink),
                *compare(local, namespace).operations,
            )
        return tuple(map(sentence, found))

    def delete(self, pod: PodInterface, netns: str) -> None:
        gone = LocalEni(pod.eni, LinkFacts("", 0), self._node)
        local = local_pod(pod, self._enis.get(pod.eni.mac, gone))
        try:
            with open_namespace(netns) as namespace:
                clear(local, namespace)
        except NamespaceGoneError:
            clear(local, None)

    def pods(self) -> Mapping[str, str]:
        with open_netlink() as netlink:
            return ownership.pods(observe(netlink))

    def delete_address(self, address: str) -> None:
        clear_node((address,), self.pods().get(address, ""))

    def _local_pod(self, pod: PodInterface) -> LocalPod:
        if not (eni := self._enis.get(pod.eni.mac)):
            raise NicMissingError(f"ENI {pod.eni.name} has no NIC on this node (yet)")
        return local_pod(pod, eni)

    def _build(self, local: LocalPod, namespace: int, stopwatch: Stopwatch) -> None:
        """Build without looking; where the kernel refuses, observe, then repair or build anew."""
        try:
            build(local, namespace, stopwatch)
        except KernelRefusedError:
            with stopwatch.phase("repair"):
                self._restore_shared(local)
                if repair(local, namespace, Stopwatch()):
                    return
                clear(local, namespace)
                local = with_free_indexes(local, namespace)
            build(local, namespace, stopwatch)

    def _restore_shared(self, local: LocalPod) -> None:
        """Restore what a pod relies on, should it have been lost since the ENI was prepared."""
        with self._shared_lock, open_netlink() as netlink:
            apply(self._node_differences(netlink), netlink)
            apply(_eni_differences(local.eni, netlink), netlink)

    def _require_nic(self, eni: EniFacts) -> None:
        with open_netlink() as netlink:
            if not ownership.find_nic(list_links(netlink), eni.mac):
                self._enis.pop(eni.mac, None)
                raise NicMissingError(f"the NIC of ENI {eni.name} ({eni.mac}) is gone")

    def _node_differences(self, netlink: Netlink) -> tuple[Operation, ...]:
        wanted = plan_node(frozenset({IPV4, IPV6} if speaks_ipv6() else {IPV4}))
        seen = ownership.of_node(observe(netlink) | observe_filters())
        return diff(seen | observe_sysctls(wanted), wanted)

    def _release_node(self, netlink: Netlink) -> None:
        """Remove what ENIs share if the kernel has neither an ENI nor a pod of ours left."""
        seen = observe(netlink) | observe_filters()
        enis = any(isinstance(i, Rule) and i.priority == names.RULE_FROM_ENI for i in seen)
        if not enis and not ownership.pods(seen):
            rules = frozenset(i for i in ownership.of_node(seen) if isinstance(i, Rule))
            apply(diff(rules, NOTHING), netlink)
            delete_filters()

    def _with_present_addresses(
        self, node: NodeFacts, eni: EniFacts, netlink: Netlink
    ) -> NodeFacts:
        """Drop node addresses that no link has, and those that are an ENI's primary address."""
        present = {i.address for i in observe(netlink) if isinstance(i, Address)}
        of_enis = {a for local in self._enis.values() for a in local.facts.primary}
        own = present - of_enis - set(eni.primary)
        return replace(node, addresses=tuple(a for a in node.addresses if _canonical(a) in own))


def _eni_differences(local: LocalEni, netlink: Netlink) -> tuple[Operation, ...]:
    wanted = plan_eni(local)
    seen = observe(netlink, nic=local.link.ifindex) | observe_filters()
    mine = ownership.of_eni(seen, local.link.ifindex, local.facts.primary)
    return diff(mine | observe_sysctls(wanted), wanted)


def _canonical(address: str) -> str:
    return str(ipaddress.ip_address(address))
