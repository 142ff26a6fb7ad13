"""One pod's datapath in the kernel: build it, compare it, clear it away."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from openeni_nodeagent.attachments.phases import Phases
from openeni_nodeagent.datapath import ours
from openeni_nodeagent.datapath.diff import diff
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    connected,
    execute,
    links,
    observe,
    observe_filters,
    observe_sysctls,
    write,
)
from openeni_nodeagent.datapath.linux.namespace import inside
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink import create
from openeni_nodeagent.datapath.model import IPVLAN, NOTHING, Link, Operation, State, Sysctl, Verb
from openeni_nodeagent.datapath.place import PodPlace
from openeni_nodeagent.datapath.plan import plan_pod


def build(pod: PodPlace, namespace: int, phases: Phases) -> None:
    """Make all of it where nothing of it is yet: the hot path of ADD, which looks at nothing.

    Raises KernelRefusedError where something is in the way: see `mend` and `stand_free`.
    """
    with phases.phase("plan"):
        sides = plan_pod(pod)
        on_node, in_pod = diff(NOTHING, sides.node), diff(NOTHING, sides.pod)
        births = [o for o in (*on_node, *in_pod) if _is_birth(o)]
        creation = _creation([o.item for o in births if isinstance(o.item, Link)], namespace)
    with connected() as netlink:
        with phases.phase("node"):
            # By itself: should it be refused, the rest would meet whatever has its index.
            execute(netlink, [creation], births[:1])
            apply([o for o in on_node if not _is_birth(o)], netlink)
        _apply_inside(namespace, [o for o in in_pod if not _is_birth(o)], phases)


def mend(pod: PodPlace, namespace: int, phases: Phases) -> bool:
    """Complete what there is of it, links untouched; False where they are not as they should be."""
    found = compare(pod, namespace)
    if any(_is_birth(o) or _is_death(o) for o in found.operations):
        return False
    with connected() as netlink:
        apply(found.on_node, netlink)
    _apply_inside(namespace, found.in_pod, phases)
    return True


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


@dataclass(frozen=True, slots=True)
class Comparison:
    """What would have to be done on either side for the pod to be as planned."""

    on_node: tuple[Operation, ...]
    in_pod: tuple[Operation, ...]

    @property
    def operations(self) -> tuple[Operation, ...]:
        return (*self.on_node, *self.in_pod)


def compare(pod: PodPlace, namespace: int) -> Comparison:
    """Look at both sides of the pod's datapath; nothing is changed."""
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
    return Comparison(diff(on_node, sides.node), diff(in_pod, sides.pod))


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


def _creation(links: list[Link], namespace: int) -> bytes:
    """Both ends of a pair, node's first, or the one slave: made where the pod is."""
    node_link, *peer = links
    return create(node_link, peer=peer[0] if peer else None, namespace=namespace)


def _apply_inside(namespace: int, operations: Sequence[Operation], phases: Phases) -> None:
    """Sysctls first: they are written in the namespace, all else on a socket from in there."""
    sysctls = [o for o in operations if isinstance(o.item, Sysctl)]
    with phases.phase("namespace"):
        within = inside(namespace, partial(_settle, sysctls))
    with phases.phase("pod"), within:
        apply([o for o in operations if not isinstance(o.item, Sysctl)], within)


def _is_birth(operation: Operation) -> bool:
    return isinstance(operation.item, Link) and operation.verb is Verb.ADD


def _is_death(operation: Operation) -> bool:
    return isinstance(operation.item, Link) and operation.verb is Verb.REMOVE


def _settle(sysctls: Sequence[Operation]) -> Netlink:
    """In the namespace: write before the link is up, and open a socket that stays in here."""
    write(sysctls)
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
