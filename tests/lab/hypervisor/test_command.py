"""NICs are plugged into machines and unplugged, with and without injected faults."""

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openeni_lab.hypervisor.records import Faults, MachineRecord, Records
from openeni_lab.machine import sysctl
from openeni_testing.lab.fake_node import FakeNode
from openeni_testing.lab.small_lab import SmallLab

_numbers = itertools.count(1)


def new_port() -> tuple[str, str, str]:
    """Return an unused port id, MAC and address on the pods network."""
    number = next(_numbers)
    port = f"{number:08x}-2222-4000-8000-{number:012x}"
    return port, f"fa:16:3e:ee:00:{number:02x}", f"10.98.2.{number}"


@pytest.fixture
def node(wires: SmallLab) -> Iterator[FakeNode]:
    """Start a machine without NICs."""
    node = wires.node(f"machine{next(_numbers)}")
    node.power_on()
    yield node
    records = Records(wires.layout.state)
    for nic in records.nics(node.server_id):
        node.hypervisor("unplug", nic.port_id)
        node.hypervisor("forget", nic.port_id)
    node.power_off()
    node.machine.check(["ip", "netns", "delete", node.name])


@pytest.fixture
def misbehave(wires: SmallLab) -> Iterator[Callable[[str, Faults], None]]:
    """Inject faults into one machine until the test ends."""
    records = Records(wires.layout.state)
    yield lambda machine, faults: records.put_faults({machine: faults})
    records.put_faults({})


def devices(node: FakeNode) -> set[str]:
    return {link["ifname"] for link in json.loads(node.machine.check(["ip", "-json", "link"]))}


@pytest.mark.root
def test_a_plugged_nic_appears_down_with_its_mac_and_mtu_and_without_address(
    node: FakeNode,
) -> None:
    port, mac, address = new_port()
    node.plug(port, mac, address)
    nic = node.nic(mac)
    assert nic
    assert (nic["ifname"], nic["mtu"], nic["operstate"]) == ("ens3", 1450, "DOWN")
    assert nic["addr_info"] == []


@pytest.mark.root
def test_plugging_twice_is_plugging_once(node: FakeNode) -> None:
    port, mac, address = new_port()
    node.plug(port, mac, address)
    node.bring_up(mac, f"{address}/22")
    node.plug(port, mac, address)
    nic = node.nic(mac)
    assert nic
    assert nic["addr_info"]


class Commands:
    """Replace the hypervisor's programs; one of them kills the hypervisor."""

    def __init__(self, folder: Path) -> None:
        self._count = folder / "count"
        self._at = folder / "at"
        for name in ("ip", "bridge", "nsenter"):
            script = folder / name
            script.write_text(f"""#!/bin/sh
                count=$(($(cat {self._count}) + 1))
                echo $count > {self._count}
                [ $count != $(cat {self._at}) ] || {{ kill -KILL $PPID; exit 1; }}
                exec {shutil.which(name)} "$@"
            """)
            script.chmod(0o700)
        self.environment = {"PATH": f"{folder}:{os.environ['PATH']}"}

    def kill_at(self, number: int) -> None:
        self._count.write_text("0")
        self._at.write_text(str(number))


@pytest.mark.root
def test_a_plug_killed_before_any_of_its_commands_is_completed_by_the_next(
    node: FakeNode, misbehave: Callable[[str, Faults], None], tmp_path: Path
) -> None:
    misbehave(node.name, Faults(address="10.98.3.79/22", nic_name="eth5"))
    commands = Commands(tmp_path)
    for number in itertools.count(1):
        port, mac, address = new_port()
        commands.kill_at(number)
        words = ("plug", node.server_id, port, mac, "pods")
        code = node.hypervisor.run(*words, env=commands.environment).code
        assert code in {0, -9}
        node.plug(port, mac, address)
        nic = node.nic(mac)
        assert nic
        assert (nic["ifname"], nic["operstate"]) == ("eth5", "UP")
        assert "10.98.3.79" in {info["local"] for info in nic["addr_info"]}
        bridge = node.machine.check(["ip", "link", "show", "master", "br-pods"])
        assert f"tap{port[:11]}" in bridge
        node.hypervisor("unplug", port)
        node.hypervisor("forget", port)
        if not code:
            assert number > 4
            break


@pytest.mark.root
def test_a_power_off_killed_before_any_of_its_commands_is_completed_by_the_next(
    node: FakeNode, tmp_path: Path
) -> None:
    commands = Commands(tmp_path)
    ports = [new_port() for _ in range(2)]
    for port in ports:
        node.plug(*port)
    for number in itertools.count(1):
        node.power_on()
        commands.kill_at(number)
        code = node.hypervisor.run("power-off", node.name, env=commands.environment).code
        assert code in {0, -9}
        node.power_off()
        assert not {f"tap{port[:11]}" for port, _, _ in ports} & devices(node)
        if not code:
            assert number > len(ports)
            break


@pytest.mark.root
def test_a_machine_that_started_again_unseen_gets_its_nics(node: FakeNode) -> None:
    """The namespace ended without a power-off, and the kernel removes its veths a little later."""
    port, mac, address = new_port()
    node.plug(port, mac, address)
    node.machine.check(["ip", "netns", "add", "next"])
    record = MachineRecord(node.name, node.server_id, "namespace", netns="/run/netns/next")
    node.hypervisor("power-on", stdin=record.encoded)
    assert mac in node.machine.check(["ip", "-n", "next", "link"])
    node.machine.check(["ip", "netns", "delete", "next"])


