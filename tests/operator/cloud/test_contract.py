"""The contract of a Cloud, run on the one in memory, on fake services and on a real OpenStack.

The real one (marker `inside`) is the entry $OS_CLOUD of $OS_CLIENT_CONFIG_FILE; it needs a network
with the subnets `pods` and `pods-v6`, a security group `default`, a QoS policy `pods`, and a server
`remote`, as the lab has them. The tests remove what they create.
"""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from openeni_crds.terms import QoSPolicyTerm, SecurityGroupTerm, SubnetTerm
from openeni_operator.cloud.api import ACTIVE, Port
from openeni_operator.cloud.errors import (
    InvalidRequestError,
    ResourceConflictError,
    ResourceNotFoundError,
    SubnetExhaustedError,
)
from openeni_testing.cloud.grounds import (
    TINY_V6,
    V4,
    V6,
    Ground,
    in_memory,
    on_fake_services,
    on_real_services,
)
from openeni_testing.waiting import wait_for

INSIDE = (pytest.mark.cloud, pytest.mark.inside)
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(
    scope="module",
    params=[in_memory, on_fake_services, pytest.param(on_real_services, marks=INSIDE)],
)
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with request.param() as found:
        yield found


@pytest.fixture
def port(ground: Ground) -> Iterator[Port]:
    created = ground.cloud.create_port(ground.wanted())
    yield created
    for left in ground.cloud.ports_named(created.name):
        ground.remove(left)


def test_a_port_is_created_with_all_its_addresses_in_one_request(
    ground: Ground, port: Port
) -> None:
    subnet = ground.cloud.find_subnets(SubnetTerm(name=V4))[0]
    addresses = [f.address for f in port.fixed_ips]
    assert len(set(addresses)) == 3
    assert {f.subnet_id for f in port.fixed_ips} == {subnet.id}
    assert all(ip_address(a) in ip_network(subnet.cidr) for a in addresses)
    assert addresses == sorted(addresses), "Neutron sorts them as text"
    assert (port.device_id, port.network_id) == ("", subnet.network_id)
    assert port.mac_address.startswith("fa:16:3e")


@pytest.mark.parametrize("names", [(V4, V6), (V6, V4), (V6,)])
def test_a_port_has_as_many_addresses_of_each_family_that_is_asked_for(
    ground: Ground, names: tuple[str, ...]
) -> None:
    wanted = ground.wanted(*names)
    port = ground.cloud.create_port(wanted)
    try:
        assert sorted(f.subnet_id for f in port.fixed_ips) == sorted(3 * wanted.subnet_ids)
        subnets = {s.id: s for s in ground.cloud.subnets_of(wanted.network_id)}
        for fixed in port.fixed_ips:
            assert ip_address(fixed.address) in ip_network(subnets[fixed.subnet_id].cidr)
            assert str(ip_address(fixed.address)) == fixed.address, "in its canonical form"
        ground.cloud.attach(ground.server, port.id)
        wait_for(lambda: ground.cloud.port(port.id).status == ACTIVE, "the port is ACTIVE")
        assert ground.cloud.port(port.id).fixed_ips == port.fixed_ips
    finally:
        ground.remove(ground.cloud.port(port.id))


def test_a_subnet_with_slaac_adds_an_address_that_nobody_asked_for(ground: Ground) -> None:
    """Pods cannot have it, and every ENI on the network would get one."""
    slaac = ground.cloud.find_subnets(SubnetTerm(id=ground.slaac))[0]
    assert (slaac.slaac, slaac.ipv6_mode, slaac.dhcp) == (True, "slaac", True)
    wanted = replace(ground.wanted(), network_id=slaac.network_id, subnet_ids=())
    port = ground.cloud.create_port(wanted)
    ground.cloud.delete_port(port.id)
    assert [f.subnet_id for f in port.fixed_ips] == [slaac.id]


def test_a_port_is_found_by_name_id_and_network(ground: Ground, port: Port) -> None:
    assert [p.id for p in ground.cloud.ports_named(port.name)] == [port.id]
    assert ground.cloud.port(port.id).fixed_ips == port.fixed_ips
    assert port.id in {p.id for p in ground.cloud.ports_on(port.network_id)}
    assert ground.cloud.ports_named(port.name + "x") == ()


