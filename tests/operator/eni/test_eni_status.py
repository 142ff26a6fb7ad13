"""ENI.status: the primary address is kept, and outdated reports of the agent do not count."""

import re
from dataclasses import replace

import msgspec
import pytest

from openeni_crds.conditions import Reason, Type, condition, find
from openeni_crds.eni import ENI, ENISpec
from openeni_crds.enipool import Datapath, Mode
from openeni_crds.meta import ObjectMeta
from openeni_crds.status.eni import (
    MOST_ADDRESSES,
    ENIStatus,
    NodeStatus,
    PortStatus,
    PortSubnet,
    RetireAnswer,
)
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import FixedIP, Place, Port
from openeni_operator.eni.port_status import NetworkFacts, describe_port
from openeni_operator.eni.status import OWNED, ObservedPort, desired_status, in_use
from openeni_testing.objects import REPOSITORY

PLACE = Place("project", "region")
NETWORK = NetworkFacts(1450, (PortSubnet("s", "10.98.0.0/22", "10.98.0.1"),), PLACE)
DUAL_STACK = NetworkFacts(
    1450, (*NETWORK.subnets, PortSubnet("s6", "fd00:1::/64", "fd00:1::1")), PLACE
)


def a_port(*addresses: str, device_id: str = "") -> Port:
    fixed = tuple(FixedIP("s6" if ":" in a else "s", a) for a in sorted(addresses))
    return Port("p1", "name", "net", "fa:16:3e:00:00:01", device_id=device_id, fixed_ips=fixed)


def describe(
    port: Port, recorded: PortStatus | None, network: NetworkFacts = NETWORK
) -> tuple[PortStatus | None, Cause | None]:
    eni = an_eni(None, port=False)
    known = msgspec.structs.replace(eni.status, port=recorded)
    return describe_port(port, msgspec.structs.replace(eni, status=known), network)


def described(
    port: Port, recorded: PortStatus | None, network: NetworkFacts = NETWORK
) -> PortStatus:
    found, fault = describe(port, recorded, network)
    assert found is not None
    assert fault is None
    return found


def test_the_lowest_address_becomes_the_primary_one_in_any_order() -> None:
    found = described(a_port("10.98.0.10", "10.98.0.9", "10.98.0.100"), None)
    assert found.primary == ("10.98.0.9",)
    assert found.addresses == ("10.98.0.10", "10.98.0.100")


@pytest.mark.parametrize(
    ("for_pods", "primary"), [({"9"}, "10"), ({"9", "10"}, "11"), ({"9", "10", "11"}, "9")]
)
def test_one_that_is_for_a_certain_pod_does_not_unless_all_are(
    for_pods: set[str], primary: str
) -> None:
    claimed = frozenset(f"10.98.0.{n}" for n in for_pods)
    port = a_port("10.98.0.9", "10.98.0.10", "10.98.0.11")
    found, fault = describe_port(port, an_eni(None, port=False), NETWORK, claimed)
    assert found is not None
    assert fault is None
    assert found.primary == (f"10.98.0.{primary}",)


def test_a_lower_address_added_later_is_for_pods() -> None:
    first = described(a_port("10.98.0.9", "10.98.0.10"), None)
    later = described(a_port("10.98.0.9", "10.98.0.10", "10.98.0.2"), first)
    assert later.primary == ("10.98.0.9",)
    assert later.addresses == ("10.98.0.2", "10.98.0.10")


def test_each_ip_family_has_a_primary_address() -> None:
    found = described(a_port("10.98.0.9", "10.98.0.8", "fd00:1::8", "fd00:1::7"), None, DUAL_STACK)
    assert found.primary == ("10.98.0.8", "fd00:1::7")
    assert found.addresses == ("10.98.0.9", "fd00:1::8")


def test_fixed_ips_in_other_subnets_are_no_addresses_for_pods() -> None:
    """Anybody who may change the port can add them; pods must never get one."""
    port = a_port("10.98.0.9", "10.98.0.10")
    foreign = (FixedIP("other", "10.77.0.5"), FixedIP("other", "10.98.0.11"))
    found = described(replace(port, fixed_ips=(*foreign, *port.fixed_ips)), None)
    assert (found.primary, found.addresses) == (("10.98.0.9",), ("10.98.0.10",))


def test_more_fixed_ips_than_an_eni_can_have_are_a_fault_and_no_refused_status() -> None:
    port = a_port(*(f"10.98.1.{n}" for n in range(MOST_ADDRESSES + 2)))
    found, fault = describe(port, None)
    assert found is not None
    assert len(found.addresses) == MOST_ADDRESSES
    assert fault is not None
    assert fault.reason is Reason.PORT_CHANGED
    assert "has 63 fixed IPs for pods" in fault.message


