"""The lab's real OpenStack: its API's changes become NICs and anti-spoofing rules."""

from collections.abc import Callable, Iterator
from typing import Any

import openstack as sdk
import pytest
from openstack.exceptions import BadRequestException

from openeni_lab.cloud import access
from openeni_lab.hypervisor import antispoof
from openeni_lab.hypervisor.records import Faults, Records
from openeni_lab.machine import steps
from openeni_lab.progress import LogProgress
from openeni_testing.lab.fake_node import FakeNode
from openeni_testing.lab.inside_network import network_of
from openeni_testing.lab.small_lab import SmallLab
from openeni_testing.network import frames
from openeni_testing.waiting import wait_for

pytestmark = [
    pytest.mark.root,
    pytest.mark.cloud,
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # the SDK, of itself
]


@pytest.fixture(scope="module")
def client(cloud: SmallLab) -> Iterator[Any]:
    """Return the operator's client, in the lab's network, with an application credential."""
    with pytest.MonkeyPatch.context() as patch, network_of(cloud.machine):
        for name, value in access.client_environment(cloud.layout).items():
            patch.setenv(name, value)
        with sdk.connect() as connection:
            yield connection


@pytest.fixture(scope="module")
def node(cloud: SmallLab) -> Iterator[FakeNode]:
    """Return the machine of the server n1."""
    server_id = access.servers(cloud.layout)["n1"]["id"]
    node = cloud.node("n1", server_id)
    node.power_on()
    yield node
    node.power_off()


@pytest.fixture
def misbehave(cloud: SmallLab) -> Iterator[Callable[[str, Faults], None]]:
    records = Records(cloud.layout.state)
    yield lambda machine, faults: records.put_faults({machine: faults})
    records.put_faults({})


@pytest.fixture
def eni(client: Any) -> Iterator[Callable[..., Any]]:
    """Create ports with ten addresses in each subnet, and delete those that are left."""
    made: list[Any] = []

    def make(*subnets: str) -> Any:
        network = client.network.find_network("pods", ignore_missing=False)
        found = [client.network.find_subnet(name) for name in subnets or ("pods",)]
        fixed_ips = [{"subnet_id": subnet.id} for subnet in found for _ in range(10)]
        made.append(client.network.create_port(network_id=network.id, fixed_ips=fixed_ips))
        return made[-1]

    yield make
    for port in made:
        current = client.network.find_port(port.id)
        if current and current.device_id:
            detach(client, current.device_id, port.id)
        client.network.delete_port(port.id, ignore_missing=True)


def attach(client: Any, server: str, port: str) -> Any:
    body = {"interfaceAttachment": {"port_id": port}}
    return client.compute.post(f"/servers/{server}/os-interface", json=body)


def detach(client: Any, server: str, port: str) -> None:
    answer = client.compute.delete(f"/servers/{server}/os-interface/{port}")
    assert answer.status_code == 202
    wait_for(lambda: not client.network.get_port(port).device_id, f"port {port} is detached")


def test_the_servers_have_their_places_and_addresses(cloud: SmallLab, client: Any) -> None:
    servers = access.servers(cloud.layout)
    assert {name: server["address"] for name, server in servers.items()} == {
        "n1": "10.99.0.11",
        "n2": "10.99.0.12",
        "remote": "10.98.3.250",
    }
    zones = {server.name: server.availability_zone for server in client.compute.servers()}
    assert zones == {"n1": "az1", "n2": "az2", "remote": "az1"}


def test_the_subnets_are_routed_and_have_no_dhcp(client: Any) -> None:
    found = {s.name: (s.cidr, s.gateway_ip, s.is_dhcp_enabled) for s in client.network.subnets()}
    assert found == {
        "nodes": ("10.99.0.0/24", "10.99.0.1", False),
        "pods": ("10.98.0.0/22", "10.98.0.1", False),
        "pods-v6": ("fd00:98::/64", "fd00:98::1", False),
    }


