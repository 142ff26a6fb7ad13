"""The lab's network: bridges, the gateway between them, the host beyond it."""

import json

import pytest

from openeni_lab.machine import steps
from openeni_lab.progress import LogProgress
from openeni_testing.lab.small_lab import SmallLab


@pytest.mark.root
def test_a_bridge_that_went_is_made_again_and_the_other_left_alone(wires: SmallLab) -> None:
    def links() -> dict[str, dict[str, object]]:
        listed = json.loads(wires.machine.check(["ip", "-json", "link", "show", "type", "bridge"]))
        return {link["ifname"]: link for link in listed}

    before = links()
    wires.machine.check(["ip", "link", "delete", "br-pods"])
    steps.run(wires.network.steps(), LogProgress())
    after = links()
    assert after["br-nodes"]["ifindex"] == before["br-nodes"]["ifindex"]
    assert after["br-pods"]["address"] == before["br-pods"]["address"]
    assert after["br-pods"]["mtu"] == before["br-pods"]["mtu"]


@pytest.mark.root
def test_the_gateway_keeps_its_mac_whatever_is_plugged(wires: SmallLab) -> None:
    node = wires.node("low-mac")
    node.power_on()
    port, mac = "99999999-1111-4000-8000-000000000009", "fa:16:3e:99:00:09"
    node.plug(port, mac, "10.98.0.19")
    before = wires.machine.check(["ip", "-brief", "link", "show", "br-pods"])
    wires.machine.check(["ip", "link", "set", f"tap{port[:11]}", "address", "02:00:00:00:00:01"])
    after = wires.machine.check(["ip", "-brief", "link", "show", "br-pods"])
    assert before.split()[2] == after.split()[2] == "02:00:00:98:00:01"
    node.hypervisor("unplug", port)
    node.hypervisor("forget", port)
    node.power_off()


@pytest.mark.root
def test_a_second_up_finds_everything_there(wires: SmallLab) -> None:
    assert all(step.done() for step in wires.network.steps())
    before = addresses(wires)
    steps.run(wires.network.steps(), LogProgress())
    assert addresses(wires) == before


def addresses(wires: SmallLab) -> str:
    """Return links and addresses; the kernel may still be looking for duplicates of new ones."""
    return wires.machine.check(["ip", "address"]).replace(" tentative", "")


@pytest.mark.root
def test_what_is_missing_is_made_again(wires: SmallLab) -> None:
    wires.machine.check(["nft", "delete", "table", "bridge", "openeni-lab"])
    assert not all(step.done() for step in wires.network.steps())
    steps.run(wires.network.steps(), LogProgress())
    assert wires.network.dropped() == {"drop-unknown": 0}


@pytest.mark.root
def test_rules_of_known_ports_come_back_with_the_table(wires: SmallLab) -> None:
    port, mac = "eeeeeeee-1111-4000-8000-000000000003", "fa:16:3e:ee:00:03"
    wires.network.hypervisor("allow", port, mac, "pods", "10.98.0.13")
    wires.machine.check(["nft", "delete", "table", "bridge", "openeni-lab"])
    steps.run(wires.network.steps(), LogProgress())
    assert port in wires.network.dropped()
    wires.network.hypervisor("forget", port)
    assert port not in wires.network.dropped()


@pytest.mark.root
@pytest.mark.parametrize("address", ["10.97.0.2", "[fd00:97::2]"])
def test_the_outside_host_answers_http(wires: SmallLab, address: str) -> None:
    assert wires.machine.check(["curl", "-s", "-m", "20", f"http://{address}/"]) == "outside"


@pytest.mark.root
def test_pods_and_the_outside_reach_each_other_in_ipv6(wires: SmallLab) -> None:
    pod, address = wires.node("with-ipv6"), "fd00:98::12"
    port, mac = "abababab-1111-4000-8000-000000000002", "fa:16:3e:ab:00:02"
    pod.power_on()
    pod.plug(port, mac, address)
    name = pod.bring_up(mac, f"{address}/64")
    pod.check("ip", "route", "add", "default", "via", "fd00:98::1", "dev", name)
    assert pod.check("curl", "-s", "-m", "20", "http://[fd00:97::2]/") == "outside"
    wires.machine.check(["ip", "netns", "exec", "outside", "ping", "-c", "1", "-W", "5", address])
    assert wires.network.dropped()[port] == 0
    pod.hypervisor("unplug", port)
    pod.hypervisor("forget", port)
    pod.power_off()


@pytest.mark.root
def test_nodes_pods_and_the_outside_reach_each_other_through_the_gateway(wires: SmallLab) -> None:
    node, pod = wires.node("on-nodes"), wires.node("on-pods")
    hosts = (
        (node, "nodes", "cccccccc-1111-4000-8000-000000000001", "fa:16:3e:cc:00:01", "10.99.0.11"),
        (pod, "pods", "dddddddd-1111-4000-8000-000000000002", "fa:16:3e:dd:00:02", "10.98.0.12"),
    )
    for host, on, port, mac, address in hosts:
        host.power_on()
        host.plug(port, mac, address, network=on)
        name = host.bring_up(mac, f"{address}/22" if on == "pods" else f"{address}/24")
        gateway = "10.98.0.1" if on == "pods" else "10.99.0.1"
        host.check("ip", "route", "add", "default", "via", gateway, "dev", name)
    for target in ("10.98.0.12", "10.97.0.2"):
        node.check("ping", "-c", "1", "-W", "5", target)
    pod.check("ping", "-c", "1", "-W", "5", "10.97.0.2")
    assert pod.check("curl", "-s", "-m", "20", "http://10.97.0.2/") == "outside"
    assert set(wires.network.dropped().values()) == {0}