@pytest.mark.root
def test_an_unplugged_nic_is_gone_on_both_sides_while_in_use(node: FakeNode) -> None:
    port, mac, address = new_port()
    node.plug(port, mac, address)
    node.bring_up(mac, f"{address}/22")
    node.check("ping", "-c", "1", "-W", "5", "10.98.0.1")
    node.hypervisor("unplug", port)
    assert node.nic(mac) is None
    assert f"tap{port[:11]}" not in devices(node)
    node.hypervisor("unplug", port)


@pytest.mark.root
def test_a_free_place_is_used_again(node: FakeNode) -> None:
    ports = [new_port() for _ in range(3)]
    for port, mac, address in ports:
        node.plug(port, mac, address)
    node.hypervisor("unplug", ports[1][0])
    port, mac, address = new_port()
    node.plug(port, mac, address)
    nic = node.nic(mac)
    assert nic
    assert nic["ifname"] == "ens4"


@pytest.mark.root
def test_a_nic_plugged_while_the_machine_is_off_is_there_at_its_start(node: FakeNode) -> None:
    node.power_off()
    port, mac, address = new_port()
    node.plug(port, mac, address)
    assert node.nic(mac) is None
    (told,) = node.power_on()
    assert (told["port_id"], told["number"]) == (port, 0)
    assert node.nic(mac)


@pytest.mark.root
def test_a_machine_that_starts_again_finds_its_nics(node: FakeNode) -> None:
    port, mac, address = new_port()
    node.plug(port, mac, address)
    node.power_off()
    assert node.nic(mac) is None
    node.power_on()
    assert node.nic(mac)


@pytest.mark.root
def test_a_port_of_another_server_is_refused_in_one_line(node: FakeNode) -> None:
    port, mac, address = new_port()
    node.plug(port, mac, address)
    refused = node.hypervisor.run("plug", "another-server", port, mac, "pods")
    assert refused.code == 1
    assert f"port {port} is plugged into server {node.server_id}" in refused.complaint


@pytest.mark.root
def test_a_network_without_bridge_is_named_and_nothing_is_left(node: FakeNode) -> None:
    port, mac, _ = new_port()
    refused = node.hypervisor.run("plug", node.server_id, port, mac, "storage")
    assert refused.code == 1
    assert "no bridge br-storage" in refused.complaint
    assert node.nic(mac) is None
    assert not Records(node.hypervisor.layout.state).nics(node.server_id)


@pytest.mark.root
def test_a_lost_hotplug_is_answered_and_never_appears(
    node: FakeNode, misbehave: Callable[[str, Faults], None]
) -> None:
    misbehave(node.name, Faults(lost_hotplug=True))
    port, mac, address = new_port()
    node.plug(port, mac, address)
    assert node.nic(mac) is None
    node.hypervisor("unplug", port)


@pytest.mark.root
def test_a_machine_takes_no_more_nics_than_it_can(
    node: FakeNode, misbehave: Callable[[str, Faults], None]
) -> None:
    misbehave(node.name, Faults(max_nics=1))
    node.plug(*new_port())
    port, mac, _ = new_port()
    refused = node.hypervisor.run("plug", node.server_id, port, mac, "pods")
    assert refused.code == 1
    assert "has 1 NICs and can take no more" in refused.complaint


@pytest.mark.root
def test_the_guests_dhcp_client_puts_an_address_on_the_nic_under_another_name(
    node: FakeNode, misbehave: Callable[[str, Faults], None]
) -> None:
    misbehave(node.name, Faults(address="10.98.3.77/22", nic_name="eth5"))
    port, mac, address = new_port()
    node.plug(port, mac, address)
    nic = node.nic(mac)
    assert nic
    assert (nic["ifname"], nic["operstate"]) == ("eth5", "UP")
    assert "10.98.3.77" in {info["local"] for info in nic["addr_info"]}


@pytest.mark.root
def test_a_slow_hotplug_takes_its_time(
    node: FakeNode, misbehave: Callable[[str, Faults], None]
) -> None:
    misbehave("*", Faults(attach_seconds=1.5))
    port, mac, address = new_port()
    begun = time.monotonic()
    node.plug(port, mac, address)
    assert time.monotonic() - begun >= 1.5
    assert node.nic(mac)


@pytest.mark.root
def test_the_arp_responder_answers_for_hosts_that_do_not(node: FakeNode, wires: SmallLab) -> None:
    silent = wires.node(f"silent{next(_numbers)}")
    silent.power_on()
    port, mac, address = new_port()
    silent.plug(port, mac, address)
    silent.bring_up(mac, f"{address}/22")
    silent.check(*sysctl.set_command("net.ipv4.conf.all.arp_ignore=8"))
    asking, asking_mac, asking_address = new_port()
    node.plug(asking, asking_mac, asking_address)
    name = node.bring_up(asking_mac, f"{asking_address}/22")
    question = ["arping", "-c", "1", "-w", "1", "-I", name, address]
    assert node.run(*question).code
    node.hypervisor("arp-responder", "on")
    assert mac in node.check(*question)
    late, late_mac, late_address = new_port()
    silent.plug(late, late_mac, late_address)
    assert late_mac in node.check(*question[:-1], late_address)
    node.hypervisor("arp-responder", "off")
    assert node.run(*question).code
    for used in (port, late):
        silent.hypervisor("unplug", used)
        silent.hypervisor("forget", used)
    silent.power_off()
