"""A pod with CAP_NET_ADMIN reaches for its node's links.

Both ends of a veth pair, a slave and its parent, name each other's namespace by a number
(`link-netnsid`), and who has CAP_NET_ADMIN in the user namespace that owns a network namespace may
use its number. Without users of its own (`hostUsers: false`) a pod has it in the node's. No network
plugin can prevent that: docs/security.md says so.
"""

import json
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from errno import EACCES, EPERM
from pathlib import Path

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts, pod_interface

pytestmark = pytest.mark.root
CAPABILITIES = "-all,+net_admin,+net_raw"
NODES_USERS = ("unshare", "--net", "setpriv", "--bounding-set", CAPABILITIES, "--no-new-privs")
OWN_USERS = ("unshare", "--user", "--map-root-user", "--net")
PODS = ("10.98.0.11", "10.98.0.12")
SLAVES = ("10.98.0.21", "10.98.0.22")
REACH = Path(__file__).with_name("reach_for_links.py")
SECONDS = 30  # until a program has ended; what is slow is the machine


@pytest.fixture
def node() -> Generator[Node]:
    network = NeutronNetwork()
    made = Node("node", network, "10.99.0.11", "fd99::11")
    made.attach("ens7", eni_facts("eni", 10, Datapath(Mode.VETH)), PODS)
    made.add("neighbour", made.enis[0], PODS[1])
    yield made
    made.close()
    network.close()


@contextmanager
def attacker(node: Node, begins: Sequence[str]) -> Generator["subprocess.Popen[str]"]:
    """Start a pod, which waits for a line of input; its network namespace is one of its own."""
    command = [*begins, sys.executable, str(REACH)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            facts = pod_interface("attacker", node.enis[0], PODS[0])
            node.run(node.datapath.add, facts, f"/proc/{process.pid}/ns/net")
            yield process
        finally:
            process.kill()


def reached(node: Node, begins: Sequence[str]) -> dict[str, int]:
    """Return the errno of each request of the pod: 0 if the kernel did what it asked for."""
    link = node.pods[0].pod_network.host_interface
    (index,) = node.namespace.run(Path("/sys/class/net/eth0/ifindex").read_text).split()
    with attacker(node, begins) as process:
        out, _ = process.communicate(f"{link} {index}\n", timeout=SECONDS)
    answer: dict[str, int] = json.loads(out)
    return answer


def test_a_pod_with_users_of_its_own_reaches_no_link_of_its_node(node: Node) -> None:
    asked = reached(node, OWN_USERS)
    assert set(asked.values()) <= {EPERM, EACCES}
    assert node.namespace.ask(PODS[1], 80) == ("neighbour", node.address)


def test_with_its_nodes_users_it_does(node: Node) -> None:
    """The other test means something."""
    asked = reached(node, NODES_USERS)
    assert asked == {"deleted its neighbour's link": 0, "got a link on the node's NIC": 0}
    assert node.pods[0].pod_network.host_interface not in node.namespace.links()


@pytest.fixture
def slaves(node: Node) -> Node:
    """Two pods in l2 on another ENI."""
    eni = eni_facts("slaves", 20, Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2)))
    node.attach("ens8", eni, SLAVES)
    for number, address in enumerate(SLAVES):
        node.add(f"slave{number}", eni, address)
    return node


@pytest.mark.ipvlan
@pytest.mark.parametrize("change", [("private",), ("vepa",), ("mode l3",), ("mode l3", "mode l2")])
def test_what_a_pod_changes_of_all_slaves_of_its_eni_is_restored_in_all(
    slaves: Node, change: tuple[str, ...]
) -> None:
    _, changer, other = slaves.pods
    for settings in change:
        changer.namespace.program(*f"ip link set eth0 type ipvlan {settings}".split())
    disturbed = slaves.look().disturbed
    assert disturbed >= ({other.facts} if "mode" in change[0] else set())
    slaves.look(into=bool(disturbed))
    assert slaves.run(slaves.datapath.check, other.facts, other.namespace.path) == ()
    assert slaves.namespace.ask(other.address, 80) == ("slave1", slaves.address)
    assert changer.namespace.ask(other.address, 80) == ("slave1", changer.address)
