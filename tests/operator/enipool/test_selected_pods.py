"""Demand counts the pods that a pool serves, by priority and permitted namespaces."""

from openeni_crds.conditions import Type, is_true
from openeni_testing.controller.simulation import Simulation


def test_the_pool_with_the_higher_priority_grows() -> None:
    sim = Simulation()
    sim.add_pool("a", capacity={"minAvailable": 0})
    sim.add_pool("b", capacity={"minAvailable": 0}, priority=1)
    sim.add_pod("p", "n1")
    sim.settle(60)
    assert {e.spec.pool_name for e in sim.enis()} == {"b"}
    assert is_true(sim.pool("a").status.conditions, Type.READY)


def test_a_pod_in_a_namespace_that_is_not_permitted_is_no_demand() -> None:
    sim = Simulation()
    selector = {"matchLabels": {"team": "payments"}}
    sim.add_pool("payments", capacity={"minAvailable": 0}, namespaceSelector=selector)
    sim.add_pod("p", "n1", pool="payments")
    sim.settle(60)
    assert sim.enis() == []
