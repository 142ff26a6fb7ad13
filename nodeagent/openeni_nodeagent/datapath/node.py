"""The datapath of one node: the Wiring that the agent uses, on the kernel it runs on."""

import ipaddress
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from openeni_crds import names
from openeni_nodeagent.attachments.phases import Phases
from openeni_nodeagent.datapath import ours
from openeni_nodeagent.datapath.describe import sentence
from openeni_nodeagent.datapath.diff import diff
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath.linux.announce import Announcer
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    connected,
    erase_filters,
    links,
    observe,
    observe_filters,
    observe_sysctls,
    speaks_ipv6,
)
from openeni_nodeagent.datapath.linux.namespace import opened
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import NOTHING, Address, Operation, Rule, State
from openeni_nodeagent.datapath.place import EniPlace, PodPlace, pod_place
from openeni_nodeagent.datapath.plan import plan_eni, plan_node, plan_pod, pod_gateways, pod_routes
from openeni_nodeagent.datapath.pod import build, clear, clear_node, compare, mend, stand_free
from openeni_nodeagent.wiring import (
    EniFacts,
    KernelRefusedError,
    LinkFacts,
    NamespaceGoneError,
    NicMissingError,
    NodeFacts,
    PodFacts,
    Wired,
    WiringError,
)