def test_ports_get_no_address_that_nobody_asked_for(client: Any) -> None:
    """In IPv6 Neutron adds one wherever a subnet has the mode `slaac`."""
    pods, modes = client.network.find_network("pods"), ("ipv6_address_mode", "ipv6_ra_mode")
    subnets = list(client.network.subnets(network_id=pods.id))
    assert [getattr(s, mode) for s in subnets for mode in modes] == [None] * 2 * len(subnets)


def test_dhcp_of_a_subnet_with_an_ipv6_mode_cannot_be_disabled(client: Any) -> None:
    """So an ENIPool's message must not advise it."""
    network = client.network.create_network(name="stateful")
    modes = dict.fromkeys(("ipv6_address_mode", "ipv6_ra_mode"), "dhcpv6-stateful")
    cidr = {"network_id": network.id, "ip_version": 6, "cidr": "fd00:97:7::/64"}
    try:
        with pytest.raises(BadRequestException, match="cannot be set when"):
            client.network.create_subnet(**cidr, **modes, enable_dhcp=False)
        subnet = client.network.create_subnet(**cidr, **modes)
        with pytest.raises(BadRequestException, match="Cannot disable enable_dhcp"):
            client.network.update_subnet(subnet.id, enable_dhcp=False)
        change = {"subnet": dict.fromkeys(modes)}
        answer = client.network.put(f"/subnets/{subnet.id}", json=change)
        assert (answer.status_code, "read-only attribute" in answer.text) == (400, True)
    finally:
        client.network.delete_network(network.id)


@pytest.mark.parametrize("address", ["10.98.3.250", "[fd00:98::250]"])
def test_the_remote_vm_answers_http_through_its_neutron_port(cloud: SmallLab, address: str) -> None:
    assert cloud.machine.check(["curl", "-s", "-m", "20", f"http://{address}/"]) == "remote"


def test_the_openstack_command_lists_ports_inside_the_lab(cloud: SmallLab) -> None:
    command = [f"{cloud.venv}/bin/openstack", "port", "list", "-f", "value"]
    env = access.client_environment(cloud.layout)
    listed = cloud.machine.check(command, env=env, timeout=300)
    assert "10.98.3.250" in listed


def test_a_ports_life_is_a_nics_life(
    cloud: SmallLab, client: Any, node: FakeNode, eni: Any
) -> None:
    port = eni("pods", "pods-v6")
    addresses = sorted((f["ip_address"] for f in port.fixed_ips), key=lambda a: ":" in a)
    assert [":" in address for address in dict.fromkeys(addresses)] == [False] * 10 + [True] * 10
    assert attach(client, node.server_id, port.id).json()["interfaceAttachment"]["port_state"] == (
        "ACTIVE"
    )
    current = client.network.get_port(port.id)
    assert (current.device_id, current.status) == (node.server_id, "ACTIVE")
    name = node.bring_up(port.mac_address, f"{addresses[0]}/22")
    for address in addresses[1:10]:
        node.check("ip", "address", "add", f"{address}/32", "dev", name)
    for address in addresses[10:]:
        node.check("ip", "address", "add", f"{address}/64", "dev", name, "nodad")
    for address in addresses:
        remote = "fd00:98::250" if ":" in address else "10.98.3.250"
        node.check("ping", "-c", "1", "-W", "10", "-I", address, remote)
    assert cloud.network.dropped()[port.id] == 0
    detach(client, node.server_id, port.id)
    assert node.nic(port.mac_address) is None
    client.network.delete_port(port.id)
    assert port.id not in cloud.network.dropped()


def test_a_spoofed_packet_is_dropped_and_counted_until_neutron_allows_it(
    cloud: SmallLab, client: Any, node: FakeNode, eni: Any
) -> None:
    port = eni()
    attach(client, node.server_id, port.id)
    name = node.bring_up(port.mac_address, f"{port.fixed_ips[0]['ip_address']}/22")
    spoofed = frames.arp(port.mac_address, port.mac_address, "10.98.3.240", "10.98.3.250")
    ends = (node.netns, name), ("/run/netns/remote", "ens3")
    assert not frames.exchange(cloud.machine, *ends, [spoofed])
    assert cloud.network.dropped()[port.id] >= 1
    wanted = [*port.fixed_ips, {"ip_address": "10.98.3.240"}]
    client.network.update_port(port.id, fixed_ips=wanted)
    assert frames.exchange(cloud.machine, *ends, [spoofed])


