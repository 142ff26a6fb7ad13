"""What the fake's Nova does beyond the contract of a Cloud, seen through the real SDK."""

from typing import Any

import pytest
from openstack import exceptions

from openeni_testing.cloud.faults import FakeClock
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorAfter, ErrorBefore
from openeni_testing.fake_openstack.resources import ServerRecord, SubnetRecord
from openeni_testing.fake_openstack.responses import attach_failed


@pytest.fixture
def port(sdk: Any, subnet: SubnetRecord) -> str:
    return new_port(sdk, subnet)


def new_port(sdk: Any, subnet: SubnetRecord, count: int = 1) -> str:
    fixed_ips = [{"subnet_id": subnet.id}] * count
    created = sdk.network.create_port(network_id=subnet.network_id, fixed_ips=fixed_ips)
    return str(created.id)


def attach(sdk: Any, server: ServerRecord, port_id: str) -> Any:
    return sdk.compute.create_server_interface(server.id, port_id=port_id)


def detach(sdk: Any, server: ServerRecord, port_id: str) -> None:
    sdk.compute.delete_server_interface(port_id, server=server.id)


def binding(sdk: Any, port_id: str) -> tuple[str, str]:
    port = sdk.network.get_port(port_id)
    return port.device_id, port.status


def test_a_port_has_its_server_before_it_is_active(
    fake: FakeOpenStack, sdk: Any, server: ServerRecord, port: str, clock: FakeClock
) -> None:
    fake.settings.attach_seconds = 5
    interface = attach(sdk, server, port)
    assert (interface.port_id, interface.port_state) == (port, "BUILD")
    assert binding(sdk, port) == (server.id, "BUILD")
    clock.advance(5)
    assert binding(sdk, port) == (server.id, "ACTIVE")
    assert sdk.network.get_port(port).device_owner == "compute:nova"


def test_a_port_stays_down_without_an_agent(
    sdk: Any, server: ServerRecord, port: str, clock: FakeClock
) -> None:
    server.agent = False
    attach(sdk, server, port)
    clock.advance(1000)
    assert binding(sdk, port) == (server.id, "DOWN")


def test_an_error_can_hide_an_attach(
    fake: FakeOpenStack, sdk: Any, server: ServerRecord, port: str, clock: FakeClock
) -> None:
    fake.faults.add("attach port", ErrorBefore(attach_failed(server.id)))
    fake.faults.add("attach port", ErrorAfter(attach_failed(server.id), late=30), nth=2)
    for _ in range(2):
        with pytest.raises(exceptions.HttpException, match="Failed to attach network adapter"):
            attach(sdk, server, port)
        assert binding(sdk, port) == ("", "DOWN")
        clock.advance(29)
    clock.advance(1)
    assert binding(sdk, port) == (server.id, "ACTIVE")


def test_a_server_without_a_free_slot_refuses_and_the_port_is_unbound(
    sdk: Any, server: ServerRecord, port: str, subnet: SubnetRecord
) -> None:
    server.slots = 1
    attach(sdk, server, port)
    second = new_port(sdk, subnet)
    before = sdk.network.get_port(second).revision_number
    with pytest.raises(exceptions.HttpException) as raised:
        attach(sdk, server, second)
    assert raised.value.response is not None
    message = f"Failed to attach network adapter device to {server.id}"
    assert raised.value.response.json() == {"computeFault": {"code": 500, "message": message}}
    assert binding(sdk, second) == ("", "DOWN")
    assert sdk.network.get_port(second).revision_number == before + 2, "bound and unbound"
    detach(sdk, server, port)
    attach(sdk, server, second)
    assert binding(sdk, second) == (server.id, "ACTIVE")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"task_state": "rebuilding"}, "task_state rebuilding"),
        ({"vm_state": "suspended"}, "vm_state suspended"),
        ({"locked": True}, "is locked"),
    ],
)
def test_a_server_that_is_busy_or_locked_refuses(
    sdk: Any, server: ServerRecord, port: str, state: dict[str, Any], message: str
) -> None:
    vars(server).update(state)
    for change in (attach, detach):
        with pytest.raises(exceptions.ConflictException) as raised:
            change(sdk, server, port)
        assert raised.value.response is not None
        assert message in raised.value.response.json()["conflictingRequest"]["message"]
    assert binding(sdk, port) == ("", "DOWN")