class NodeDatapath:
    """A Wiring. Acts in the network namespace of the threads that call it: the node's."""

    def __init__(self) -> None:
        self._node = NodeFacts(addresses=())
        self._enis: dict[str, EniPlace] = {}  # by MAC; replaced whole, never changed
        self._ground = threading.Lock()  # of what ENIs share: the first makes, the last removes
        self._announcer = Announcer()

    def close(self) -> None:
        """Give back what the process holds; nothing in the kernel changes."""
        self._announcer.close()

    def modes(self) -> frozenset[str]:
        return modes.supported_modes()

    def prepare_node(self, node: NodeFacts) -> None:
        """What all ENIs share stands there while there is an ENI: see `prepare_eni`."""
        self._node = node

    def prepare_eni(self, eni: EniFacts, node: NodeFacts) -> LinkFacts:
        modes.require(eni.datapath)
        with self._ground, connected() as netlink:
            if not (nic := ours.find_nic(links(netlink), eni.mac)):
                self._enis.pop(eni.mac, None)
                raise NicMissingError(f"no NIC with MAC {eni.mac} on this node: is it attached?")
            found = LinkFacts(nic.name, nic.index)
            place = EniPlace(eni, found, self._on_links(node, eni, netlink))
            apply(self._node_differences(netlink), netlink)
            apply(_eni_differences(place, netlink), netlink)
        self._enis[eni.mac] = place
        return found

    def release_eni(self, eni: EniFacts) -> None:
        self._enis.pop(eni.mac, None)
        with self._ground, connected() as netlink:
            nic = ours.find_nic(links(netlink), eni.mac)
            index = nic.index if nic else 0
            seen = observe(netlink, nic=index) | observe_filters()
            left = ours.left_of_eni(seen, index, eni.primary)
            wanted: State = frozenset({replace(nic, up=False)} if nic else ())
            apply(diff(left, wanted), netlink)
            self._leave_node(netlink)

    def add(self, pod: PodFacts, netns: str) -> Wired:
        phases = Phases()
        place = self._stand(pod)
        with opened(netns) as namespace:
            try:
                self._build(place, namespace, phases)
            except (WiringError, OSError):
                with suppress(WiringError, OSError):
                    clear(place, namespace)
                self._require_nic(pod.eni)
                raise
        with phases.phase("announce"):
            self._announcer.announce(place.eni.link.device, pod.eni.mac, pod.addresses)
        slave = place.eni.ipvlan
        return Wired(
            host_interface=place.eni.slave if slave else place.node_link,
            host_mac=pod.eni.mac if slave else names.VETH_MAC,
            pod_mac=pod.eni.mac if slave else place.mac,
            gateway=pod_gateways(place),
            routes=pod_routes(plan_pod(place).pod),
            phases=phases.seconds,
        )

    def check(self, pod: PodFacts, netns: str) -> tuple[str, ...]:
        place = self._stand(pod)
        with opened(netns) as namespace, connected() as netlink:
            found = (
                *self._node_differences(netlink),
                *_eni_differences(place.eni, netlink),
                *compare(place, namespace).operations,
            )
        return tuple(map(sentence, found))

    def delete(self, pod: PodFacts, netns: str) -> None:
        gone = EniPlace(pod.eni, LinkFacts("", 0), self._node)
        place = pod_place(pod, self._enis.get(pod.eni.mac, gone))
        try:
            with opened(netns) as namespace:
                clear(place, namespace)
        except NamespaceGoneError:
            clear(place, None)

    def pods(self) -> Mapping[str, str]:
        with connected() as netlink:
            return ours.pods(observe(netlink))

    def delete_address(self, address: str) -> None:
        clear_node((address,), self.pods().get(address, ""))

    def _stand(self, pod: PodFacts) -> PodPlace:
        if not (eni := self._enis.get(pod.eni.mac)):
            raise NicMissingError(f"ENI {pod.eni.name} has no NIC on this node (yet)")
        return pod_place(pod, eni)

    def _build(self, place: PodPlace, namespace: int, phases: Phases) -> None:
        """The fast way; where the kernel finds something in its way, look and repair."""
        try:
            build(place, namespace, phases)
        except KernelRefusedError:
            with phases.phase("repair"):
                self._complete_ground(place)
                if mend(place, namespace, Phases()):
                    return
                clear(place, namespace)
                place = stand_free(place, namespace)
            build(place, namespace, phases)

    def _complete_ground(self, place: PodPlace) -> None:
        """What a pod stands on may have been lost since it was prepared."""
        with self._ground, connected() as netlink:
            apply(self._node_differences(netlink), netlink)
            apply(_eni_differences(place.eni, netlink), netlink)

    def _require_nic(self, eni: EniFacts) -> None:
        with connected() as netlink:
            if not ours.find_nic(links(netlink), eni.mac):
                self._enis.pop(eni.mac, None)
                raise NicMissingError(f"the NIC of ENI {eni.name} ({eni.mac}) is gone")

    def _node_differences(self, netlink: Netlink) -> tuple[Operation, ...]:
        wanted = plan_node(frozenset({4, 6} if speaks_ipv6() else {4}))
        seen = ours.of_node(observe(netlink) | observe_filters())
        return diff(seen | observe_sysctls(wanted), wanted)

    def _leave_node(self, netlink: Netlink) -> None:
        """With the last ENI goes what all share; the kernel is asked which is the last."""
        seen = observe(netlink) | observe_filters()
        enis = any(isinstance(i, Rule) and i.priority == names.RULE_FROM_ENI for i in seen)
        if not enis and not ours.pods(seen):
            rules = frozenset(i for i in ours.of_node(seen) if isinstance(i, Rule))
            apply(diff(rules, NOTHING), netlink)
            erase_filters()

    def _on_links(self, node: NodeFacts, eni: EniFacts, netlink: Netlink) -> NodeFacts:
        """Keep the node's addresses that a link has, and that are no ENI's own."""
        present = {i.address for i in observe(netlink) if isinstance(i, Address)}
        of_enis = {a for place in self._enis.values() for a in place.facts.primary}
        own = present - of_enis - set(eni.primary)
        return replace(node, addresses=tuple(a for a in node.addresses if _plain(a) in own))


def _eni_differences(place: EniPlace, netlink: Netlink) -> tuple[Operation, ...]:
    wanted = plan_eni(place)
    seen = observe(netlink, nic=place.link.ifindex) | observe_filters()
    mine = ours.of_eni(seen, place.link.ifindex, place.facts.primary)
    return diff(mine | observe_sysctls(wanted), wanted)


def _plain(address: str) -> str:
    return str(ipaddress.ip_address(address))
