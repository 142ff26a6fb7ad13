"""The network paths from and to pods, as a list of checks over one pool's pods. Pure.

The demo's table and the system tests use it. `reach` runs the checks: in a pod, on a node, in the
lab's namespace, on the remote VM.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from openeni_lab import layout

OK: Final = "200 OK"
TRIES_SERVICE: Final = 8  # enough to reach each of a few backends


class Place(StrEnum):
    """A kind of place that a check runs at."""

    POD = "pod"
    NODE = "node"
    GATEWAY = "gateway"  # the lab's namespace: the subnets' router
    REMOTE = "remote"  # the remote VM on the network `pods`
    OUTSIDE = "outside"  # the host beyond the subnets


@dataclass(frozen=True)
class RunningPod:
    """A running pod; `addresses` are its status.podIPs."""

    name: str
    namespace: str
    addresses: tuple[str, ...]
    node: str
    node_address: str

    @property
    def address(self) -> str:
        """Return status.podIP, at which the kubelet probes the pod."""
        return self.addresses[0]

    @property
    def address_v6(self) -> str:
        return next(address for address in self.addresses if ":" in address)


@dataclass(frozen=True)
class Check:
    """One path: `argv`, run at `place` (pod or node `name`), must print `expected`."""

    path: str
    place: Place
    name: str
    argv: tuple[str, ...]
    expected: str


def checks(pods: Sequence[RunningPod], service: str, remote: str) -> tuple[Check, ...]:
    """Return a check for every path that these pods (at least one) allow.

    A path between nodes needs pods on two nodes, and the path within a node needs two pods on one;
    otherwise they are left out. `service` is the pods' ClusterIP (port 80), `remote` the remote
    VM's address.
    """
    by_node = _by_node(pods)
    crowded = next((node for node, there in by_node.items() if len(there) > 1), min(by_node))
    first, *neighbours = by_node[crowded]
    others = [there[0] for node, there in by_node.items() if node != crowded]
    return (
        *_from_pod(first, neighbours[:1], others[:1], service, remote),
        *_to_pods([there[0] for there in by_node.values()], service),
    )


def checks_v6(pods: Sequence[RunningPod], remote: str) -> tuple[Check, ...]:
    """Return a check for every path that these pods allow in IPv6, as `checks` does.

    The lab's nodes and Services have no IPv6 address.
    """
    by_node = _by_node(pods)
    first, *neighbours = max(by_node.values(), key=len)
    others = [there[0] for node, there in by_node.items() if node != first.node]
    heads = (
        *(("pod to pod, same node", pod.address_v6) for pod in neighbours[:1]),
        *(("pod to pod, other node", pod.address_v6) for pod in others[:1]),
        ("pod to remote VM", remote),
        ("pod to host beyond the subnet", layout.OUTSIDE_ADDRESS_V6),
    )
    gateway = ("ping", "-c", "1", "-W", "5", layout.PODS_GATEWAY_V6)
    return (
        *(Check(path, Place.POD, first.name, _head(address), OK) for path, address in heads),
        Check("pod to subnet's gateway", Place.POD, first.name, gateway, "1 packets received"),
        *(
            Check(f"{who} to pod on {pod.node}", place, name, curl(pod.address_v6), OK)
            for pod in (there[0] for there in by_node.values())
            for who, place, name in (
                ("node", Place.NODE, pod.node),
                ("gateway", Place.GATEWAY, ""),
                ("remote VM", Place.REMOTE, ""),
                ("outside", Place.OUTSIDE, ""),
            )
        ),
    )


def by_name(pod: RunningPod, service: str) -> Check:
    """Return the check of a pod's path to a Service of its namespace, by the Service's name."""
    return Check("pod to a Service by its name", Place.POD, pod.name, _head(service), OK)


def _by_node(pods: Sequence[RunningPod]) -> dict[str, list[RunningPod]]:
    """Return the pods of each node, nodes and pods sorted by name."""
    found: dict[str, list[RunningPod]] = {}
    for pod in sorted(pods, key=lambda pod: (pod.node, pod.name)):
        found.setdefault(pod.node, []).append(pod)
    return found


def _from_pod(
    first: RunningPod,
    same: Sequence[RunningPod],
    other: Sequence[RunningPod],
    service: str,
    remote: str,
) -> Iterator[Check]:
    """Yield the paths of the pod `first` to all others; `same` and `other` may be empty."""
    targets = (
        *(("pod to pod, same node", _head(pod.address)) for pod in same),
        *(("pod to pod, other node", _head(pod.address)) for pod in other),
        ("pod to remote VM", _head(remote)),
        ("pod to host beyond the subnet", _head(layout.OUTSIDE_ADDRESS)),
        ("pod to ClusterIP", _head(service, TRIES_SERVICE)),
    )
    for path, argv in targets:
        yield Check(path, Place.POD, first.name, argv, OK)
    pings = (
        ("pod to subnet's gateway", layout.PODS_GATEWAY),
        ("pod to its node", first.node_address),
        *(("pod to the other node", pod.node_address) for pod in other),
    )
    for path, address in pings:
        argv = ("ping", "-c", "1", "-W", "5", address)
        yield Check(path, Place.POD, first.name, argv, "1 packets received")


def _to_pods(pods: Sequence[RunningPod], service: str) -> Iterator[Check]:
    """Yield the paths from everywhere else to these pods, one on each node."""
    for pod in pods:
        argv = curl(pod.address)
        yield Check(f"{pod.node} to its pod", Place.NODE, pod.node, argv, OK)
        yield Check(f"gateway to pod on {pod.node}", Place.GATEWAY, "", argv, OK)
        yield Check(f"remote VM to pod on {pod.node}", Place.REMOTE, "", argv, OK)
        yield Check(f"outside to pod on {pod.node}", Place.OUTSIDE, "", argv, OK)
        yield Check(f"{pod.node} to ClusterIP", Place.NODE, pod.node, curl(service), OK)


def curl(address: str) -> tuple[str, ...]:
    """Return the hand test's command."""
    host = f"[{address}]" if ":" in address else address
    return ("curl", "--silent", "--head", "--max-time", "10", f"http://{host}/")


def _head(address: str, times: int = 1) -> tuple[str, ...]:
    """Return `curl -I` for busybox; each of `times` requests must succeed."""
    once = f"printf 'HEAD / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 {address} 80 | grep '{OK}'"
    return ("sh", "-c", f"for i in $(seq {times}); do {once} || exit 1; done")