@pytest.mark.parametrize("addresses", [(), ("10.98.0.10",)])
def test_a_port_without_its_primary_address_has_a_fault_and_lists_what_it_lost(
    addresses: tuple[str, ...],
) -> None:
    first = described(a_port("10.98.0.9", "10.98.0.10"), None)
    found, fault = describe(a_port(*addresses), first)
    assert fault is not None
    assert fault.reason is Reason.PORT_CHANGED
    assert found is not None
    assert found.addresses == addresses
    assert found.primary == ("10.98.0.9",)
    assert set(found.lost) == {"10.98.0.9", "10.98.0.10"} - set(addresses)


def test_lost_addresses_are_remembered_until_they_are_back() -> None:
    first = described(a_port("10.98.0.9", "10.98.0.10", "10.98.0.11"), None)
    less = described(a_port("10.98.0.9", "10.98.0.11"), first)
    assert (less.addresses, less.lost) == (("10.98.0.11",), ("10.98.0.10",))
    again = described(a_port("10.98.0.9", "10.98.0.11"), less)
    assert again.lost == ("10.98.0.10",)
    back = described(a_port("10.98.0.9", "10.98.0.10", "10.98.0.11"), again)
    assert (back.addresses, back.lost) == (first.addresses, ())


def an_eni(node: NodeStatus | None, *, linked: bool = False, port: bool = True) -> ENI:
    spec = ENISpec(
        pool_name="pods",
        node_name="n1",
        server_id="server-1",
        cloud="default",
        network_id="net",
        subnet_ids=("s",),
        security_group_ids=(),
        datapath=Datapath(Mode.VETH),
        mtu=1450,
        address_count=1,
    )
    link = condition(Type.LINK_READY, Reason.LINK_UP, status=linked)
    recorded = described(a_port("10.98.0.2", "10.98.0.3"), None) if port else None
    status = ENIStatus(conditions=(link,), port=recorded, node=node)
    return ENI(ObjectMeta(name="e", generation=5), spec, status)


@pytest.mark.parametrize(
    ("mac", "reason"),
    [
        ("fa:16:3e:00:00:01", Reason.READY),
        ("", Reason.READY),  # of an agent of an earlier release
        ("fa:16:3e:00:00:02", Reason.WAITING_FOR_AGENT),
    ],
)
def test_a_report_on_another_port_makes_no_eni_ready(mac: str, reason: Reason) -> None:
    eni = an_eni(NodeStatus(mac_address=mac), linked=True)
    prepared = condition(Type.GUEST_PREPARED, Reason.PREPARED, status=True)
    status = msgspec.structs.replace(eni.status, conditions=(*eni.status.conditions, prepared))
    port = replace(a_port("10.98.0.2", "10.98.0.3", device_id="server-1"), status="ACTIVE")
    desired = desired_status(
        msgspec.structs.replace(eni, status=status),
        ObservedPort(port, status.port),
        None,
        "2026-01-01T00:00:00Z",
    )
    ready = find(desired.conditions, Type.READY)
    assert ready is not None
    assert ready.reason == reason


def retired(generation: int) -> NodeStatus:
    return NodeStatus(retired=(RetireAnswer("10.98.0.3", generation),))


@pytest.mark.parametrize(
    ("eni", "attached", "used"),
    [
        pytest.param(an_eni(retired(5)), True, False, id="retired at this generation"),
        pytest.param(an_eni(retired(4)), True, True, id="retired at an older generation"),
        pytest.param(an_eni(retired(5), linked=True), True, True, id="the NIC is still in use"),
        pytest.param(an_eni(NodeStatus()), True, True, id="nothing is retired"),
        pytest.param(an_eni(None), True, True, id="an agent may be about to report"),
        pytest.param(an_eni(None), False, False, id="the port was never attached"),
        pytest.param(an_eni(None, port=False), True, False, id="the port was never recorded"),
    ],
)
def test_in_use(eni: ENI, attached: bool, used: bool) -> None:
    port = a_port("10.98.0.2", "10.98.0.3", device_id="server-1" if attached else "")
    assert in_use(eni, port) is used


def test_the_charts_policy_lets_the_operator_write_each_condition_that_it_owns() -> None:
    """A policy that is behind refuses every write."""
    policies = REPOSITORY / "helm" / "openeni" / "templates" / "admission" / "operator.yaml"
    of_enis = policies.read_text().split('"openeni-operator-')[2]
    (listed,) = re.findall(r'"types" \(list ([^)]*)\)', of_enis)
    assert set(re.findall(r'"(\w+)"', listed)) == {type_.value for type_ in OWNED}