def test_ports_that_cannot_be_attached_are_refused(
    fake: FakeOpenStack, sdk: Any, server: ServerRecord, port: str, subnet: SubnetRecord
) -> None:
    foreign = new_port(sdk, subnet)
    fake.state.update_port(foreign, project_id="another")
    bare = str(sdk.network.create_port(network_id=subnet.network_id, fixed_ips=[]).id)
    attach(sdk, server, port)
    for port_id, status, message in (
        (port, 409, "is still in use"),
        (foreign, 400, "not usable for instance"),
        (bare, 400, "requires a FixedIP"),
        ("unknown", 404, "could not be found"),
    ):
        with pytest.raises(exceptions.HttpException, match=message) as raised:
            attach(sdk, server, port_id)
        assert raised.value.status_code == status
    response = sdk.compute.post(f"/servers/{server.id}/os-interface", json={})
    assert (response.status_code, "badRequest" in response.json()) == (400, True)


def test_a_detach_is_accepted_and_done_later(
    fake: FakeOpenStack, sdk: Any, server: ServerRecord, port: str, clock: FakeClock
) -> None:
    fake.settings.detach_seconds = 160
    attach(sdk, server, port)
    path = f"/servers/{server.id}/os-interface/{port}"
    assert sdk.compute.delete(path).status_code == 202
    clock.advance(159)
    assert binding(sdk, port) == (server.id, "ACTIVE")
    clock.advance(1)
    assert binding(sdk, port) == ("", "DOWN")
    assert sdk.compute.delete(path).status_code == 202, "there is nothing to detach"
    assert sdk.compute.delete(f"/servers/none/os-interface/{port}").status_code == 404


def test_a_detach_can_be_accepted_and_lost(
    sdk: Any, server: ServerRecord, port: str, clock: FakeClock
) -> None:
    server.loses_detaches = True
    attach(sdk, server, port)
    detach(sdk, server, port)
    clock.advance(1000)
    assert binding(sdk, port) == (server.id, "ACTIVE")


def test_a_deleted_server_leaves_its_ports_unbound_or_takes_them_along(
    fake: FakeOpenStack, sdk: Any, server: ServerRecord, port: str, subnet: SubnetRecord
) -> None:
    attach(sdk, server, port)
    fake.state.remove_server(server.id)
    assert binding(sdk, port) == ("", "DOWN")
    with pytest.raises(exceptions.NotFoundException):
        sdk.compute.get_server(server.id)
    other, lost = fake.state.add_server(), new_port(sdk, subnet)
    attach(sdk, other, lost)
    fake.state.remove_server(other.id, with_ports=True)
    with pytest.raises(exceptions.NotFoundException):
        sdk.network.get_port(lost)


def test_deleting_an_attached_port_frees_its_addresses_before_the_guest_loses_it(
    fake: FakeOpenStack, sdk: Any, server: ServerRecord, clock: FakeClock
) -> None:
    tiny = fake.state.add_subnet(fake.state.add_network(), "tiny", "10.97.5.0/29")
    fake.settings.detach_seconds = 20
    server.slots = 1
    port = new_port(sdk, tiny, 5)
    attach(sdk, server, port)
    sdk.network.delete_port(port)
    again = new_port(sdk, tiny, 5)
    with pytest.raises(exceptions.HttpException, match="Failed to attach"):
        attach(sdk, server, again)
    clock.advance(20)
    attach(sdk, server, again)
    assert binding(sdk, again) == (server.id, "ACTIVE")


def test_an_attach_takes_longer_the_more_addresses_the_server_has(
    fake: FakeOpenStack, sdk: Any, server: ServerRecord, subnet: SubnetRecord, clock: FakeClock
) -> None:
    fake.latency.per_address = 0.5
    fake.latency.of_operation["attach port"] = 3
    seconds: list[float] = []
    for _ in range(3):
        port = new_port(sdk, subnet, 8)
        before = clock()
        attach(sdk, server, port)
        seconds.append(clock() - before)
    assert seconds == [3, 7, 11]


def test_servers_and_interfaces_are_listed(
    fake: FakeOpenStack, sdk: Any, server: ServerRecord, port: str
) -> None:
    fake.state.add_server("other")
    attach(sdk, server, port)
    assert [found.id for found in sdk.compute.servers(name="node-1")] == [server.id]
    assert sdk.compute.get_server(server.id).status == "ACTIVE"
    (interface,) = sdk.compute.server_interfaces(server.id)
    assert (interface.port_id, interface.port_state) == (port, "ACTIVE")
    assert interface.fixed_ips == sdk.network.get_port(port).fixed_ips
    detach(sdk, server, port)
    assert sdk.compute.get(f"/servers/{server.id}/os-interface/{port}").status_code == 404
