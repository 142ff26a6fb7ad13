"""An agent that is stopped, killed, upgraded and configured anew under load loses no packet."""

import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import vm
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE
from openeni_testing.soak.node import NODE, SufferingNode, suffering_node
from openeni_testing.soak.traffic import Flow, Traffic
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.exhaustive]
PORT, NODE_PORT = 7001, 30053
SEED: Final = int(os.environ.get("OPENENI_SEED") or random.SystemRandom().randrange(10**6))
INTERRUPTED: Final = 10  # upgrades
LONGEST_START: Final = 0.5  # seconds, until an agent has looked
OTHER_MARKS: Final = {"OPENENI_MARK_MASK": "0x03e00000"}
OTHER_SERVICES: Final = {"OPENENI_SERVICE_CIDRS": "10.96.0.0/12,10.112.0.0/16,fd96::/112"}
PROXY: Final = """
table inet kubeproxy {{
  chain pre {{
    type nat hook prerouting priority dstnat;
    fib daddr type local udp dport {port} dnat ip to {address}:{server_port};
  }}
}}
"""


def flows(node: SufferingNode, remote: Namespace) -> list[Flow]:
    """Return flows on the paths that rules, routes, marks or filters of openeni decide on."""
    one, two = node.kubelet.running()
    pod, other = one.space, two.space
    assert isinstance(pod, Namespace)
    assert isinstance(other, Namespace)
    (v4, v6), outside = one.addresses, node.network.outside
    if node.datapath.ipvlan_mode is IPVlanMode.L3:  # the network's answer; its bridge knows ARP
        remote.ip(f"neigh replace {v6} lladdr {node.port.mac} dev eth0 nud permanent")
    node.space.nft(PROXY.format(port=NODE_PORT, address=v4, server_port=PORT + 6))
    return [
        Flow("remote -> pod", remote, pod, v4, PORT, PORT),
        Flow("remote -> pod, IPv6", remote, pod, v6, PORT + 1, PORT + 1),
        Flow("pod -> remote", pod, remote, REMOTE.addresses[0], PORT + 2, PORT + 2),
        Flow("pod -> remote, IPv6", pod, remote, REMOTE.addresses[1], PORT + 3, PORT + 3),
        Flow("pod -> pod", other, pod, v4, PORT + 4, PORT + 4),
        Flow("node -> pod", node.space, pod, v4, PORT + 5, PORT + 5),
        Flow("outside -> NodePort", outside, pod, NODE[0], NODE_PORT, PORT + 6),
    ]


def pods_come_and_go(node: SufferingNode) -> None:
    """Have the agent work while the flows run."""
    pod = node.kubelet.add_pod()
    wait_for(node.kubelet.is_idle, "the new pod has an address")
    node.kubelet.delete_pod(pod)
    wait_for(node.kubelet.is_idle, "the new pod has left")


def agrees(node: SufferingNode, word: str) -> bool:
    """Return True if the node is as planned, with this in a rule or in its set-up."""
    assert node.unsettled() == []
    assert word in node.space.program("ip", "rule")
    return True


def killed_while_it_upgrades(node: SufferingNode, dice: random.Random) -> None:
    """Kill agents that change marks at random instants: half of the node has others then."""
    print(f"OPENENI_SEED={SEED}")  # noqa: T201 shown if the test fails
    for number in range(INTERRUPTED):
        node.end_agent(signal.SIGKILL)
        node.start_agent({} if number % 2 else OTHER_MARKS)
        time.sleep(dice.uniform(0, LONGEST_START))
    node.end_agent(signal.SIGKILL)
    node.start_agent()
    wait_for(partial(agrees, node, "0x1f0000"), "the node is as the last agent plans it")


@pytest.mark.parametrize("datapath", MODES)
def test_an_agent_that_is_stopped_killed_or_upgraded_under_load_loses_no_packet(
    tmp_path: Path, executable: Path, datapath: Datapath
) -> None:
    with suffering_node(tmp_path, executable, datapath) as node:
        remote = vm(node.network, "remote", REMOTE)
        for _ in range(2):
            node.kubelet.add_pod()
        node.settle()
        with Traffic(flows(node, remote)) as traffic:
            for end, settings, mark in (
                (signal.SIGTERM, {}, "0x1f0000"),
                (signal.SIGKILL, {}, "0x1f0000"),
                (signal.SIGTERM, OTHER_SERVICES, "0x1f0000"),
                (signal.SIGTERM, OTHER_MARKS, "0x3e00000"),
                (signal.SIGKILL, {}, "0x1f0000"),
            ):
                node.end_agent(end)
                traffic.more()
                node.start_agent(settings)
                pods_come_and_go(node)
                wait_for(partial(agrees, node, mark), "the node is as the new agent plans it")
                traffic.more()
                print(end, settings, traffic.losses())  # noqa: T201 shown if the test fails
            killed_while_it_upgrades(node, random.Random(SEED))  # noqa: S311 no secret
        assert traffic.losses() == []
        remote.close()
