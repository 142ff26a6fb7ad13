"""The choice of a pod's pool, and what the pod asks of its address.

One rule for the operator's demand and the agent's grants.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from openeni_crds.enipool import ENIPool
from openeni_crds.meta import seconds
from openeni_crds.names import ANNOTATION_ADDRESS, ANNOTATION_POOL, ANNOTATION_STICKY
from openeni_crds.podip import DELETE, FOREVER

# cloud-provider-openstack writes openstack:///<id>, or openstack://<region>/<id>.
_PROVIDER_ID: Final = re.compile(r"^openstack://[^/]*/([^/]+)$")
_RETENTION: Final = re.compile(r"([0-9]{1,4}h|[0-9]{1,6}m|[0-9]{1,7}s)+")
_SHORTEST_RETENTION: Final = 30
_LONGEST_RETENTION: Final = 8760 * 3600
_LONGEST_TEXT: Final = 100  # of an annotation that is read, or stands in an error


@dataclass(frozen=True)
class PodTraits:
    """Facts that decide a pod's pool."""

    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]
    namespace_labels: dict[str, str]


@dataclass(frozen=True)
class NodeTraits:
    """Facts that decide whether a node gets ENIs of a pool; `server_id` is "" outside OpenStack."""

    labels: dict[str, str]
    server_id: str


@dataclass(frozen=True)
class NoPool:
    """No pool serves the pod; `why` is one line for its author."""

    why: str


class WishError(ValueError):
    """An annotation that is not as it must be; one line for the pod's author."""


@dataclass(frozen=True)
class AddressWish:
    """What a pod asks of its address, by annotations."""

    retention: str = DELETE  # as PodIP.spec.retention
    addresses: tuple[str, ...] = ()  # at most one of each IP family, IPv4 first


def wish_of(annotations: Mapping[str, str]) -> AddressWish:
    """Return what a pod with these annotations asks for. Raises WishError."""
    return AddressWish(
        _retention(annotations.get(ANNOTATION_STICKY)),
        _addresses(annotations.get(ANNOTATION_ADDRESS)),
    )


def server_of(provider_id: str) -> str:
    """Return Nova's id in a Node's spec.providerID; "" where it is not OpenStack's."""
    found = _PROVIDER_ID.match(provider_id)
    return found.group(1) if found else ""


def selects_node(pool: ENIPool, node: NodeTraits) -> bool:
    """Return whether the node is a server that the pool's nodeSelector matches."""
    selector = pool.spec.node_selector
    return bool(node.server_id) and (selector is None or selector.matches(node.labels))


def serves(pool: ENIPool, node: NodeTraits) -> bool:
    """Return whether pods of the node may be given addresses of the pool."""
    return selects_node(pool, node) and not pool.metadata.deleting


def permits(pool: ENIPool, namespace_labels: dict[str, str]) -> bool:
    """Return whether pods of a namespace with these labels may use the pool."""
    selector = pool.spec.namespace_selector
    return selector is None or selector.matches(namespace_labels)


def choose_pool(pod: PodTraits, node: NodeTraits, pools: Iterable[ENIPool]) -> ENIPool | NoPool:
    """Return the pool that serves the pod on this node.

    Its annotation names one, which must permit the pod's namespace; else the pool with the highest
    priority among those whose podSelector and namespaceSelector match, the oldest among equals.
    """
    known = list(pools)
    named = pod.annotations.get(ANNOTATION_POOL)
    if named:
        return _named(named, pod, node, known)
    selecting = [pool for pool in known if serves(pool, node) and _selects(pool, pod)]
    return min(selecting, key=_rank) if selecting else _none(pod, node, known)


def _selects(pool: ENIPool, pod: PodTraits) -> bool:
    selector = pool.spec.pod_selector
    return (
        selector is not None
        and selector.matches(pod.labels)
        and permits(pool, pod.namespace_labels)
    )


def _named(
    name: str, pod: PodTraits, node: NodeTraits, pools: Iterable[ENIPool]
) -> ENIPool | NoPool:
    pool = next((p for p in pools if p.name == name), None)
    if pool is None:
        return NoPool(f"annotation {ANNOTATION_POOL}: there is no ENIPool {name[:64]!r}")
    # The namespace comes first: its answer is the same on every node.
    if not permits(pool, pod.namespace_labels):
        return NoPool(
            f"ENIPool {name!r} does not permit pods of namespace {pod.namespace!r}: its "
            "spec.namespaceSelector does not match the namespace's labels; "
            f"remove the annotation {ANNOTATION_POOL} or have the namespace labelled"
        )
    if pool.metadata.deleting:
        return NoPool(
            f"ENIPool {name!r} is being deleted; name another in the annotation {ANNOTATION_POOL}"
        )
    if not serves(pool, node):
        return NoPool(
            f"ENIPool {name!r} does not serve this node: its spec.nodeSelector does not match the "
            "node's labels, or the node is no server of OpenStack; give the pod a nodeSelector"
        )
    return pool


def _none(pod: PodTraits, node: NodeTraits, pools: Iterable[ENIPool]) -> NoPool:
    found = list(pools)
    here = sorted(p.name for p in found if serves(p, node))
    if not here:
        going = sorted(p.name for p in found if selects_node(p, node))
        why = f" ({', '.join(going)}: being deleted)" if going else ""
        return NoPool(
            f"no ENIPool serves this node{why}: create one whose spec.nodeSelector matches it, or "
            "give the pod a nodeSelector"
        )
    return NoPool(
        f"none of the ENIPools of this node ({', '.join(here)}) selects this pod of namespace "
        f"{pod.namespace!r} by its spec.podSelector and spec.namespaceSelector; set the annotation "
        f"{ANNOTATION_POOL} or change a pool's selectors"
    )


def _retention(text: str | None) -> str:
    if text is None:
        return DELETE
    if text.lower() == FOREVER.lower():
        return FOREVER
    valid = len(text) <= 32 and _RETENTION.fullmatch(text) is not None  # noqa: PLR2004 the schema's
    if not valid or not _SHORTEST_RETENTION <= seconds(text) <= _LONGEST_RETENTION:
        raise WishError(
            f"annotation {ANNOTATION_STICKY} is {text[:_LONGEST_TEXT]!r}: it must be Forever, or a "
            "duration such as 1h, from 30s to 8760h (units: h, m, s)"
        )
    return text


def _addresses(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    parts = text.split(",") if len(text) <= _LONGEST_TEXT else []  # a pod may have 256 KiB
    try:
        found = [_address(part.strip()) for part in parts]
    except ValueError:
        found = []
    if not found or len({address.version for address in found}) < len(found):
        raise WishError(
            f"annotation {ANNOTATION_ADDRESS} is {text[:_LONGEST_TEXT]!r}: it must be an IP "
            "address, or one of each IP family, such as 10.98.0.77,fd98::77"
        )
    return tuple(str(address) for address in sorted(found, key=lambda a: a.version))


def _address(text: str) -> IPv4Address | IPv6Address:
    """Return the address of a port that the text is. Raises ValueError.

    A zone is no part of one, and Python takes any text as a zone, line breaks too. A mapped IPv4
    address is never sent (RFC 4291, 2.5.5.2), and would have a queue and a PodIP beside its IPv4
    form's.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise ValueError(f"{text[:_LONGEST_TEXT]!r} is no address of a port")
    return address


def _rank(pool: ENIPool) -> tuple[int, str, str]:
    return -pool.spec.priority, pool.metadata.creation_timestamp, pool.name