def test_an_allowed_address_pair_is_allowed(
    cloud: SmallLab, client: Any, node: FakeNode, eni: Any
) -> None:
    port = eni()
    attach(client, node.server_id, port.id)
    name = node.bring_up(port.mac_address, f"{port.fixed_ips[0]['ip_address']}/22")
    pair = {"ip_address": "10.98.3.208/28", "mac_address": "fa:16:3e:dd:dd:dd"}
    client.network.update_port(port.id, allowed_address_pairs=[pair])
    sent = frames.ipv4("fa:16:3e:dd:dd:dd", "10.98.3.210", "10.98.3.250")
    ends = (node.netns, name), ("/run/netns/remote", "ens3")
    assert frames.exchange(cloud.machine, *ends, [sent])


def test_a_hypervisor_that_takes_no_more_nics_fails_the_attach_and_frees_the_port(
    cloud: SmallLab, client: Any, node: FakeNode, eni: Any, misbehave: Any
) -> None:
    misbehave("n1", Faults(max_nics=1))
    port = eni()
    answer = attach(client, node.server_id, port.id)
    assert answer.status_code == 500
    assert "Failed to attach network adapter device" in answer.text
    wait_for(lambda: not client.network.get_port(port.id).device_id, "the port is free again")
    assert node.nic(port.mac_address) is None


def test_a_lost_hotplug_looks_well_from_the_api(
    client: Any, node: FakeNode, eni: Any, misbehave: Any
) -> None:
    misbehave("n1", Faults(lost_hotplug=True))
    port = eni()
    assert attach(client, node.server_id, port.id).status_code == 200
    assert client.network.get_port(port.id).status == "ACTIVE"
    assert node.nic(port.mac_address) is None


def test_killed_services_are_started_again_and_know_the_nics(
    cloud: SmallLab, client: Any, node: FakeNode, eni: Any
) -> None:
    port = eni()
    attach(client, node.server_id, port.id)
    for name in ("nova", "neutron"):
        cloud.machine.stop(name)
    todo = cloud.steps()
    assert not all(step.done() for step in todo)
    steps.run(todo, LogProgress())
    assert all(step.done() for step in todo)
    assert node.nic(port.mac_address)
    detach(client, node.server_id, port.id)
    assert node.nic(port.mac_address) is None


def test_a_deleted_server_gives_its_nics_back(cloud: SmallLab, client: Any, eni: Any) -> None:
    image = client.compute.get_server(access.servers(cloud.layout)["n1"]["id"]).image.id
    flavor = client.compute.find_flavor("node", ignore_missing=False)
    port = eni()
    server = client.compute.create_server(
        name="short-lived", image_id=image, flavor_id=flavor.id, networks=[{"port": port.id}]
    )
    client.compute.wait_for_server(server, wait=300, interval=0.5)
    short_lived = cloud.node("short-lived", server.id)
    short_lived.power_on()
    assert short_lived.nic(port.mac_address)
    client.compute.delete_server(server.id)
    wait_for(lambda: not client.network.get_port(port.id).device_id, "the port is free again")
    assert short_lived.nic(port.mac_address) is None
    short_lived.power_off()


def test_no_password_is_in_a_log_or_on_a_command_line(cloud: SmallLab) -> None:
    secrets = (cloud.layout.state / "openstack/secrets.json").read_text()
    password = secrets.split('"')[3]
    assert len(password) == 32
    logged = [path for path in cloud.layout.logs.iterdir() if password in path.read_text()]
    assert not logged
    assert password not in cloud.machine.check(["sh", "-c", "cat /proc/[0-9]*/cmdline"])


def test_good_ports_have_dropped_nothing(cloud: SmallLab) -> None:
    ports = {server["port"] for server in access.servers(cloud.layout).values()}
    dropped = cloud.network.dropped()
    assert {port: dropped[port] for port in ports} == dict.fromkeys(ports, 0)
    assert dropped[antispoof.DROP_UNKNOWN] == 0