def test_tags_are_added_to_those_that_are_there(ground: Ground, port: Port) -> None:
    for tag in ("a=1", "b=2"):
        ground.cloud.tag_port(port.id, tag)
    tagged = ground.cloud.port(port.id)
    assert tagged.tags == port.tags | {"a=1", "b=2"}
    assert tagged.revision > port.revision


@pytest.mark.parametrize("tag", ["cost center=7 %41", "a+b&c?d#e", "~!:;'(\\"])
def test_a_tag_is_removed_and_the_others_stay(ground: Ground, port: Port, tag: str) -> None:
    ground.cloud.tag_port(port.id, tag)
    assert ground.cloud.port(port.id).tags == port.tags | {tag}
    ground.cloud.untag_port(port.id, tag)
    assert ground.cloud.port(port.id).tags == port.tags
    ground.cloud.untag_port(port.id, tag)  # it is not there any more


def test_a_port_is_found_by_each_of_its_tags(ground: Ground, port: Port) -> None:
    first, second, other = (f"contract={uuid.uuid4()}" for _ in range(3))
    for tag in (first, second):
        ground.cloud.tag_port(port.id, tag)
    assert [p.id for p in ground.cloud.ports_tagged(first)] == [port.id]
    assert ground.cloud.ports_tagged(second) == (ground.cloud.port(port.id),)
    assert ground.cloud.ports_tagged(other) == ()


def test_security_groups_are_replaced_and_may_be_none(ground: Ground, port: Port) -> None:
    assert len(port.security_group_ids) == 1
    ground.cloud.set_security_groups(port.id, ())
    bare = ground.cloud.port(port.id)
    assert bare.security_group_ids == frozenset()
    assert bare.revision > port.revision
    ground.cloud.set_security_groups(port.id, tuple(port.security_group_ids))
    assert ground.cloud.port(port.id).security_group_ids == port.security_group_ids
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.set_security_groups(str(uuid.uuid4()), ())


def test_port_security_that_somebody_has_switched_off_comes_back_with_the_groups(
    ground: Ground, port: Port
) -> None:
    """Neutron takes groups off a port before it lets go of its security, and none onto it after."""
    groups = tuple(port.security_group_ids)
    assert port.port_security is True
    assert ground.cloud.network(port.network_id).port_security is True
    ground.disable_port_security(port.id)
    bare = ground.cloud.port(port.id)
    assert (bare.port_security, bare.security_group_ids) == (False, frozenset())
    with pytest.raises(InvalidRequestError, match="ort security"):
        ground.cloud.set_security_groups(port.id, groups)
    assert ground.cloud.port(port.id) == bare
    ground.cloud.set_security_groups(port.id, groups, enable_port_security=True)
    (listed,) = ground.cloud.ports_named(port.name)
    assert (listed.port_security, listed.security_group_ids) == (True, frozenset(groups))
    assert listed == ground.cloud.port(port.id)
    assert listed.revision > bare.revision


def test_a_qos_policy_is_found_given_and_taken_off(ground: Ground, port: Port) -> None:
    (policy,) = ground.cloud.find_qos_policies(QoSPolicyTerm(name=ground.policy))
    assert ground.cloud.find_qos_policies(QoSPolicyTerm(id=policy.id)) == (policy,)
    assert ground.cloud.find_qos_policies(QoSPolicyTerm(name="no-such-policy")) == ()
    assert (port.qos_policy_id, port.enabled) == ("", True)
    ground.cloud.set_qos_policy(port.id, policy.id)
    changed = ground.cloud.port(port.id)
    assert changed.qos_policy_id == policy.id
    assert changed.revision > port.revision
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.set_qos_policy(port.id, UNKNOWN_ID)
    ground.cloud.set_qos_policy(port.id, "")
    assert ground.cloud.port(port.id).qos_policy_id == ""


def test_a_port_is_created_with_a_qos_policy(ground: Ground) -> None:
    (policy,) = ground.cloud.find_qos_policies(QoSPolicyTerm(name=ground.policy))
    created = ground.cloud.create_port(replace(ground.wanted(), qos_policy_id=policy.id))
    assert created.qos_policy_id == policy.id
    ground.remove(created)


