"""The paths that pods must reach and be reached by, as a list of checks over one pool's pods.

Used by the demo's table and by the system tests. What is checked is decided here, purely; running
a check is the caller's (in a pod, on a node, in the lab's namespace, on the remote VM).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from openeni_lab import layout

OK: Final = "200 OK"
TRIES_SERVICE: Final = 8  # enough to meet each of a few backends


class Place(StrEnum):
    """Where a check runs."""

    POD = "pod"
    NODE = "node"
    GATEWAY = "gateway"  # the lab's namespace: the subnets' router
    REMOTE = "remote"  # the remote VM on the pods' network
    OUTSIDE = "outside"  # the host beyond the subnets


@dataclass(frozen=True)
class PodFacts:
    """A running pod."""

    name: str
    namespace: str
    address: str
    node: str
    node_address: str


@dataclass(frozen=True)
class Check:
    """One path: run `argv` at `place` (a pod's or node's name in `name`), see `expected`."""

    path: str
    place: Place
    name: str
    argv: tuple[str, ...]
    expected: str


def checks(pods: Sequence[PodFacts], service: str, remote: str) -> tuple[Check, ...]:
    """Every path for these pods, which stand on at least two nodes, at least two on the first.

    `service` is the ClusterIP (port 80) in front of them, `remote` the remote VM's address.
    """
    first = pods[0]
    same = next(p for p in pods[1:] if p.node == first.node)
    other = next(p for p in pods if p.node != first.node)
    return (*_from_pod(first, same, other, service, remote), *_to_pods((first, other), service))


def _from_pod(
    first: PodFacts, same: PodFacts, other: PodFacts, service: str, remote: str
) -> Iterator[Check]:
    targets = (
        ("pod to pod, same node", _head(same.address)),
        ("pod to pod, other node", _head(other.address)),
        ("pod to remote VM", _head(remote)),
        ("pod to host beyond the subnet", _head(layout.OUTSIDE_ADDRESS)),
        ("pod to ClusterIP", _head(service, TRIES_SERVICE)),
    )
    for path, argv in targets:
        yield Check(path, Place.POD, first.name, argv, OK)
    pings = (
        ("pod to subnet's gateway", layout.PODS_GATEWAY),
        ("pod to its node", first.node_address),
        ("pod to the other node", other.node_address),
    )
    for path, address in pings:
        argv = ("ping", "-c", "1", "-W", "5", address)
        yield Check(path, Place.POD, first.name, argv, "1 packets received")


def _to_pods(pods: Sequence[PodFacts], service: str) -> Iterator[Check]:
    for pod in pods:
        argv = curl(pod.address)
        yield Check(f"{pod.node} to its pod", Place.NODE, pod.node, argv, OK)
        yield Check(f"gateway to pod on {pod.node}", Place.GATEWAY, "", argv, OK)
        yield Check(f"remote VM to pod on {pod.node}", Place.REMOTE, "", argv, OK)
        yield Check(f"outside to pod on {pod.node}", Place.OUTSIDE, "", argv, OK)
        yield Check(f"{pod.node} to ClusterIP", Place.NODE, pod.node, curl(service), OK)


def curl(address: str) -> tuple[str, ...]:
    """The hand test's own command."""
    return ("curl", "--silent", "--head", "--max-time", "10", f"http://{address}/")


def _head(address: str, times: int = 1) -> tuple[str, ...]:
    """`curl -I` in a pod that has busybox only; every one of `times` tries must answer."""
    once = f"printf 'HEAD / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 {address} 80 | grep '{OK}'"
    return ("sh", "-c", f"for i in $(seq {times}); do {once} || exit 1; done")
