"""Whether a cloud lets the operator change fixed IPs, and in how many calls."""

import pytest

from openeni_operator.cloud.api import NewPort, Port
from openeni_operator.cloud.errors import DeniedError, OutcomeUnknownError
from openeni_operator.cloud.openstack import OpenStackCloud
from openeni_operator.eni.resize import is_answered, with_more
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorAfter, NoAnswer
from openeni_testing.fake_openstack.resources import NetworkRecord, SubnetRecord
from openeni_testing.fake_openstack.responses import neutron_error


@pytest.fixture
def port(operators: OpenStackCloud, subnet: SubnetRecord) -> Port:
    return create(operators, subnet)


def create(cloud: OpenStackCloud, subnet: SubnetRecord) -> Port:
    return cloud.create_port(NewPort("p", subnet.network_id, (subnet.id,), 3, (), ()))


def test_only_the_owner_of_the_network_may_change_fixed_ips(
    fake: FakeOpenStack, operators: OpenStackCloud
) -> None:
    other = fake.keystone.add_project("other")
    shared = fake.state.add_network("shared", shared=True, project_id=other.id)
    port = create(operators, fake.state.add_subnet(shared, "shared", "10.99.0.0/24"))
    with pytest.raises(DeniedError, match="update_port:fixed_ips"):
        operators.check_resizing(port.id)
    with pytest.raises(DeniedError, match="update_port:fixed_ips"):
        operators.set_fixed_ips(port.id, port.fixed_ips[:1], port.revision)
    assert operators.port(port.id) == port
    assert operators.network(shared.id).project_id == other.id != operators.place.project_id


def test_without_the_extension_a_change_could_undo_another(
    fake: FakeOpenStack, operators: OpenStackCloud, port: Port
) -> None:
    fake.settings.extensions.discard("revision-if-match")
    with pytest.raises(DeniedError, match="lacks Neutron's extension revision-if-match"):
        operators.check_resizing(port.id)
    assert fake.audit.counts["probe fixed IPs"] == 0


def test_any_number_of_addresses_is_one_call(
    fake: FakeOpenStack, operators: OpenStackCloud, network: NetworkRecord, port: Port
) -> None:
    assert operators.network(network.id).project_id == operators.place.project_id
    grown = operators.set_fixed_ips(
        port.id, with_more(port, [port.fixed_ips[0].subnet_id] * 12), port.revision
    )
    assert len(grown.fixed_ips) == 15
    assert fake.audit.counts["set fixed IPs"] == 1
    (request,) = (c.request for c in fake.audit.calls if c.operation == "set fixed IPs")
    assert request.headers["if-match"] == f"revision_number={port.revision}"


@pytest.mark.parametrize(
    "effect", [NoAnswer(), ErrorAfter(neutron_error(504, "GatewayTimeout", "late"))]
)
def test_a_change_without_an_answer_may_have_been_made(
    fake: FakeOpenStack, operators: OpenStackCloud, port: Port, effect: NoAnswer | ErrorAfter
) -> None:
    wanted = with_more(port, [port.fixed_ips[0].subnet_id])
    fake.faults.add("set fixed IPs", effect)
    with pytest.raises(OutcomeUnknownError):
        operators.set_fixed_ips(port.id, wanted, port.revision)
    assert is_answered(wanted, operators.port(port.id))
