"""NICs of a VM are plugged and unplugged through its kernel's console, in use or not."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openeni_lab.hypervisor.records import DEFAULT_MTU, Faults, Nic, Records
from openeni_lab.machine.client import Machine
from openeni_lab.node.machines import NodeHost, VMMachine
from openeni_lab.programs import prepared
from openeni_testing.lab.fake_node import HypervisorCommand
from openeni_testing.lab.small_lab import SmallLab
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root

SERVER = "11111111-3333-4000-8000-000000000001"
FIRST = ("aaaaaaaa-3333-4000-8000-000000000001", "fa:16:3e:33:00:01")
PORT, MAC, ADDRESS = "bbbbbbbb-3333-4000-8000-000000000002", "fa:16:3e:33:00:02", "10.98.2.201"


@pytest.fixture(scope="module")
def hypervisor(wires: SmallLab) -> HypervisorCommand:
    return HypervisorCommand(wires.layout, wires.machine)


@pytest.fixture(scope="module")
def guest(wires: SmallLab, hypervisor: HypervisorCommand) -> Iterator[Machine]:
    """Boot a guest for the server n1, with its first NIC on the nodes network."""
    built = prepared.read(["kernel"]).built
    node = wires.layout.nodes[0]
    server = {"id": SERVER, "port": FIRST[0], "mac": FIRST[1], "address": node.address}
    (wires.layout.state / "servers.json").write_text(json.dumps({node.name: server}))
    hypervisor("allow", *FIRST, "nodes", node.address)
    hypervisor("plug", SERVER, *FIRST, "nodes")
    host = NodeHost(wires.layout, wires.machine, node)
    machine = VMMachine(host, built.kernel, built.kernel_preload, memory_mib=256)
    machine.start()
    wait_for(machine.client.alive, "the guest's init answers", 300)
    yield machine.client
    wires.machine.stop(node.name)
    host.power_off()
    hypervisor("unplug", FIRST[0])
    hypervisor("forget", FIRST[0])


@pytest.fixture
def plugged(hypervisor: HypervisorCommand, guest: Machine) -> Iterator[Callable[[], None]]:
    """Return a function that plugs the port, which is unplugged after the test."""

    def plug() -> None:
        hypervisor("allow", PORT, MAC, "pods", ADDRESS)
        hypervisor("plug", SERVER, PORT, MAC, "pods")

    yield plug
    hypervisor("unplug", PORT)
    hypervisor("forget", PORT)


def nic(guest: Machine, mac: str) -> dict[str, Any] | None:
    links: list[dict[str, Any]] = json.loads(guest.check(["ip", "-json", "address"]))
    return next((link for link in links if link.get("address") == mac), None)


def test_a_guest_boots_with_the_nic_of_its_server(guest: Machine) -> None:
    first = nic(guest, FIRST[1])
    assert first
    assert first["ifname"] == "vec0"
    guest.check(["ping", "-c", "1", "-W", "10", "10.99.0.1"])


def test_a_nic_is_hot_plugged_carries_packets_and_is_unplugged_in_use(
    wires: SmallLab, guest: Machine, hypervisor: HypervisorCommand, plugged: Callable[[], None]
) -> None:
    plugged()
    found = nic(guest, MAC)
    assert found
    assert (found["ifname"], found["mtu"], found["operstate"]) == ("vec1", 1450, "DOWN")
    guest.check(["ip", "address", "add", f"{ADDRESS}/22", "dev", "vec1"])
    guest.check(["ip", "link", "set", "vec1", "up"])
    guest.check(["ip", "link", "add", "slave", "link", "vec1", "type", "ipvlan", "mode", "l2"])
    guest.check(["ping", "-c", "1", "-W", "10", "-I", ADDRESS, "10.98.0.1"])
    assert wires.network.dropped()[PORT] == 0
    hypervisor("unplug", PORT)
    assert nic(guest, MAC) is None
    devices = wires.machine.check(["ip", "-brief", "link"])
    assert f"tap{PORT[:11]}" not in devices


def test_a_plug_killed_before_it_asked_the_guest_is_completed_by_the_next(
    wires: SmallLab, guest: Machine, plugged: Callable[[], None]
) -> None:
    begun = Nic(PORT, SERVER, MAC, "pods", DEFAULT_MTU, 1)
    Records(wires.layout.state).put_nic(begun)
    wires.machine.check(["ip", "tuntap", "add", begun.device, "mode", "tap"])
    plugged()
    found = nic(guest, MAC)
    assert found
    assert found["ifname"] == "vec1"
    guest.check(["ip", "address", "add", f"{ADDRESS}/22", "dev", "vec1"])
    guest.check(["ip", "link", "set", "vec1", "up"])
    plugged()  # once more, for one that is in use
    guest.check(["ping", "-c", "1", "-W", "10", "-I", ADDRESS, "10.98.0.1"])


def test_a_lost_hotplug_never_appears_and_can_be_undone(
    wires: SmallLab, guest: Machine, hypervisor: HypervisorCommand, plugged: Callable[[], None]
) -> None:
    records = Records(wires.layout.state)
    records.put_faults({"n1": Faults(lost_hotplug=True)})
    plugged()
    records.put_faults({})
    assert nic(guest, MAC) is None
    hypervisor("unplug", PORT)
    plugged()
    assert nic(guest, MAC)


def test_the_guest_names_the_nic_and_its_dhcp_client_puts_an_address_on_it(
    wires: SmallLab, guest: Machine, plugged: Callable[[], None]
) -> None:
    records = Records(wires.layout.state)
    records.put_faults({"n1": Faults(address="10.98.3.78/22", nic_name="eth5")})
    plugged()
    records.put_faults({})
    found = nic(guest, MAC)
    assert found
    assert found["ifname"] == "eth5"
    assert "10.98.3.78" in {info["local"] for info in found["addr_info"]}
