"""Answers that mean nothing are no facts, nor is a part of an answer."""

from collections.abc import Callable

import pytest

from openeni_crds.conditions import Reason
from openeni_crds.terms import QoSPolicyTerm
from openeni_operator.cloud.errors import CloudError, OutcomeUnknownError, QoSUnsupportedError
from openeni_operator.cloud.openstack import OpenStackCloud
from openeni_testing.cloud.fake_ports import names, wanted
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorAfter, ErrorBefore
from openeni_testing.fake_openstack.messages import Response
from openeni_testing.fake_openstack.resources import SubnetRecord

NOT_NEUTRON = ["<html>log in here</html>", "{}", "[]", '"text"', '{"ports": ["x"], "port": 7}']


def reads(operators: OpenStackCloud) -> dict[str, Callable[[], object]]:
    return {
        "get port": lambda: operators.port("p"),
        "find port": lambda: operators.ports_named("eni"),
        "get network": lambda: operators.network("n"),
        "get server": lambda: operators.server_exists("s"),
    }


@pytest.mark.parametrize("body", NOT_NEUTRON)
@pytest.mark.parametrize("operation", ["get port", "find port", "get network", "get server"])
def test_an_answer_that_is_not_the_clouds_is_no_fact(
    fake: FakeOpenStack, operators: OpenStackCloud, operation: str, body: str
) -> None:
    fake.faults.add(operation, ErrorBefore(Response(200, body)))
    with pytest.raises(CloudError) as raised:
        reads(operators)[operation]()
    assert raised.value.reason is Reason.UNEXPECTED_RESPONSE
    assert "check what answers at the endpoints of its catalog" in raised.value.message


@pytest.mark.parametrize("body", NOT_NEUTRON)
def test_a_change_with_such_an_answer_may_have_been_done(
    fake: FakeOpenStack, operators: OpenStackCloud, subnet: SubnetRecord, body: str
) -> None:
    fake.faults.add("create port", ErrorAfter(Response(201, body)))
    with pytest.raises(OutcomeUnknownError) as raised:
        operators.create_port(wanted(subnet))
    assert raised.value.reason is Reason.UNEXPECTED_RESPONSE
    assert names(fake) == ["eni"]


def test_a_list_of_ports_goes_on_to_its_last_page(
    fake: FakeOpenStack, operators: OpenStackCloud, subnet: SubnetRecord
) -> None:
    made = {operators.create_port(wanted(subnet, f"eni-{n}")) for n in range(5)}
    fake.settings.page_limit = 2
    listed = operators.ports_on(subnet.network_id)
    assert (len(listed), set(listed)) == (len(made), made)


def test_a_cloud_without_qos_is_told_from_one_without_the_policy(
    fake: FakeOpenStack, operators: OpenStackCloud, subnet: SubnetRecord
) -> None:
    assert operators.find_qos_policies(QoSPolicyTerm(name="gold")) == ()
    fake.settings.extensions.remove("qos")
    with pytest.raises(QoSUnsupportedError, match=r"remove spec\.ports\.qosPolicy"):
        operators.find_qos_policies(QoSPolicyTerm(name="gold"))
    assert operators.create_port(wanted(subnet)).qos_policy_id == ""
