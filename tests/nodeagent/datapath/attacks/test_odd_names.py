"""Root in a pod names things by bytes that are no text: the pod ends as any other does."""

import subprocess
from collections.abc import Generator
from functools import partial

import pytest

from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = pytest.mark.root
PODS = ("10.98.0.11", "10.98.0.12")
ODD = b"\xff\xfe\x80"
COMMANDS = {
    "the link's alias": (b"link", b"set", b"eth0", b"alias", ODD),
    "another name of it": (b"link", b"property", b"add", b"dev", b"eth0", b"altname", 40 * ODD),
    "another link": (b"link", b"add", b"name", ODD, b"type", b"veth"),
    "the label of an address": (
        *(b"addr", b"add", b"192.0.2.9/32", b"dev", b"eth0"),
        *(b"label", b"eth0:" + ODD),
    ),
}


@pytest.fixture(params=MODES)
def node(request: pytest.FixtureRequest) -> Generator[Node]:
    network = NeutronNetwork()
    made = Node("node", network, "10.99.0.11", "fd99::11")
    made.attach("ens7", eni_facts("eni", 10, request.param), PODS)
    for number, address in enumerate(PODS, start=1):
        made.add(f"pod{number}", made.enis[0], address)
    yield made
    made.close()
    network.close()


@pytest.mark.parametrize("what", COMMANDS)
def test_its_link_is_removed_and_the_next_pod_can_have_its_address(node: Node, what: str) -> None:
    odd, other = node.pods
    odd.namespace.run(partial(subprocess.run, (b"ip", *COMMANDS[what]), check=True))
    report = node.look(into=True)
    assert report.errors == {}
    assert set(report.differing) <= {odd.facts}
    assert node.run(node.datapath.check, other.facts, other.namespace.path) == ()
    node.run(node.datapath.delete, odd.facts)
    node.run(node.datapath.finish_delete, odd.facts, odd.namespace.path)
    assert "eth0" not in odd.namespace.links()
    node.add("next", node.enis[0], odd.address)
