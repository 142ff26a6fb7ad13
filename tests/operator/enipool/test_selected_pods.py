"""Demand follows the rule by which pods are served: priority, and which namespaces may."""

from openeni_crds.conditions import Type, is_true
from openeni_testing.controller.world import OperatorWorld


def test_of_two_pools_that_select_every_pod_the_one_with_the_higher_priority_grows() -> None:
    world = OperatorWorld()
    world.add_pool("a", capacity={"minAvailable": 0})
    world.add_pool("b", capacity={"minAvailable": 0}, priority=1)
    world.add_pod("p", "n1")
    world.settle(60)
    assert {e.spec.pool_name for e in world.enis()} == {"b"}
    assert is_true(world.pool("a").status.conditions, Type.READY)


def test_a_pod_that_names_a_pool_that_does_not_permit_its_namespace_makes_no_demand() -> None:
    world = OperatorWorld()
    selector = {"matchLabels": {"team": "payments"}}
    world.add_pool("payments", capacity={"minAvailable": 0}, namespaceSelector=selector)
    world.add_pod("p", "n1", pool="payments")
    world.settle(60)
    assert world.enis() == []