def test_a_port_is_attached_and_detached(ground: Ground, port: Port) -> None:
    ground.cloud.attach(ground.server, port.id)
    wait_for(lambda: ground.cloud.port(port.id).status == ACTIVE, "the port is ACTIVE")
    assert ground.cloud.port(port.id).device_id == ground.server
    assert ground.cloud.port(port.id).fixed_ips == port.fixed_ips
    with pytest.raises(ResourceConflictError):
        ground.cloud.attach(ground.server, port.id)
    ground.cloud.detach(ground.server, port.id)
    wait_for(lambda: not ground.cloud.port(port.id).device_id, "the port is detached")
    assert ground.cloud.port(port.id).fixed_ips == port.fixed_ips


def test_detaching_a_port_that_is_not_attached_succeeds(ground: Ground, port: Port) -> None:
    ground.cloud.detach(ground.server, port.id)
    assert not ground.cloud.port(port.id).device_id


def test_a_port_can_be_deleted_twice(ground: Ground, port: Port) -> None:
    ground.cloud.delete_port(port.id)
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.port(port.id)
    assert ground.cloud.ports_named(port.name) == ()
    ground.cloud.delete_port(port.id)


def test_missing_resources_are_reported_as_not_found(ground: Ground, port: Port) -> None:
    for get in (ground.cloud.port, ground.cloud.network):
        with pytest.raises(ResourceNotFoundError):
            get(UNKNOWN_ID)
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.attach(UNKNOWN_ID, port.id)
    assert ground.cloud.find_subnets(SubnetTerm(name="no-such-subnet")) == ()
    assert ground.cloud.find_security_groups(SecurityGroupTerm(id=UNKNOWN_ID)) == ()


def test_a_port_in_an_unknown_subnet_is_not_created(ground: Ground) -> None:
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.create_port(replace(ground.wanted(), subnet_ids=(UNKNOWN_ID,)))


@pytest.mark.parametrize("names", [("tiny",), ("tiny", TINY_V6), (TINY_V6, "tiny")])
def test_no_port_is_left_when_a_subnet_is_exhausted(ground: Ground, names: tuple[str, ...]) -> None:
    """Nor does the error say which one: the IPv6 subnet has the six addresses."""
    wanted = ground.wanted(*names, count=6)
    with pytest.raises(SubnetExhaustedError) as raised:
        ground.cloud.create_port(wanted)
    assert not any(subnet_id in raised.value.message for subnet_id in wanted.subnet_ids)
    assert ground.cloud.ports_named(wanted.name) == ()
    created = ground.cloud.create_port(ground.wanted(*names, count=5))
    ground.cloud.delete_port(created.id)


def test_names_and_ids_find_the_same_resources(ground: Ground) -> None:
    by_name = [ground.cloud.find_subnets(SubnetTerm(name=name))[0] for name in (V4, V6)]
    for subnet, version in zip(by_name, (4, 6), strict=True):
        assert ground.cloud.find_subnets(SubnetTerm(id=subnet.id)) == (subnet,)
        assert (subnet.dhcp, subnet.ipv6_mode, subnet.slaac) == (False, "", False)
        assert (subnet.ip_version, ip_network(subnet.cidr).version) == (version, version)
        assert ip_address(subnet.gateway) in ip_network(subnet.cidr)
        assert subnet.pools
    assert set(ground.cloud.subnets_of(by_name[0].network_id)) == set(by_name)
    group = ground.cloud.find_security_groups(SecurityGroupTerm(name=ground.group))
    assert ground.cloud.find_security_groups(SecurityGroupTerm(id=group[0].id)) == group
    assert ground.cloud.network(by_name[0].network_id).mtu >= 1280


def test_tags_find_every_resource_that_has_all_of_them(ground: Ground) -> None:
    for tags in (("contract",), ("contract", "second"), ("second", "contract")):
        subnets = ground.cloud.find_subnets(SubnetTerm(tags=tags))
        assert [s.id for s in subnets] == [ground.tiny]
    (group,) = ground.cloud.find_security_groups(SecurityGroupTerm(tags=("contract",)))
    assert group.name == "contract-tagged"
    assert ground.cloud.find_subnets(SubnetTerm(tags=("contract", "third"))) == ()


def test_the_projects_port_quota_allows_the_port_there_is(ground: Ground, port: Port) -> None:
    assert ground.cloud.place.project_id
    quota = ground.cloud.port_quota()
    assert quota.used >= 1
    assert quota.limit == -1 or quota.limit >= quota.used


def test_a_server_exists_or_not(ground: Ground) -> None:
    assert ground.cloud.server_exists(ground.server)
    assert not ground.cloud.server_exists(UNKNOWN_ID)
