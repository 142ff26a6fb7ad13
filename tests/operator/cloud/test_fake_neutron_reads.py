"""What the fake's Neutron shows to whom: lists, pages, stale reads and other projects."""

from collections.abc import Callable
from typing import Any

import pytest
from openstack import exceptions

from openeni_testing.cloud.faults import FakeClock
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import EmptyList, StaleRead
from openeni_testing.fake_openstack.keystone import Project
from openeni_testing.fake_openstack.resources import NetworkRecord, SubnetRecord


@pytest.fixture
def other(fake: FakeOpenStack) -> Project:
    return fake.keystone.add_project("other")


@pytest.fixture
def shared(fake: FakeOpenStack, other: Project) -> SubnetRecord:
    """Return a subnet on a network that another project shares."""
    network = fake.state.add_network("shared", shared=True, project_id=other.id)
    return fake.state.add_subnet(network, "shared", "10.99.0.0/29")


def new_port(sdk: Any, subnet: SubnetRecord, name: str = "", **attributes: Any) -> Any:
    fixed_ips = [{"subnet_id": subnet.id}]
    return sdk.network.create_port(
        network_id=subnet.network_id, name=name, **{"fixed_ips": fixed_ips, **attributes}
    )


def listed(sdk: Any, query: str) -> list[str]:
    """Return the names of the ports that a query finds, without the SDK's own filters."""
    response = sdk.network.get(f"/ports?{query}")
    assert response.status_code == 200, response.text
    return sorted(port["name"] for port in response.json()["ports"])


def test_filters_select(fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord) -> None:
    lonely = fake.state.add_subnet(fake.state.add_network(), "lonely", "10.97.0.0/24")
    a = new_port(sdk, subnet, "a", tags=["x", "y"])
    b = new_port(sdk, subnet, "b", tags=["x"], device_id="server-1")
    new_port(sdk, lonely, "c", admin_state_up=False)
    address = b.fixed_ips[0]["ip_address"]
    for query, names in {
        "": ["a", "b", "c"],
        "name=a": ["a"],
        "name=a&name=b": ["a", "b"],
        f"id={a.id}": ["a"],
        f"network_id={subnet.network_id}": ["a", "b"],
        "device_id=server-1": ["b"],
        "device_id=": ["a", "c"],
        "status=DOWN&name=b": ["b"],
        "status=ACTIVE": [],
        "admin_state_up=False": ["c"],
        "tags=x": ["a", "b"],
        "tags=x,y": ["a"],
        "tags-any=y,z": ["a"],
        "not-tags=x,y": ["b", "c"],
        "not-tags-any=x,z": ["c"],
        f"fixed_ips=subnet_id%3D{lonely.id}": ["c"],
        f"fixed_ips=subnet_id%3D{subnet.id}&fixed_ips=ip_address%3D{address}": ["b"],
        f"fixed_ips=subnet_id%3D{lonely.id}&fixed_ips=ip_address%3D{address}": [],
        f"security_groups={a.security_group_ids[0]}": ["a", "b", "c"],
    }.items():
        assert listed(sdk, query) == names, query


def test_a_filter_that_neutron_does_not_know_is_ignored_unless_it_validates(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord
) -> None:
    new_port(sdk, subnet, "a")
    assert listed(sdk, "nmae=b") == ["a"]
    fake.settings.extensions.add("filter-validation")
    response = sdk.network.get("/ports?nmae=b")
    assert (response.status_code, "nmae" in response.text) == (400, True)


def test_fields_are_selected(sdk: Any, subnet: SubnetRecord) -> None:
    port = new_port(sdk, subnet, "a")
    response = sdk.network.get("/ports?fields=id&fields=tags")
    assert response.json() == {"ports": [{"id": port.id, "tags": []}]}


def test_pages_follow_each_other(fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord) -> None:
    ids = sorted(new_port(sdk, subnet).id for _ in range(5))
    first = sdk.network.get("/ports?limit=2&name=").json()
    assert [port["id"] for port in first["ports"]] == ids[:2]
    (link,) = first["ports_links"]
    assert (link["rel"], f"marker={ids[1]}" in link["href"]) == ("next", True)
    second = sdk.network.get(f"/ports?limit=2&marker={ids[1]}").json()
    assert [port["id"] for port in second["ports"]] == ids[2:4]
    assert "ports_links" not in sdk.network.get(f"/ports?limit=2&marker={ids[3]}").json()
    assert sdk.network.get("/ports?limit=x").status_code == 400
    fake.settings.page_limit = 2
    assert [port.id for port in sdk.network.ports()] == ids
    sdk.network.delete_port(ids[1])
    assert sdk.network.get(f"/ports?limit=2&marker={ids[1]}").status_code == 404


def test_lists_lag_by_seconds(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord, clock: FakeClock
) -> None:
    fake.settings.list_lag_seconds = 10
    port = new_port(sdk, subnet, "a")
    assert listed(sdk, "name=a") == []
    assert sdk.network.get_port(port.id).name == "a"
    clock.advance(10)
    assert listed(sdk, "name=a") == ["a"]
    sdk.network.delete_port(port.id)
    assert listed(sdk, "name=a") == ["a"]
    clock.advance(10)
    assert listed(sdk, "name=a") == []


