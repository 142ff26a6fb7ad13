"""Nodes whose pods come and go: few requests, no ENI too many, and no pod that waits for long."""

from typing import Any

import pytest
from msgspec.structs import replace

from openeni_crds.conditions import Reason, Type
from openeni_crds.eni import ENI
from openeni_crds.meta import encode
from openeni_crds.names import PODIPS, PODS
from openeni_operator.enipool.served_pods import LOOK_SECONDS
from openeni_testing.controller.checks import pool_condition
from openeni_testing.controller.simulation import Simulation
from openeni_testing.objects import podip_body

SIZE = 4
MINUTE = 60


def start_nodes(count: int = 1, **capacity: Any) -> Simulation:
    """Return nodes with one ENI each, whose counts the test reports."""
    sim = Simulation(nodes=count)
    sizes = {"addressesPerENI": SIZE, "minAvailable": 0, **capacity}
    sim.add_pool(capacity=sizes)
    for node in sim.nodes:
        for n in range(SIZE):
            sim.add_pod(f"{node}-{n}", node)
    sim.settle(30)
    assert len(sim.ready()) == count
    sim.remove_pods()
    sim.agents.clear()
    forget_requests(sim)
    return sim


def forget_requests(sim: Simulation) -> None:
    sim.store.reads = 0
    sim.store.lists.clear()


def report(sim: Simulation, eni: ENI, granted: int, cooling: int = 0) -> None:
    assert eni.status.node is not None
    available = eni.spec.address_count - granted - cooling
    node = replace(eni.status.node, granted=granted, cooling=cooling, available=available)
    types = (Type.GUEST_PREPARED, Type.LINK_READY, Type.CNI_CONFIGURED)
    conditions = [encode(c) for c in eni.status.conditions if c.type in types]
    sim.report(eni.name, conditions, **encode(replace(node, idle_since="")))


def publish(sim: Simulation, eni: ENI, name: str, uid: str = "") -> None:
    """Publish the PodIP of a pod that has an address of the ENI."""
    body = podip_body(name, node=eni.spec.node_name)
    body["spec"] |= {"podUID": uid or f"uid-{name}", "eniName": eni.name}
    sim.api.create(PODIPS, body)


def fill(sim: Simulation, granted: int = SIZE, cooling: int = 0) -> None:
    """Let running pods have so many addresses of each ENI."""
    for eni in sim.enis():
        for n in range(granted):
            publish(sim, eni, f"{eni.spec.node_name}-running-{n}")
        report(sim, eni, granted, cooling)
    sim.run_events(1)


def looks(sim: Simulation) -> int:
    """Return how often the PodIPs of a node were listed."""
    return sum(of.startswith("PodIP spec.nodeName=") for of in sim.store.lists)


def addresses(sim: Simulation) -> list[int]:
    return [eni.spec.address_count for eni in sim.enis()]


def pods_come_and_go(sim: Simulation, number: int) -> None:
    for node in sim.nodes:
        sim.add_pod(f"{node}-new-{number}", node)
        if number:
            sim.api.delete(PODS, f"{node}-new-{number - 1}", "default")


def addresses_are_taken_and_freed(sim: Simulation, number: int) -> None:
    for eni in sim.enis():
        report(sim, eni, SIZE - number % 3, number % 3)


