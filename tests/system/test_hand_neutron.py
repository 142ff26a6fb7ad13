"""The hand test that openeni began with: (a) two addresses of a port, for web servers over ipvlan.

Real Neutron, real Nova, a real hot-plug into a real kernel with ipvlan; nothing of openeni.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from openeni_lab.cloud.access import client_environment
from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.hypervisor.records import Faults, Records
from openeni_lab.lab import Lab, NodeKind
from openeni_lab.layout import PODS_GATEWAY, REMOTE_VM, Layout
from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.programs import prepared
from openeni_lab.progress import LogProgress
from openeni_testing.lab.shared_lab import own_name, remove_abandoned
from openeni_testing.network import hand_steps
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

PREFIX = "hand"


@pytest.fixture
def bare(no_other_lab: None) -> Iterator[Lab]:
    """Create a lab with one node that has ipvlan, without openeni."""
    ipvlan = prepared.read(()).machine.ipvlan
    lab = Lab(Layout(own_name(PREFIX), 1), NodeKind.AUTO.decided(ipvlan=ipvlan))
    remove_abandoned(PREFIX)
    try:
        lab.up(LogProgress())
        yield lab
    finally:
        lab.down()


def openstack(lab: Lab, *words: str) -> Any:
    program = str(lab.built.openstack_venv / "bin" / "openstack")
    text = lab.machine.check([program, *words], env=client_environment(lab.layout), timeout=120)
    return json.loads(text) if "json" in words else text


def create_port_with_two_addresses(lab: Lab) -> tuple[str, str, list[str]]:
    """Create a port; return its id, MAC and fixed IPs."""
    words = hand_steps.port_with_two_addresses("eth5")
    port = openstack(lab, *words, "-f", "json")
    return port["id"], port["mac_address"], [f["ip_address"] for f in port["fixed_ips"]]


def serve(lab: Lab, machine: Machine, pod: hand_steps.HandPod, address: str) -> None:
    """Run a web server in the pod, on the pod's address only."""
    logs = lab.layout.node_folder("n1") / "logs"
    server = hand_steps.web_server(lab.built.busybox, logs / f"www-{address}", address)
    argv = ["ip", "netns", "exec", pod.netns, *server]
    machine.start(f"web-{address}", argv, log=logs / f"web-{address}.log")


def test_a_two_addresses_of_a_hot_plugged_port_answer_curl_from_off_the_node(bare: Lab) -> None:
    machine = bare.node("n1").machine
    port, mac, addresses = create_port_with_two_addresses(bare)
    # The image's DHCP client will have put an address on the NIC.
    faults = Records(bare.layout.state)
    faults.put_faults({"n1": Faults(address=f"{addresses[0]}/22")})
    openstack(bare, "server", "add", "port", "n1", port)
    device = hand_steps.find_nic(node := _runner(machine), mac)
    assert addresses[0] in node("ip", "addr", "show", device)
    hand_steps.flush(node, device)
    assert addresses[0] not in node("ip", "addr", "show", device)
    for number, address in enumerate(addresses):
        pod = hand_steps.pod_without_ipv6(node, f"pod{number}")
        hand_steps.give_slave(node, device, pod, f"{address}/22", "l2")
        hand_steps.route(pod, f"default via {PODS_GATEWAY}")
        serve(bare, machine, pod, address)
    gateway = _runner(bare.machine)
    remote = _runner(bare.machine, "ip", "netns", "exec", REMOTE_VM)
    for address in addresses:
        for run in (gateway, remote):
            assert "200 OK" in _headers(run, address)
            assert hand_steps.curl(run, address) == address
    assert LabNetwork(bare.layout, bare.machine).dropped().get(port, 0) == 0
    openstack(bare, "server", "remove", "port", "n1", port)
    wait_for(lambda: mac not in node("ip", "link"), "the NIC is unplugged", 60)
    openstack(bare, "port", "delete", port)


def _headers(run: hand_steps.Run, address: str) -> str:
    """Return the output of `curl -I` once the server is up."""

    def answer() -> str:
        try:
            return hand_steps.curl(run, address, "-I")
        except MachineError as error:
            raise AssertionError(str(error)) from None

    return wait_for(answer, f"a server on {address}", 60)


def _runner(machine: Machine, *before: str) -> hand_steps.Run:
    return lambda *argv: machine.check([*before, *argv])
