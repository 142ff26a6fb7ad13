"""One pod's datapath in the kernel: build it, compare it, clear it away."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from openeni_nodeagent.datapath import ours
from openeni_nodeagent.datapath.diff import diff
from openeni_nodeagent.datapath.kernel import (
    apply,
    connected,
    execute,
    links,
    observe,
    observe_filters,
    observe_sysctls,
    write,
)
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    NOTHING,
    Element,
    Link,
    Operation,
    Sides,
    State,
    Sysctl,
    Verb,
)
from openeni_nodeagent.datapath.namespace import inside
from openeni_nodeagent.datapath.netlink import Netlink
from openeni_nodeagent.datapath.place import PodPlace
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.datapath.rtnetlink import create, encode
from openeni_nodeagent.phases import Phases

_NO_LINK: Final = Link("", 0, "", "", 0)


def build(pod: PodPlace, namespace: int, phases: Phases) -> Sides:
    """Make all of it where nothing of it is yet: the hot path of ADD, which looks at nothing.

    Raises KernelRefusedError where something is in the way: see `stand_free`.
    """
    with phases.phase("plan"):
        sides = plan_pod(pod)
        on_node, in_pod = diff(NOTHING, sides.node), diff(NOTHING, sides.pod)
        node_link, pod_link = _link(sides.node), _link(sides.pod)
        if node_link:
            creation = create(node_link, peer=pod_link, namespace=namespace)
        else:
            creation = create(pod_link or _NO_LINK, namespace=namespace)
        birth = Operation(Verb.ADD, pod_link or _NO_LINK)
        routed = [o for o in on_node if not (_is_birth(o) or isinstance(o.item, Element))]
    with connected() as netlink:
        with phases.phase("node"):
            execute(netlink, [creation, *map(encode, routed)], [birth, *routed])
            apply([o for o in on_node if isinstance(o.item, Element)], netlink)
        with phases.phase("namespace"):
            written = [o for o in in_pod if isinstance(o.item, Sysctl)]
            within = inside(namespace, partial(_settle, written))
        with phases.phase("pod"), within:
            rest = [o for o in in_pod if not (_is_birth(o) or isinstance(o.item, Sysctl))]
            apply(rest, within)
    return sides


def clear(pod: PodPlace, namespace: int | None) -> None:
    """Remove what there is of it, whole or in part; without a namespace, the node's part."""
    clear_node(pod.facts.addresses, pod.node_link)
    if namespace is not None and pod.eni.ipvlan:
        inside(namespace, partial(_remove_slave, pod))


def clear_node(addresses: tuple[str, ...], node_link: str) -> None:
    """Remove the node's part; a veth's other end goes with it."""
    with connected() as netlink:
        seen = observe(netlink) | observe_filters()
        apply(diff(ours.of_pod(seen, addresses, node_link), NOTHING), netlink)


def differences(pod: PodPlace, namespace: int) -> tuple[Operation, ...]:
    """What keeps the pod's datapath from being as planned, on both sides."""
    facts = pod.facts
    with connected() as netlink:
        seen = observe(netlink)
    within = inside(namespace, _observe_inside)
    place = replace(
        pod,
        node_index=_index(seen, pod.node_link, pod.node_index),
        pod_index=_index(within, facts.interface, pod.pod_index),
    )
    sides = plan_pod(place)
    on_node = ours.of_pod(seen | observe_filters(), facts.addresses, pod.node_link)
    in_pod = ours.of_interface(within, facts.interface, facts.addresses)
    in_pod |= inside(namespace, partial(observe_sysctls, sides.pod))
    return (*diff(on_node, sides.node), *diff(in_pod, sides.pod))


def stand_free(pod: PodPlace, namespace: int) -> PodPlace:
    """The same pod at indexes that no other link has."""
    with connected() as netlink:
        on_node = {link.index for link in links(netlink)}
    in_pod = {i.index for i in inside(namespace, _observe_inside) if isinstance(i, Link)}
    return replace(
        pod,
        node_index=_free(pod.node_index, on_node),
        pod_index=_free(pod.pod_index, in_pod),
    )


def _link(state: State) -> Link | None:
    return next((i for i in state if isinstance(i, Link)), None)


def _is_birth(operation: Operation) -> bool:
    return isinstance(operation.item, Link) and operation.verb is Verb.ADD


def _settle(sysctls: Iterable[Operation]) -> Netlink:
    """In the namespace: write before the link is up, and open a socket that stays in here."""
    write(list(sysctls))
    return Netlink()


def _observe_inside() -> State:
    with connected() as netlink:
        return observe(netlink)


def _remove_slave(pod: PodPlace) -> None:
    """In the namespace: only the slave of this ENI, whoever else made the interface."""
    with connected() as netlink:
        slaves = [
            link
            for link in links(netlink)
            if (link.name, link.kind) == (pod.facts.interface, IPVLAN)
            and link.mac == pod.eni.facts.mac
        ]
        apply([Operation(Verb.REMOVE, slave) for slave in slaves], netlink)


def _index(state: State, name: str, otherwise: int) -> int:
    return next((i.index for i in state if isinstance(i, Link) and i.name == name), otherwise)


def _free(index: int, taken: set[int]) -> int:
    while index in taken:
        index += 1
    return index