@pytest.mark.simulated
@pytest.mark.parametrize("change", [pods_come_and_go, addresses_are_taken_and_freed])
def test_fifty_full_nodes_cost_few_requests_however_much_changes_there(change: Any) -> None:
    sim = start_nodes(50, maxENIsPerNode=1)
    fill(sim)
    for node in sim.nodes:
        for n in range(3):
            sim.add_pod(f"{node}-waits-{n}", node)
    sim.run_events(LOOK_SECONDS + 1)
    forget_requests(sim)
    for n in range(MINUTE // 3):
        change(sim, n)
        sim.run_events(3)
    most = 50 * (MINUTE / LOOK_SECONDS + 1)
    assert 0 < looks(sim) <= most
    assert sim.store.reads <= most, "one that is missing, before each list"


def test_pods_that_start_on_many_nodes_cost_no_list() -> None:
    """Each counts twice for a moment: as one that waits, and as an address that is granted."""
    sim = start_nodes(20)
    fill(sim, SIZE - 1)
    for eni in sim.enis():
        name = f"{eni.spec.node_name}-starts"
        publish(sim, eni, name, sim.add_pod(name, eni.spec.node_name))
        report(sim, eni, SIZE)
    sim.run_events(LOOK_SECONDS - 1)
    assert (looks(sim), sim.store.reads) == (0, 20)
    assert len(sim.enis()) == 20


def test_a_pod_that_takes_the_place_of_another_gets_no_eni_of_its_own() -> None:
    """Its address is granted, and its PodIP published, only after its node was looked at."""
    sim = start_nodes()
    fill(sim, SIZE - 1)
    (eni,) = sim.enis()
    uid = sim.add_pod("new", "n1")
    report(sim, eni, SIZE)
    sim.run_events(1)
    assert looks(sim) == 1
    publish(sim, eni, "new", uid)
    sim.api.delete(PODIPS, "n1-running-0", "default")
    report(sim, eni, SIZE - 1, cooling=1)
    sim.run_events(3 * LOOK_SECONDS)
    assert len(sim.enis()) == 1


def elastic_node(cooling: int = 1, **capacity: Any) -> Simulation:
    """Return a node that is full, some addresses of which cool down; it grows for one more pod."""
    sim = start_nodes(growth="Elastic", addressesPerENI=3 * SIZE, **capacity)
    assert addresses(sim) == [SIZE]
    fill(sim, SIZE - cooling, cooling)
    sim.add_pod("first", "n1")
    sim.run_events(1)
    assert (addresses(sim), looks(sim)) == ([SIZE + 1], 1)
    return sim


def test_a_node_grows_for_the_next_pod_after_the_next_look() -> None:
    """It may have got the address that cooled down: nobody knows before."""
    sim = elastic_node()
    sim.add_pod("second", "n1")
    sim.run_events(LOOK_SECONDS - 2)
    assert (addresses(sim), looks(sim)) == ([SIZE + 1], 1)
    sim.run_events(1.5)
    assert (addresses(sim), looks(sim)) == ([SIZE + 2], 2)


def test_a_node_grows_at_once_for_pods_that_need_it_for_certain() -> None:
    sim = elastic_node()
    for n in range(3):
        sim.add_pod(f"more-{n}", "n1")
    sim.run_events(1)
    assert (addresses(sim), looks(sim)) == ([SIZE + 3], 1)
    sim.run_events(LOOK_SECONDS)
    assert (addresses(sim), looks(sim)) == ([SIZE + 4], 2)


def test_between_two_looks_a_node_gives_nothing_back() -> None:
    sim = elastic_node(cooling=2, maxAvailable=0)
    sim.add_pod("second", "n1")
    sim.run_events(LOOK_SECONDS - 2)
    assert (addresses(sim), looks(sim)) == ([SIZE + 1], 1)
    sim.run_events(1.5)
    assert (addresses(sim), looks(sim)) == ([SIZE + 2], 2)


def test_that_a_node_is_full_is_shown_after_the_next_look() -> None:
    sim = start_nodes(maxENIsPerNode=1)
    fill(sim, SIZE - 1)
    (eni,) = sim.enis()
    uid = sim.add_pod("new", "n1")
    report(sim, eni, SIZE)
    sim.run_events(1)
    publish(sim, eni, "new", uid)
    for n in range(2):
        sim.add_pod(f"waits-{n}", "n1")
    sim.run_events(LOOK_SECONDS - 0.5)
    assert looks(sim) == 2
    assert pool_condition(sim, Type.CAPACITY_AVAILABLE).reason == Reason.NODE_LIMIT


def test_that_a_node_is_full_does_not_come_and_go_with_its_pods() -> None:
    sim = start_nodes(maxENIsPerNode=1)
    fill(sim, SIZE - 1, cooling=1)
    (eni,) = sim.enis()
    sim.add_pod("waits", "n1")
    sim.run_events(1)
    reasons = set[str]()
    for second in range(MINUTE):
        reasons.add(pool_condition(sim, Type.CAPACITY_AVAILABLE).reason)
        report(sim, eni, SIZE - 1 - second % 2, 1 + second % 2)
        sim.run_events(1)
    assert reasons == {Reason.NODE_LIMIT}
