"""Every call of an ENI's life with every fault: nothing leaks, doubles, or goes from under a pod.

One run for each cell, with ENIs that keep their size, of one IP family and of both, and with
elastic ones: a pool comes, grows for pods, gives its ports other security groups, tags and QoS
policies, has them renamed by somebody, loses its second ENI again and goes, while the fault hits
one call. An observer reads the cloud after every call, and at the end the cloud and the API server
must agree. A node of another cloud is served all the while as if there were no fault.
"""

from dataclasses import replace

import pytest

from openeni_crds.capacity import Growth
from openeni_crds.conditions import Type, is_true
from openeni_crds.names import ENIPOOLS
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.cloud.operations import LOG_IN, operations
from openeni_testing.controller.agent_report import of_pods
from openeni_testing.controller.call_faults import FAULTS, OF_CHANGES, Inject, Observer
from openeni_testing.controller.checks import TWO_RESYNCS, assert_all_removed, change_spec
from openeni_testing.controller.port_settings import policies, pools_tags
from openeni_testing.controller.simulation import CLOUD, Simulation

# The log-in is before the calls of a cloud in memory: tests/operator/killed has its cells.
CALLS = {name: change for name, change in operations().items() if name != LOG_IN}
ONLY_ELASTIC = {"get extension", "probe fixed IPs", "set fixed IPs"}
CELLS = [
    (operation, fault)
    for operation, change in CALLS.items()
    for fault in FAULTS
    if change or fault not in OF_CHANGES
]
# With each call and each fault.
SAMPLE = [CELLS[i] for i in range(0, len(CELLS), 7)]


def live(operation: str, inject: Inject | None, growth: Growth, *, dual_stack: bool) -> Simulation:
    """Run the life with a fault of the operation, if there is one to inject."""
    sim = Simulation(nodes=1, dual_stack=dual_stack)
    sim.cloud.drops_tags = True  # so that tags are put, too
    observer = Observer(sim, serve_beside(sim))
    sim.cloud.observe = observer.look
    if inject is not None:
        inject(sim, operation, observer)
    sim.cloud.add_policy("gold")
    sim.cloud.add_group("more")
    sim.add_pool(
        nodeSelector={"matchLabels": {CLOUD: "default"}},
        capacity={"growth": growth, "addressesPerENI": 3, "minAvailable": 1},
        reclaim={"policy": "After", "after": "1m"},
        ports={"tags": ["a"], "qosPolicy": {"name": "gold"}},
    )
    sim.settle(120)
    assert observer.served, "the other cloud's node has a NIC whatever happens in this one"
    for i in range(3):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(120)
    change_spec(sim, ports={"tags": ["b"]}, securityGroups=[{"name": "pods"}, {"name": "more"}])
    grant_two(sim)
    sim.settle(TWO_RESYNCS)
    names = rename_ports(sim)
    sim.settle(TWO_RESYNCS)
    rename_back(sim, names)
    sim.settle(TWO_RESYNCS)
    assert set(map(frozenset[str], pools_tags(sim))) == {frozenset({"b"})}
    assert set(policies(sim)) == {""}
    assert {len(port.security_group_ids) for port in sim.cloud.ports.values()} == {2}
    assert_beside_is_untouched(sim)
    sim.api.delete(ENIPOOLS, "beside")
    sim.api.delete(ENIPOOLS, "pods")
    observer.served = frozenset()
    observer.beside = MemoryCloud()
    sim.settle(100)
    sim.granted.clear()
    sim.settle(TWO_RESYNCS)
    assert observer.problems == []
    assert_all_removed(sim)
    assert sim.clouds["beside"].ports == {}
    return sim


def serve_beside(sim: Simulation) -> MemoryCloud:
    """Add a cloud, and a pool with a node there."""
    beside = sim.add_cloud("beside")
    sim.add_node("b1", cloud="beside")
    sim.agents.add("b1")
    sim.add_pool(
        "beside",
        cloud="beside",
        nodeSelector={"matchLabels": {CLOUD: "beside"}},
        subnets=[{"name": "pods"}],
        podSelector=None,
    )
    return beside


def assert_beside_is_untouched(sim: Simulation) -> None:
    """Assert that the other cloud has had one ENI all the time, and no call more than for it."""
    (eni,) = (eni for eni in sim.enis() if eni.spec.cloud == "beside")
    assert is_true(eni.status.conditions, Type.READY)
    calls = sim.clouds["beside"].calls
    assert {c: calls[c] for c, change in CALLS.items() if change and calls[c]} == {
        "create port": 1,
        "attach port": 1,
    }


def grant_two(sim: Simulation) -> None:
    """Let two pods have addresses of the pool's first ENI that is Ready; the waiting ones end."""
    for eni in [eni for eni in sim.enis() if eni.spec.pool_name == "pods"][:1]:
        if eni.name in sim.ready():
            sim.granted[eni.name] = {address for pod in of_pods(eni)[:2] for address in pod}
    sim.remove_pods()


def rename_ports(sim: Simulation) -> dict[str, str]:
    """Rename each port, as somebody else may, and return the names that they had."""
    names = {port.id: port.name for port in sim.cloud.ports.values()}
    rename_back(sim, dict.fromkeys(names, "renamed"))
    return names


def rename_back(sim: Simulation, names: dict[str, str]) -> None:
    for port_id in names.keys() & sim.cloud.ports.keys():
        port = sim.cloud.ports[port_id]
        changed = replace(port, name=names[port_id], revision=port.revision + 1)
        sim.cloud.ports[port_id] = changed


LIVES = pytest.mark.parametrize(
    ("growth", "dual_stack"),
    [(Growth.STATIC, False), (Growth.STATIC, True), (Growth.ELASTIC, True)],
    ids=["IPv4", "dual stack", "elastic"],
)


@LIVES
def test_every_call_is_made_in_a_life(growth: Growth, *, dual_stack: bool) -> None:
    """Else a cell would say nothing."""
    calls = live("", None, growth, dual_stack=dual_stack).cloud.calls
    expected = CALLS.keys() - (ONLY_ELASTIC if growth is Growth.STATIC else set())
    assert {name for name in CALLS if calls[name]} == expected


def test_the_sample_has_every_call_and_every_fault() -> None:
    assert {operation for operation, _ in SAMPLE} == CALLS.keys()
    assert {fault for _, fault in SAMPLE} == FAULTS.keys()


def test_in_a_sample_nothing_leaks_doubles_or_goes_from_under_a_pod(
    subtests: pytest.Subtests,
) -> None:
    for operation, fault in SAMPLE:
        with subtests.test(operation=operation, fault=fault):
            try_cell(operation, fault, Growth.ELASTIC, dual_stack=True)


@pytest.mark.exhaustive
@LIVES
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_leaks_doubles_or_goes_from_under_a_pod(
    subtests: pytest.Subtests, fault: str, growth: Growth, *, dual_stack: bool
) -> None:
    calls = [operation for operation, each in CELLS if each == fault]
    assert len(calls) == (sum(CALLS.values()) if fault in OF_CHANGES else len(CALLS))
    for operation in calls:
        if growth is Growth.ELASTIC or operation not in ONLY_ELASTIC:
            with subtests.test(operation=operation):
                try_cell(operation, fault, growth, dual_stack=dual_stack)


def try_cell(operation: str, fault: str, growth: Growth, *, dual_stack: bool) -> None:
    sim = live(operation, FAULTS[fault], growth, dual_stack=dual_stack)
    assert sim.cloud.calls[operation], "the fault has hit nothing"
