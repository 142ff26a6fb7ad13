"""Ports of the fake OpenStack: what the operator asks for, and what there is."""

from openeni_operator.cloud.api import NewPort
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.resources import SubnetRecord


def wanted(subnet: SubnetRecord, name: str = "eni") -> NewPort:
    return NewPort(name, subnet.network_id, (subnet.id,), 1, (), ())


def names(fake: FakeOpenStack) -> list[str]:
    fake.state.settle()
    return [port.name for port in fake.state.ports.all()]
