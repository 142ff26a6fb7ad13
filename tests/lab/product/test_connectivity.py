"""The checked paths for any number of nodes and any distribution of the pods."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_lab.product.connectivity import Check, Place, RunningPod, checks, checks_v6

SERVICE, REMOTE = "10.96.0.9", "10.98.3.250"


def pods_on(counts: Sequence[int]) -> list[RunningPod]:
    """Return `counts` pods on n1, n2, ..."""
    return [
        RunningPod(
            f"web-{p}-{n}",
            "default",
            (f"10.98.{n}.{p}", f"fd00:98::{n}:{p}"),
            f"n{n}",
            f"10.99.0.{10 + n}",
        )
        for n, count in enumerate(counts, start=1)
        for p in range(1, count + 1)
    ]


def paths(counts: Sequence[int]) -> list[str]:
    return [check.path for check in checks(pods_on(counts), SERVICE, REMOTE)]


FROM_A_POD = [
    "pod to remote VM",
    "pod to host beyond the subnet",
    "pod to ClusterIP",
    "pod to subnet's gateway",
    "pod to its node",
]
BETWEEN_NODES = ["pod to pod, other node", "pod to the other node"]


def to_pods_on(node: str) -> list[str]:
    hosts = ("gateway", "remote VM", "outside")
    return [
        f"{node} to its pod",
        *(f"{host} to pod on {node}" for host in hosts),
        f"{node} to ClusterIP",
    ]


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_two_pods_on_each_node_show_every_path_that_so_many_nodes_have(nodes: int) -> None:
    expected = [
        *FROM_A_POD,
        "pod to pod, same node",
        *(BETWEEN_NODES if nodes > 1 else []),
        *(path for n in range(1, nodes + 1) for path in to_pods_on(f"n{n}")),
    ]
    assert Counter(paths([2] * nodes)) == Counter(expected)


def test_a_lonely_pod_shows_no_path_to_another() -> None:
    assert Counter(paths([1])) == Counter([*FROM_A_POD, *to_pods_on("n1")])


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_in_ipv6_there_are_the_paths_that_need_no_address_of_nodes_and_services(nodes: int) -> None:
    found = [check.path for check in checks_v6(pods_on([2] * nodes), "fd00:98::250")]
    hosts = ("node", "gateway", "remote VM", "outside")
    expected = [
        *("pod to remote VM", "pod to host beyond the subnet", "pod to subnet's gateway"),
        "pod to pod, same node",
        *(BETWEEN_NODES[:1] if nodes > 1 else []),
        *(f"{host} to pod on n{n}" for n in range(1, nodes + 1) for host in hosts),
    ]
    assert Counter(found) == Counter(expected)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5).filter(any))
def test_however_the_pods_lie_a_path_is_checked_where_its_name_says(counts: list[int]) -> None:
    pods = pods_on(counts)
    by_name = {pod.name: pod for pod in pods}
    by_address = {pod.address: pod for pod in pods}
    found = {check.path: check for check in checks(pods, SERVICE, REMOTE)}
    assert ("pod to pod, same node" in found) == (max(counts) > 1)
    assert (BETWEEN_NODES[0] in found) == (len([c for c in counts if c]) > 1)

    def nodes(path: str) -> tuple[str, str]:
        here, there = by_name[found[path].name], by_address[_target(found[path])]
        assert here != there
        return here.node, there.node

    if "pod to pod, same node" in found:
        here, there = nodes("pod to pod, same node")
        assert here == there
    if BETWEEN_NODES[0] in found:
        here, there = nodes(BETWEEN_NODES[0])
        assert here != there
    for check in found.values():
        if check.place is Place.NODE and check.path.endswith("to its pod"):
            assert by_address[_target(check)].node == check.name


def _target(check: Check) -> str:
    """Return the one pod's address in a command."""
    words = " ".join(check.argv).replace("http://", " ").replace("/", " ").split()
    (address,) = (word for word in words if word.startswith("10.98."))
    return address
