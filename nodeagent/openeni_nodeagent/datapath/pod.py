"""Build, compare, repair and remove one pod's datapath in the kernel."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from openeni_nodeagent.datapath import ownership
from openeni_nodeagent.datapath.diff import (
    changes_links,
    diff,
    is_link_creation,
    is_offload,
    losing_ipv4,
    with_lower_mtus,
    without_flushed,
)
from openeni_nodeagent.datapath.inside.former_gateways import is_former_gateway, with_used_gateway
from openeni_nodeagent.datapath.inside.slaves import remove_slaves
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    execute,
    find_link,
    list_links,
    observe,
    observe_filters,
    restore,
)
from openeni_nodeagent.datapath.linux.namespace import in_namespace, open_namespace
from openeni_nodeagent.datapath.linux.netlink import ENTRIES_IN_POD, Netlink, Refusal
from openeni_nodeagent.datapath.linux.sysctls import (
    observe_pod_sysctls,
    observe_sysctls,
    write_pod_sysctls,
    write_sysctls,
)
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    NOTHING,
    VETH,
    Address,
    FlowtableLink,
    Link,
    Neighbour,
    Operation,
    Qdisc,
    Route,
    State,
    Sysctl,
    Verb,
)
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.datapath.pod_messages.encoding import encode_creation
from openeni_nodeagent.datapath.pod_messages.template import template_of
from openeni_nodeagent.datapath_api import KernelRefusedError, NamespaceGoneError
from openeni_nodeagent.phases import Stopwatch


def build_from_template(pod: NodePod, namespace: int, stopwatch: Stopwatch) -> None:
    """Create everything from the template of the pod's ENI; without one, as `build` does.

    The hot path of ADD: it assumes that none of it exists, and observes nothing. Raises
    KernelRefusedError where that is wrong: see `repair`, `with_free_indexes` and `build`, whose
    errors name the item.
    """
    with stopwatch.phase("plan"):
        template = template_of(pod)
        messages = template.fill(pod, namespace) if template else None
    if messages is None:
        build(pod, namespace, stopwatch)
        return
    with Netlink() as netlink:
        with stopwatch.phase("node"):
            _raise_if_refused(netlink.execute([messages.creation]))  # alone: see `build`
            write_sysctls(messages.host_sysctls)
            _raise_if_refused(netlink.execute(messages.host))
            if messages.members:
                with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
                    _raise_if_refused(netfilter.execute_framed(messages.members))
        with stopwatch.phase("namespace"):
            seen_in_pod = in_namespace(namespace, partial(_open_in_namespace, messages.pod_sysctls))
        with stopwatch.phase("pod"), seen_in_pod:
            _raise_if_refused(seen_in_pod.execute(messages.pod))


def build(pod: NodePod, namespace: int, stopwatch: Stopwatch) -> None:
    """Plan and create what an ADD needs, item by item, on the assumption that none of it exists."""
    with stopwatch.phase("plan"):
        planned = plan_pod(pod)
        on_host, in_pod = diff(NOTHING, planned.host), diff(NOTHING, planned.pod)
        creations = [o for o in (*on_host, *in_pod) if is_link_creation(o)]
        request = encode_creation(creations, namespace)
    with Netlink() as netlink:
        with stopwatch.phase("node"):
            # Alone: were it refused in a batch, the rest would change the link that has its index.
            execute(netlink, [request], creations[:1])
            apply([o for o in on_host if not (is_offload(o) or is_link_creation(o))], netlink)
        _apply_inside(namespace, [o for o in in_pod if not is_link_creation(o)], stopwatch)


def repair(pod: NodePod, namespace: int, stopwatch: Stopwatch) -> bool:
    """Restore all but links, and return True; False if a link is missing, wrong or another's."""
    found = compare(pod, namespace)
    if changes_links(found.operations):
        return False
    with Netlink() as netlink:
        restore(found.on_host, netlink)
    _apply_inside(namespace, found.in_pod, stopwatch)
    return True


def repair_inside(pod: NodePod, netns: str) -> tuple[Operation, ...]:
    """Restore all but links in the namespace at a path, and return what differed.

    Nothing is changed if a link is missing, wrong or another's. Raises NamespaceGoneError.
    """
    with open_namespace(netns) as namespace:
        found = compare_inside(pod, namespace)
        if not changes_links(found):
            _apply_inside(namespace, found, Stopwatch())
    return found


def remove_host_part(pod: NodePod) -> None:
    """Remove all but links on the host, by names and addresses; nothing is looked at.

    A neighbour of the host's own end of a pair goes with that, and so does its token bucket.
    """
    operations = [
        Operation(Verb.REMOVE, replace(item, index=0) if isinstance(item, Route) else item)
        for item in plan_pod(pod).host
        if not isinstance(item, Link | Sysctl | Qdisc | FlowtableLink)
        and not (isinstance(item, Neighbour) and item.index in (0, pod.host_index))
    ]
    with Netlink() as netlink:
        apply(sorted(operations, key=lambda o: type(o.item).__name__), netlink)


def remove_links(pod: NodePod, netns: str, kept: Collection[str] = ()) -> None:
    """Remove the host's end of the pod's pair, or its ENI's slaves in the namespace at a path.

    The pod may have renamed its own, or swapped its address for a free one. Another pod's namespace
    may have its path by now, and even its inode's number: that pod's slave has a `kept` address.
    """
    if pod.eni.ipvlan:
        with suppress(NamespaceGoneError), open_namespace(netns) as namespace:
            remove_slaves(pod.eni.facts.mac, pod.pod_index, namespace, kept)
        return
    with Netlink() as netlink:
        link = find_link(netlink, pod.host_link)
        if link is not None and link.kind == VETH:
            apply([Operation(Verb.REMOVE, link)], netlink)


