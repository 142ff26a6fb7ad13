"""What must be true of the operator's world when all is done."""

import pytest

from openeni_crds.conditions import Type, is_true
from openeni_crds.names import port_name
from openeni_kube.store import NotFoundError
from openeni_operator.cloud.api import ACTIVE
from openeni_testing.controller.world import CLUSTER, OperatorWorld

RESYNCS = 700.0  # seconds: two of them, whatever happens


def assert_in_order(world: OperatorWorld, enis: int) -> None:
    """One attached, active, tagged port for each ENI; every ENI ready."""
    found = world.enis()
    assert len(found) == enis
    by_name = {p.name: p for p in world.cloud.ports.values()}
    assert len(by_name) == len(world.cloud.ports) == enis
    for eni in found:
        port = by_name[port_name(CLUSTER, eni.metadata.uid)]
        assert (port.device_id, port.status) == (eni.spec.server_id, ACTIVE)
        assert len(port.tags) == 2
        assert eni.status.port is not None
        recorded = {*eni.status.port.primary, *eni.status.port.addresses}
        assert recorded == {f.address for f in port.fixed_ips}
        assert is_true(eni.status.conditions, Type.READY), eni.status


def assert_nothing_is_left(world: OperatorWorld) -> None:
    assert world.enis() == []
    assert world.cloud.ports == {}
    with pytest.raises(NotFoundError):
        world.pool()


def grown() -> OperatorWorld:
    world = OperatorWorld(nodes=2)
    world.add_pool()
    world.settle()
    return world
