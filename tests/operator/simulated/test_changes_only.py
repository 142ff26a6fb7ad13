"""A reconcile of a pool looks at what has changed, and misses nothing that another would find."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from openeni_crds.names import ENIPOOLS, ENIS, LABEL_VETH, NODES
from openeni_testing.controller.simulation import Simulation
from openeni_testing.store.counted import count_reads


def reads_after(
    nodes: int, change: Callable[[Simulation], object], monkeypatch: pytest.MonkeyPatch
) -> Counter[str]:
    """Return what a pool's reconcile reads after a change in a settled cluster of that size."""
    sim = Simulation(nodes)
    sim.add_pool(capacity={"addressesPerENI": 3, "minAvailable": 4, "maxENIsPerNode": 2})
    sim.settle(60)
    sim.settle(1)  # everything is gone over from time to time: now
    assert len(sim.ready()) == 2 * nodes
    change(sim)
    sim.run_agents()
    sim.process.sync_state()
    with monkeypatch.context() as patched:
        counts = count_reads(patched, sim.process.state)
        sim.process.reconcilers[ENIPOOLS]("pods")
    return counts


def a_pod_waits(sim: Simulation) -> None:
    sim.add_pod("web", "n1")


def a_pod_has_an_address(sim: Simulation) -> None:
    eni = next(e for e in sim.enis() if e.spec.node_name == "n1")
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[0]}


def nothing_happens(_: Simulation) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "most"), [(a_pod_waits, 12), (a_pod_has_an_address, 12), (nothing_happens, 0)]
)
def test_an_event_costs_the_same_in_a_cluster_of_any_size(
    change: Callable[[Simulation], object], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (reads_after(nodes, change, monkeypatch) for nodes in (2, 9))
    assert small == large
    assert small.total() <= most, "of one node with two ENIs"


def relabel(sim: Simulation, node: str) -> None:
    """Let the node's agent report that its kernel lacks the datapath, or has it after all."""
    labels = sim.api.get(NODES, node)["metadata"]["labels"]
    value = "false" if labels.get(LABEL_VETH) == "true" else "true"
    path = f"/metadata/labels/{LABEL_VETH.replace('/', '~1')}"
    sim.api.patch(NODES, node, operations=[{"op": "add", "path": path, "value": value}])


def grant(sim: Simulation, node: str) -> None:
    """Let a pod have one more address of each ENI on the node."""
    for eni in sim.enis():
        if eni.spec.node_name == node and eni.status.port:
            held = sim.granted.setdefault(eni.name, set())
            held.update(sorted(set(eni.status.port.addresses) - held)[:1])


def release(sim: Simulation, node: str) -> None:
    for eni in sim.enis():
        if eni.spec.node_name == node:
            sim.granted.pop(eni.name, None)


def delete_enis(sim: Simulation, node: str) -> None:
    for eni in sim.enis():
        if eni.spec.node_name == node and not eni.metadata.deleting:
            sim.api.delete(ENIS, eni.name)


def wait_for_pods(sim: Simulation, node: str) -> None:
    number = sum(1 for _ in sim.granted) + int(sim.cloud.clock.now)
    for n in range(3):
        sim.add_pod(f"{node}-{number}-{n}", node)


def change_pool(sim: Simulation, node: str) -> None:
    """Change how much the pool holds, differently by node."""
    value = 1 + int(node[1:])
    path = "/spec/capacity/minAvailable"
    sim.api.patch(ENIPOOLS, "pods", operations=[{"op": "add", "path": path, "value": value}])


def limit_pool(sim: Simulation, node: str) -> None:
    """Change how many ENIs the pool may have."""
    limits = {"maxENIs": 1 + 2 * int(node[1:])}
    operation = {"op": "add", "path": "/spec/limits", "value": limits}
    sim.api.patch(ENIPOOLS, "pods", operations=[operation])


def remove_pods(sim: Simulation, _: str) -> None:
    sim.remove_pods()


CHANGES = (
    relabel,
    grant,
    release,
    delete_enis,
    wait_for_pods,
    change_pool,
    limit_pool,
    remove_pods,
)
histories = st.lists(
    st.tuples(
        st.sampled_from(CHANGES), st.sampled_from(("n1", "n2", "n3")), st.sampled_from((1, 20, 200))
    ),
    max_size=8,
)


def shown(sim: Simulation) -> tuple[Any, ...]:
    """Return what the pool's reconcile writes: the ENIs' specs and its own status."""
    enis = [(e.metadata.uid, e.metadata.deletion_timestamp, e.spec) for e in sim.enis()]
    # how many addresses are free is as old as the list of ports
    return replace(sim.pool().status, free_count=0, subnets=()), enis


@pytest.mark.parametrize("growth", ["Static", "Elastic"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories)
def test_a_restart_finds_nothing_that_changes_have_left_undone(
    growth: str, changes: list[tuple[Callable[[Simulation, str], None], str, int]]
) -> None:
    sim = Simulation(nodes=3)
    later = {"policy": "After", "after": "1h"}  # none falls due while the new process is watched
    sizes = {"addressesPerENI": 3, "minAvailable": 1, "growth": growth}
    sim.add_pool(capacity=sizes, reclaim=later)
    sim.settle(60)
    for change, node, seconds in changes:
        change(sim, node)
        sim.settle(seconds)
    sim.settle(30)
    before = shown(sim)
    sim.restart()
    sim.settle(30)
    assert shown(sim) == before
