"""What the fake's Neutron does beyond the contract of a Cloud, seen through the real SDK."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from openstack import exceptions

from openeni_operator.cloud.errors import DeniedError
from openeni_operator.cloud.openstack import OpenStackCloud
from openeni_testing.cloud.fake_ports import wanted
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.resources import NetworkRecord, ServerRecord, SubnetRecord


def new_port(sdk: Any, subnet: SubnetRecord, count: int = 1, **attributes: Any) -> Any:
    fixed_ips = [{"subnet_id": subnet.id}] * count
    return sdk.network.create_port(
        network_id=subnet.network_id, **{"fixed_ips": fixed_ips, **attributes}
    )


def ips(port: Any) -> list[str]:
    return [entry["ip_address"] for entry in port.fixed_ips]


def named(subnet: SubnetRecord, *addresses: str) -> list[dict[str, str]]:
    return [{"subnet_id": subnet.id, "ip_address": address} for address in addresses]


def error_type(error: exceptions.HttpException) -> tuple[int | None, str]:
    assert error.response is not None
    return error.status_code, error.response.json()["NeutronError"]["type"]


def test_addresses_are_ordered_as_texts(fake: FakeOpenStack, sdk: Any) -> None:
    subnet = fake.state.add_subnet(fake.state.add_network(), "tiny", "10.97.5.0/28")
    port = new_port(sdk, subnet, 13)
    assert ips(port) == sorted(ips(port))
    assert ips(port) != sorted(ips(port), key=ip_address)


def test_put_keeps_what_it_names_and_adds_what_it_does_not(sdk: Any, subnet: SubnetRecord) -> None:
    port = new_port(sdk, subnet, 4)
    more = [*named(subnet, *ips(port)), {"subnet_id": subnet.id}]
    grown = sdk.network.update_port(port.id, fixed_ips=more)
    assert set(ips(grown)) > set(ips(port))
    assert len(ips(grown)) == 5


def test_put_from_a_stale_list_drops_addresses(sdk: Any, subnet: SubnetRecord) -> None:
    port = new_port(sdk, subnet, 4)
    sdk.network.update_port(port.id, fixed_ips=named(subnet, *ips(port)[:2]))
    assert ips(sdk.network.get_port(port.id)) == ips(port)[:2]


def test_entries_without_an_address_reuse_any_of_the_present_ones(
    sdk: Any, subnet: SubnetRecord
) -> None:
    kept: set[tuple[int, ...]] = set()
    for number in range(10):
        wanted = named(subnet, *(f"10.98.{number % 3}.{10 * number + n}" for n in range(10, 18)))
        old = new_port(sdk, subnet, fixed_ips=wanted)
        new = sdk.network.update_port(old.id, fixed_ips=[{"subnet_id": subnet.id}] * 3)
        assert set(ips(new)) < set(ips(old))
        assert len(set(ips(new))) == 3
        kept.add(tuple(ips(old).index(address) for address in ips(new)))
    assert len(kept) > 1, "the choice must not look like an order"


def test_a_new_address_is_among_the_lowest_free_ones(fake: FakeOpenStack, sdk: Any) -> None:
    subnet = fake.state.add_subnet(fake.state.add_network(), "big", "10.96.0.0/16")
    for _ in range(10):
        port = new_port(sdk, subnet, 200)
        sdk.network.delete_port(port.id)
    first = int(ip_address("10.96.0.2"))
    port = new_port(sdk, subnet, 200)
    assert all(int(ip_address(address)) - first < 1000 + 200 for address in ips(port))


def test_a_change_that_fails_leaves_the_port_as_it_was(fake: FakeOpenStack, sdk: Any) -> None:
    subnet = fake.state.add_subnet(fake.state.add_network(), "tiny", "10.97.5.0/29")
    port = new_port(sdk, subnet, 3)
    wanted = [*named(subnet, *ips(port)), *[{"subnet_id": subnet.id}] * 3]
    with pytest.raises(exceptions.ConflictException) as raised:
        sdk.network.update_port(port.id, fixed_ips=wanted)
    assert error_type(raised.value) == (409, "IpAddressGenerationFailure")
    now = sdk.network.get_port(port.id)
    assert (ips(now), now.revision_number) == (ips(port), port.revision_number)
    assert len(ips(new_port(sdk, subnet, 2))) == 2, "the addresses of the failed call are free"


def test_an_address_in_use_is_refused(sdk: Any, subnet: SubnetRecord) -> None:
    taken = ips(new_port(sdk, subnet))[0]
    with pytest.raises(exceptions.ConflictException) as raised:
        new_port(sdk, subnet, fixed_ips=named(subnet, taken))
    assert error_type(raised.value) == (409, "IpAddressAlreadyAllocated")


def test_used_up_quota_is_refused_and_reported(fake: FakeOpenStack, sdk: Any) -> None:
    subnet = fake.state.add_subnet(fake.state.add_network(), "pods", "10.98.0.0/22")
    fake.settings.port_quota = 1
    new_port(sdk, subnet)
    with pytest.raises(exceptions.ConflictException) as raised:
        new_port(sdk, subnet)
    assert error_type(raised.value) == (409, "OverQuota")
    project = fake.project.id
    assert sdk.network.get_quota(project, details=True).ports["used"] == 1
    assert sdk.network.get_quota(project).ports == 1
    with pytest.raises(exceptions.ForbiddenException):
        sdk.network.get_quota("another", details=True)


@pytest.mark.parametrize(
    ("attributes", "status", "kind"),
    [
        ({"fixed_ips": [{"ip_address": "192.0.2.1"}]}, 400, "InvalidIpForNetwork"),
        ({"fixed_ips": ["10.98.0.5"]}, 400, "HTTPBadRequest"),
        ({"fixed_ips": [{"other": "x"}]}, 400, "HTTPBadRequest"),
        ({"fixed_ips": [{"ip_address": "10.98.0.5"}] * 2}, 400, "HTTPBadRequest"),
        ({"security_groups": ["none"]}, 404, "SecurityGroupNotFound"),
        ({"status": "ACTIVE"}, 400, "HTTPBadRequest"),
        ({"tags": ["x" * 256]}, 400, "InvalidInput"),
        ({"tags": [f"tag-{n}" for n in range(51)]}, 400, "BadRequest"),
    ],
)
def test_invalid_ports_are_refused(
    sdk: Any, subnet: SubnetRecord, attributes: dict[str, Any], status: int, kind: str
) -> None:
    with pytest.raises(exceptions.HttpException) as raised:
        new_port(sdk, subnet, **attributes)
    assert error_type(raised.value) == (status, kind)
    assert list(sdk.network.ports()) == []


def test_an_address_of_another_subnet_is_refused(fake: FakeOpenStack, sdk: Any) -> None:
    network = fake.state.add_network()
    subnet = fake.state.add_subnet(network, "one", "10.97.5.0/29")
    foreign = fake.state.add_subnet(fake.state.add_network(), "two", "10.97.6.0/29")
    for fixed_ips, kind in (
        (named(subnet, "10.97.6.2"), "InvalidIpForSubnet"),
        ([{"subnet_id": foreign.id}], "InvalidInput"),
    ):
        with pytest.raises(exceptions.BadRequestException) as raised:
            new_port(sdk, subnet, fixed_ips=fixed_ips)
        assert error_type(raised.value) == (400, kind)


def test_a_port_without_wishes_gets_an_address_of_each_version_and_the_default_group(
    fake: FakeOpenStack, sdk: Any, network: NetworkRecord
) -> None:
    for name, cidr in (("a", "10.97.5.0/29"), ("b", "10.97.6.0/29"), ("c", "fd00:1::/64")):
        fake.state.add_subnet(network, name, cidr)
    port = sdk.network.create_port(network_id=network.id)
    assert sorted(ip_address(address).version for address in ips(port)) == [4, 6]
    (group,) = sdk.network.security_groups(name="default")
    assert port.security_group_ids == [group.id]


def test_port_security_and_groups_need_each_other(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord
) -> None:
    """The real one is asked by the contract; this is about what only its source shows."""
    port, off = new_port(sdk, subnet), {"port_security_enabled": False}
    with pytest.raises(exceptions.ConflictException) as raised:
        sdk.network.update_port(port.id, **off)
    assert error_type(raised.value) == (409, "PortSecurityPortHasSecurityGroup")
    fake.state.networks[subnet.network_id] = replace(
        fake.state.networks[subnet.network_id], port_security=False
    )
    bare = new_port(sdk, subnet)
    assert (bare.is_port_security_enabled, bare.security_group_ids) == (False, [])
    with pytest.raises(exceptions.BadRequestException) as refused:
        new_port(sdk, subnet, security_groups=port.security_group_ids)
    assert error_type(refused.value) == (400, "PortSecurityAndIPRequiredForSecurityGroups")


def test_only_the_owner_of_the_network_may_switch_port_security(
    fake: FakeOpenStack, operators: OpenStackCloud
) -> None:
    other = fake.keystone.add_project("other")
    shared = fake.state.add_network("shared", shared=True, project_id=other.id)
    port = operators.create_port(wanted(fake.state.add_subnet(shared, "s", "10.99.0.0/24")))
    fake.state.update_port(port.id, groups=(), port_security=False)
    with pytest.raises(DeniedError, match="update_port:port_security_enabled"):
        operators.set_security_groups(port.id, (), enable_port_security=True)
    operators.set_security_groups(port.id, ())
    assert operators.port(port.id).port_security is False


def test_a_slaac_subnet_adds_its_address_unasked(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord, network: NetworkRecord
) -> None:
    before = new_port(sdk, subnet)
    slaac = fake.state.add_subnet(network, "slaac", "fd00:2::/64", ipv6_mode="slaac")
    port = new_port(sdk, subnet, mac_address="fa:16:3e:12:34:56")
    assert "fd00:2::f816:3eff:fe12:3456" in ips(port)
    kept = sdk.network.update_port(port.id, fixed_ips=named(subnet, *ips(port)[:1]))
    assert ips(kept) == ips(port)
    assert len(ips(sdk.network.get_port(before.id))) == 1
    touched = sdk.network.update_port(before.id, fixed_ips=named(subnet, *ips(before)))
    assert len(ips(touched)) == 2
    gone = [*named(subnet, *ips(before)), {"subnet_id": slaac.id, "delete_subnet": True}]
    assert ips(sdk.network.update_port(before.id, fixed_ips=gone)) == ips(before)
    with pytest.raises(exceptions.BadRequestException) as raised:
        new_port(sdk, subnet, fixed_ips=named(slaac, "fd00:2::5"))
    assert error_type(raised.value) == (400, "AllocationOnAutoAddressSubnet")


def test_tags_status_and_binding_bump_the_revision(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord, server: ServerRecord, clock: FakeClock
) -> None:
    fake.settings.attach_seconds = 5
    port = new_port(sdk, subnet)

    def bumped_by(change: Callable[[], object]) -> int:
        before = sdk.network.get_port(port.id).revision_number
        change()
        return int(sdk.network.get_port(port.id).revision_number) - int(before)

    put = sdk.network.put
    assert bumped_by(lambda: put(f"/ports/{port.id}/tags/a%2Fb=c")) == 1
    assert bumped_by(lambda: put(f"/ports/{port.id}/tags/a%2Fb=c")) == 0, "it is there"
    assert bumped_by(lambda: put(f"/ports/{port.id}/tags", json={"tags": ["d"]})) == 1
    attach = sdk.compute.create_server_interface
    assert bumped_by(lambda: attach(server.id, port_id=port.id)) == 1
    assert bumped_by(lambda: clock.advance(5)) == 1
    assert bumped_by(lambda: sdk.network.update_port(port.id, description="changed")) == 1
    assert bumped_by(lambda: sdk.network.update_port(port.id, description="changed")) == 0


def test_a_stale_revision_is_refused_until_neutron_loses_the_condition(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord
) -> None:
    port = new_port(sdk, subnet)
    stale = port.revision_number
    sdk.network.update_port(port.id, if_revision=stale, description="mine")
    changes: list[Callable[[], object]] = [
        lambda: sdk.network.update_port(port.id, if_revision=stale, description="late"),
        lambda: sdk.network.delete_port(port.id, if_revision=stale),
    ]
    for change in changes:
        with pytest.raises(exceptions.PreconditionFailedException) as raised:
            change()
        assert error_type(raised.value) == (412, "RevisionNumberConstraintFailed")
    fake.settings.ignores_if_match = True
    won = sdk.network.update_port(port.id, if_revision=stale, description="late")
    assert won.description == "late"


def test_if_match_needs_its_extension(fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord) -> None:
    port = new_port(sdk, subnet)
    fake.settings.extensions.remove("revision-if-match")
    with pytest.raises(exceptions.BadRequestException):
        sdk.network.update_port(port.id, if_revision=port.revision_number, description="x")


def test_tags_are_set_one_by_one_or_as_a_whole(sdk: Any, subnet: SubnetRecord) -> None:
    port = new_port(sdk, subnet, tags=["first"])
    path = f"/ports/{port.id}/tags"
    for _ in range(2):
        assert sdk.network.put(f"{path}/openeni-cluster=a%2Fb").status_code == 201
    assert set(sdk.network.get_port(port.id).tags) == {"first", "openeni-cluster=a/b"}
    assert sdk.network.get(f"{path}/first").status_code == 204
    assert sdk.network.delete(f"{path}/first").status_code == 204
    assert sdk.network.get(f"{path}/first").status_code == 404
    assert sdk.network.delete(f"{path}/first").status_code == 404
    assert sdk.network.put(path, json={"tags": ["x", "y"]}).status_code == 200
    assert set(sdk.network.get(path).json()["tags"]) == {"x", "y"}
    assert sdk.network.put(path, json={"tags": "x"}).status_code == 400
    assert sdk.network.delete(path).status_code == 204
    assert sdk.network.get_port(port.id).tags == []


def test_tags_in_a_post_can_be_dropped(fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord) -> None:
    alias = "tag-ports-during-bulk-creation"
    assert new_port(sdk, subnet, tags=["a"]).tags == ["a"]
    assert alias in {extension.alias for extension in sdk.network.extensions()}
    fake.settings.drops_tags = True
    assert new_port(sdk, subnet, tags=["a"]).tags == []
    assert alias not in {extension.alias for extension in sdk.network.extensions()}
    assert sdk.network.find_extension(alias) is None


def test_deleting_a_port_of_a_service_is_refused(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord
) -> None:
    port = new_port(sdk, subnet)
    fake.state.update_port(port.id, device_owner="network:router_interface")
    with pytest.raises(exceptions.ConflictException) as raised:
        sdk.network.delete_port(port.id)
    assert error_type(raised.value) == (409, "ServicePortInUse")