def clear(pod: NodePod, namespace: int | None) -> None:
    """Remove whatever exists of the pod; without a namespace, the host's part alone.

    The host's end of a pair may be where nobody looks: renamed, or in another namespace.
    """
    clear_host(pod.facts.addresses, pod.host_link)
    if namespace is not None:
        in_namespace(namespace, partial(_remove_interface, pod))


def clear_host(addresses: tuple[str, ...], host_link: str) -> None:
    """Remove the host's part; the kernel removes the pod's end of a veth pair with it."""
    with Netlink() as netlink:
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
    with Netlink() as netlink:
        seen = observe(netlink)
    placed = replace(pod, host_index=_index(seen, pod.host_link, pod.host_index))
    planned = plan_pod(placed).host
    seen |= observe_filters()
    on_host = ownership.of_pod(seen, pod.facts.addresses, pod.host_link)
    on_host = without_flushed(on_host, losing_ipv4(on_host, planned))
    on_host |= ownership.in_place_of(seen, planned) | observe_sysctls(planned)
    differing = tuple(o for o in diff(on_host, planned) if not is_offload(o))
    return Comparison(differing, compare_inside(pod, namespace))


def compare_inside(pod: NodePod, namespace: int) -> tuple[Operation, ...]:
    """Compare the part in the pod's namespace with the plan; nothing is changed.

    A lower MTU than planned is no difference: a plugin after openeni (`tuning`) may have set it.
    An interface that is another pod's should not be there.
    """
    facts = pod.facts
    seen = in_namespace(namespace, _observe_pod)
    planned = plan_pod(replace(pod, pod_index=_index(seen, facts.interface, pod.pod_index))).pod
    planned = with_lower_mtus(planned, seen)
    in_pod = ownership.of_interface(seen, facts.interface, facts.addresses)
    in_pod |= ownership.in_place_of(seen, planned)
    in_pod |= in_namespace(namespace, partial(observe_pod_sysctls, planned))
    found = with_used_gateway(diff(in_pod, planned), in_pod, namespace)
    return (*_anothers(pod, seen), *found)


def with_free_indexes(pod: NodePod, namespace: int) -> NodePod:
    """Return the pod with interface indexes that no other link has."""
    with Netlink() as netlink:
        on_host = {link.index for link in list_links(netlink)}
    in_pod = {i.index for i in in_namespace(namespace, _observe_pod) if isinstance(i, Link)}
    if pod.eni.ipvlan:  # before Linux 6.15, rtnl_newlink() looks for its index where its parent is
        in_pod |= on_host
    return replace(
        pod,
        host_index=_next_free(pod.host_index, on_host),
        pod_index=_next_free(pod.pod_index, in_pod),
    )


def _apply_inside(namespace: int, operations: Sequence[Operation], stopwatch: Stopwatch) -> None:
    """Write sysctls in the namespace, then apply the rest on a socket that was opened there.

    A former gateway goes once the kernel has accepted all else.
    """
    sysctls = [o.item for o in operations if isinstance(o.item, Sysctl)]
    with stopwatch.phase("namespace"):
        seen_in_pod = in_namespace(namespace, partial(_open_in_namespace, sysctls))
    with stopwatch.phase("pod"), seen_in_pod:
        rest = [o for o in operations if not (isinstance(o.item, Sysctl) or is_former_gateway(o))]
        apply(rest, seen_in_pod)
        apply([o for o in operations if is_former_gateway(o)], seen_in_pod)


def _raise_if_refused(refused: Sequence[Refusal]) -> None:
    if refused:
        raise KernelRefusedError(str(refused[0]))


def _open_in_namespace(sysctls: Sequence[Sysctl]) -> Netlink:
    """Write sysctls, before the link is up, and open a socket that stays in this namespace."""
    write_pod_sysctls(sysctls)
    return Netlink()


def _observe_pod() -> State:
    with Netlink(limit=ENTRIES_IN_POD) as netlink:
        return observe(netlink)


def _anothers(pod: NodePod, seen: State) -> Iterator[Operation]:
    """Yield the removal of the interface if it is that of a pod that was here before.

    Such a one has addresses, and none of the pod's.
    """
    for link in (i for i in seen if isinstance(i, Link) and _is_interface(i, pod)):
        found = {i.address for i in seen if isinstance(i, Address) and i.index == link.index}
        others = {address for address in found if not address.startswith("fe80:")}
        if others and others.isdisjoint(pod.facts.addresses):
            yield Operation(Verb.REMOVE, link)


def _remove_interface(pod: NodePod) -> None:
    """Remove the interface in this namespace if it is the pod's."""
    with Netlink() as netlink:
        if link := _find_interface(pod, netlink):
            apply([Operation(Verb.REMOVE, link)], netlink)


def _find_interface(pod: NodePod, netlink: Netlink) -> Link | None:
    """Return the interface if it is the pod's; other links stay unread."""
    link = find_link(netlink, pod.facts.interface)
    return link if link is not None and _is_interface(link, pod) else None


def _is_interface(link: Link, pod: NodePod) -> bool:
    kind, mac = (IPVLAN, pod.eni.facts.mac) if pod.eni.ipvlan else (VETH, pod.mac)
    return (link.name, link.kind, link.mac) == (pod.facts.interface, kind, mac)


def _index(state: State, name: str, otherwise: int) -> int:
    return next((i.index for i in state if isinstance(i, Link) and i.name == name), otherwise)


def _next_free(index: int, taken: set[int]) -> int:
    while index in taken:
        index += 1
    return index
