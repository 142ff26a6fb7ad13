"""The lab drops what a cloud would drop, and counts it, with one counter per port."""

import sys

import pytest

from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab import installed_lab as lab
from openeni_testing.network import frames

pytestmark = [pytest.mark.lab, pytest.mark.root]

STOLEN = "10.98.0.1"  # the gateway's

SEND = """
import socket, sys
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind((sys.argv[1], 0))
for frame in sys.argv[2:]:
    raw.send(bytes.fromhex(frame))
"""


def test_a_spoofed_source_and_a_spoofed_arp_sender_are_stopped_and_counted(
    deployed: InstalledLab,
) -> None:
    podip = lab.podips_on(deployed, lab.enis_of(deployed, lab.VETH))[0]
    eni = deployed.api.request("GET", f"{lab.ENIS}/{podip['spec']['eniName']}")
    port, node = eni["status"]["port"], eni["spec"]["nodeName"]
    mac = port["macAddress"]
    bad = [
        frames.ipv4(mac, STOLEN, "10.98.3.250", frames.udp(9, 9)),
        frames.arp(mac, mac, STOLEN, "10.98.3.250"),
    ]
    good = frames.ipv4(mac, podip["spec"]["address"], "10.98.3.250", frames.udp(9, 9))
    before = deployed.dropped()
    device = eni["status"]["node"]["device"]
    words = [sys.executable, "-S", "-c", SEND, device, *(f.hex() for f in (*bad, good))]
    deployed.nodes[node].check(words)
    assert deployed.dropped_since(before) == {port["id"]: len(bad)}
