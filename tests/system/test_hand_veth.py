"""The hand test (d), typed as an administrator would: a veth pair, 169.254.1.1, ee:ee:ee:ee:ee:ee.

It says what the kernel does by itself, without any of openeni.
"""

from collections.abc import Generator
from contextlib import ExitStack

import pytest

from openeni_testing.network import hand_steps
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import GATEWAY, SUBNET, NeutronNetwork, Port, vm

pytestmark = pytest.mark.root
MAC = "fa:16:3e:98:00:0a"
POD = "10.98.0.11"
ENI = Port("eni", MAC, ("10.98.0.10", POD))
REMOTE = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::200"))
SERVICE = "10.96.0.10"


@pytest.fixture
def cleanup() -> Generator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_d_a_pod_behind_a_veth_pair_reaches_a_service_address(cleanup: ExitStack) -> None:
    network = NeutronNetwork()
    cleanup.callback(network.close)
    remote = cleanup.enter_context(vm(network, "remote", REMOTE))
    node = cleanup.enter_context(Namespace("node"))
    pod = cleanup.enter_context(Namespace("pod"))
    for machine in (node, pod):
        machine.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    network.plug(node, "eth5", ENI)

    eni = hand_steps.find_nic(node.program, MAC)
    hand_steps.flush(node.program, eni)
    hand_steps.connect_by_veth(
        node.program,
        eni,
        hand_steps.HandPod(str(pod.thread_id), pod.program),
        eni="10.98.0.10",
        subnet=SUBNET,
        gateway=GATEWAY,
        address=POD,
    )
    node.nft(
        "table ip hand { chain services { type nat hook prerouting priority dstnat; "
        f"ip daddr {SERVICE} tcp dport 80 dnat to {REMOTE.addresses[0]}:80; }}; }}"
    )

    assert pod.ask(SERVICE, 80) == ("remote", POD)
    assert pod.ping(REMOTE.addresses[0])
    assert remote.ping(POD)
    assert node.ping(POD)
    assert network.dropped() == {}