def test_lists_lag_by_calls(fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord) -> None:
    fake.settings.list_lag_calls = 2
    new_port(sdk, subnet, "a")
    assert [listed(sdk, "name=a") for _ in range(3)] == [[], [], ["a"]]


def test_one_read_is_stale(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord, clock: FakeClock
) -> None:
    port = new_port(sdk, subnet, "a")
    clock.advance(10)
    sdk.network.update_port(port.id, description="new")
    fake.faults.add("get port", StaleRead(seconds=5))
    fake.faults.add("list ports", StaleRead(calls=3))
    assert sdk.network.get_port(port.id).description == ""
    assert sdk.network.get_port(port.id).description == "new"
    assert [p.description for p in sdk.network.ports()] == [""]
    assert [p.description for p in sdk.network.ports()] == ["new"]


def test_one_list_is_empty(fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord) -> None:
    new_port(sdk, subnet, "a")
    fake.faults.add("find port", EmptyList())
    assert [listed(sdk, "name=a") for _ in range(2)] == [[], ["a"]]


def test_a_shared_network_takes_ports_but_no_changes_of_addresses(
    sdk: Any, shared: SubnetRecord
) -> None:
    port = new_port(sdk, shared)
    address = {"subnet_id": shared.id, "ip_address": "10.99.0.6"}
    changes: list[Callable[[], object]] = [
        lambda: sdk.network.update_port(port.id, fixed_ips=port.fixed_ips),
        lambda: sdk.network.update_port(port.id, allowed_address_pairs=[]),
        lambda: new_port(sdk, shared, fixed_ips=[address]),
        lambda: new_port(sdk, shared, mac_address="fa:16:3e:00:00:99"),
    ]
    for change in changes:
        with pytest.raises(exceptions.ForbiddenException) as raised:
            change()
        assert raised.value.response is not None
        assert raised.value.response.json()["NeutronError"]["type"] == "PolicyNotAuthorized"
    assert sdk.network.update_port(port.id, description="mine").description == "mine"


def test_ports_of_others_are_invisible_and_hold_their_addresses(
    fake: FakeOpenStack, sdk: Any, other: Project, shared: SubnetRecord, log_in: Callable[..., Any]
) -> None:
    theirs = log_in(fake, other)
    foreign = [new_port(theirs, shared, "foreign") for _ in range(4)]
    own = new_port(sdk, shared, "own")
    assert listed(sdk, "") == ["own"]
    with pytest.raises(exceptions.NotFoundException):
        sdk.network.get_port(foreign[0].id)
    with pytest.raises(exceptions.ConflictException):
        new_port(sdk, shared)
    assert listed(theirs, "") == ["foreign"] * 4 + ["own"], "it owns the network"
    with pytest.raises(exceptions.ForbiddenException):
        theirs.network.update_port(own.id, name="taken")


def test_the_wrong_project_sees_nothing(
    fake: FakeOpenStack, sdk: Any, other: Project, subnet: SubnetRecord, log_in: Callable[..., Any]
) -> None:
    port = new_port(sdk, subnet, "a")
    server = fake.state.add_server()
    wrong = log_in(fake, other)
    assert listed(wrong, "") == []
    assert [*wrong.network.networks(), *wrong.network.subnets(), *wrong.compute.servers()] == []
    assert list(wrong.network.security_groups()) == []
    for get, name in (
        (wrong.network.get_port, port.id),
        (wrong.network.get_network, subnet.network_id),
        (wrong.network.get_subnet, subnet.id),
        (wrong.compute.get_server, server.id),
    ):
        with pytest.raises(exceptions.NotFoundException):
            get(name)
    with pytest.raises(exceptions.NotFoundException):
        new_port(wrong, subnet)


def test_only_administrators_see_bindings(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord, log_in: Callable[..., Any]
) -> None:
    port = new_port(sdk, subnet)
    server = fake.state.add_server()
    sdk.compute.create_server_interface(server.id, port_id=port.id)
    plain = sdk.network.get(f"/ports/{port.id}").json()["port"]
    assert {name for name in plain if name.startswith("binding:")} == {"binding:vnic_type"}
    admin = log_in(fake, fake.keystone.add_project("admin", admin=True))
    assert admin.network.get_port(port.id).binding_host_id == server.host


def test_networks_and_subnets_are_found(sdk: Any, network: NetworkRecord, fake: Any) -> None:
    subnet = fake.state.add_subnet(network, "pods", "10.98.0.0/22", tags=("a",))
    assert sdk.network.find_network("pods").id == network.id
    assert [s.id for s in sdk.network.subnets(tags="a", network_id=network.id)] == [subnet.id]
    assert list(sdk.network.subnets(tags="b")) == []
    found = sdk.network.get_subnet(subnet.id)
    assert found.allocation_pools == [{"start": "10.98.0.2", "end": "10.98.3.254"}]
    assert sdk.network.get_network(network.id).mtu == 1450
