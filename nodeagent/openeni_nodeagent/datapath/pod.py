"""Build, compare, repair and remove one pod's datapath in the kernel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from openeni_nodeagent.datapath import ownership
from openeni_nodeagent.datapath.diff import diff
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    execute,
    list_links,
    observe,
    observe_filters,
    observe_sysctls,
    open_netlink,
    write_sysctls,
)
from openeni_nodeagent.datapath.linux.namespace import in_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import create_link
from openeni_nodeagent.datapath.model import IPVLAN, NOTHING, Link, Operation, State, Sysctl, Verb
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.phases import Stopwatch


def build(pod: NodePod, namespace: int, stopwatch: Stopwatch) -> None:
    """Create everything, on the assumption that none of it exists: the hot path of ADD.

    Nothing is observed first. Raises KernelRefusedError where the assumption is wrong: see `repair`
    and `with_free_indexes`.
    """
    with stopwatch.phase("plan"):
        planned = plan_pod(pod)
        on_host, in_pod = diff(NOTHING, planned.host), diff(NOTHING, planned.pod)
        creations = [o for o in (*on_host, *in_pod) if _creates_link(o)]
        request = _encode_links([o.item for o in creations if isinstance(o.item, Link)], namespace)
    with open_netlink() as netlink:
        with stopwatch.phase("node"):
            # Alone: were it refused in a batch, the rest would change the link that has its index.
            execute(netlink, [request], creations[:1])
            apply([o for o in on_host if not _creates_link(o)], netlink)
        _apply_inside(namespace, [o for o in in_pod if not _creates_link(o)], stopwatch)


def repair(pod: NodePod, namespace: int, stopwatch: Stopwatch) -> bool:
    """Restore all but links, and return True; False if a link is missing or wrong."""
    found = compare(pod, namespace)
    if any(_creates_link(o) or _removes_link(o) for o in found.operations):
        return False
    with open_netlink() as netlink:
        apply(found.on_host, netlink)
    _apply_inside(namespace, found.in_pod, stopwatch)
    return True


def clear(pod: NodePod, namespace: int | None) -> None:
    """Remove whatever exists of the pod; without a namespace, the host's part alone."""
    clear_host(pod.facts.addresses, pod.host_link)
    if namespace is not None and pod.eni.ipvlan:
        in_namespace(namespace, partial(_remove_slave, pod))


def clear_host(addresses: tuple[str, ...], host_link: str) -> None:
    """Remove the host's part; the kernel removes the pod's end of a veth pair with it."""
    with open_netlink() as netlink:
        seen = observe(netlink) | observe_filters()
        apply(diff(ownership.of_pod(seen, addresses, host_link), NOTHING), netlink)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Operations that would bring the pod to its plan, on the host and in its namespace."""

    on_host: tuple[Operation, ...]
    in_pod: tuple[Operation, ...]

    @property
    def operations(self) -> tuple[Operation, ...]:
        return (*self.on_host, *self.in_pod)


def compare(pod: NodePod, namespace: int) -> Comparison:
    """Compare both parts of the pod's datapath with the plan; nothing is changed."""
    facts = pod.facts
    with open_netlink() as netlink:
        seen = observe(netlink)
    seen_in_pod = in_namespace(namespace, _observe_pod)
    placed = replace(
        pod,
        host_index=_index(seen, pod.host_link, pod.host_index),
        pod_index=_index(seen_in_pod, facts.interface, pod.pod_index),
    )
    planned = plan_pod(placed)
    on_host = ownership.of_pod(seen | observe_filters(), facts.addresses, pod.host_link)
    in_pod = ownership.of_interface(seen_in_pod, facts.interface, facts.addresses)
    in_pod |= in_namespace(namespace, partial(observe_sysctls, planned.pod))
    return Comparison(diff(on_host, planned.host), diff(in_pod, planned.pod))


def with_free_indexes(pod: NodePod, namespace: int) -> NodePod:
    """Return the pod with interface indexes that no other link has."""
    with open_netlink() as netlink:
        on_host = {link.index for link in list_links(netlink)}
    in_pod = {i.index for i in in_namespace(namespace, _observe_pod) if isinstance(i, Link)}
    return replace(
        pod,
        host_index=_next_free(pod.host_index, on_host),
        pod_index=_next_free(pod.pod_index, in_pod),
    )


def _encode_links(links: list[Link], namespace: int) -> bytes:
    """Encode the creation of a veth pair, host's end first, or of one slave, in the namespace."""
    host_link, *peer = links
    return create_link(host_link, peer=peer[0] if peer else None, namespace=namespace)


def _apply_inside(namespace: int, operations: Sequence[Operation], stopwatch: Stopwatch) -> None:
    """Write sysctls in the namespace, then apply the rest on a socket that was opened there."""
    sysctls = [o for o in operations if isinstance(o.item, Sysctl)]
    with stopwatch.phase("namespace"):
        seen_in_pod = in_namespace(namespace, partial(_open_in_namespace, sysctls))
    with stopwatch.phase("pod"), seen_in_pod:
        apply([o for o in operations if not isinstance(o.item, Sysctl)], seen_in_pod)


def _creates_link(operation: Operation) -> bool:
    return isinstance(operation.item, Link) and operation.verb is Verb.ADD


def _removes_link(operation: Operation) -> bool:
    return isinstance(operation.item, Link) and operation.verb is Verb.REMOVE


def _open_in_namespace(sysctls: Sequence[Operation]) -> Netlink:
    """Write sysctls, before the link is up, and open a socket that stays in this namespace."""
    write_sysctls(sysctls)
    return Netlink()


def _observe_pod() -> State:
    with open_netlink() as netlink:
        return observe(netlink)


def _remove_slave(pod: NodePod) -> None:
    """Remove the interface in this namespace if it is a slave of the pod's ENI."""
    with open_netlink() as netlink:
        slaves = [
            link
            for link in list_links(netlink)
            if (link.name, link.kind) == (pod.facts.interface, IPVLAN)
            and link.mac == pod.eni.facts.mac
        ]
        apply([Operation(Verb.REMOVE, slave) for slave in slaves], netlink)


def _index(state: State, name: str, otherwise: int) -> int:
    return next((i.index for i in state if isinstance(i, Link) and i.name == name), otherwise)


def _next_free(index: int, taken: set[int]) -> int:
    while index in taken:
        index += 1
    return index
