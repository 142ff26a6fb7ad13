"""Many ADDs and DELs at once: each configures its own pod's namespace and no other."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.linux.kernel import observe, observe_filters, open_netlink
from openeni_nodeagent.datapath.model import Address, State
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts, pod_interface

pytestmark = pytest.mark.root
PODS = 24
ROUNDS = 3
THREADS = 12
ADDRESSES = tuple(f"10.98.0.{number}" for number in range(20, 20 + PODS))


@pytest.fixture
def node() -> Generator[Node]:
    network = NeutronNetwork()
    made = Node("node", network, "10.99.0.11", "fd99::11")
    yield made
    made.close()
    network.close()


@pytest.fixture
def eni(node: Node) -> ENIFacts:
    facts = eni_facts("eni", 10, Datapath(Mode.VETH))
    node.attach("ens7", facts, ADDRESSES)
    return facts


def look() -> State:
    with open_netlink() as netlink:
        return observe(netlink) | observe_filters()


def addresses(namespace: Namespace) -> set[str]:
    """All but the loopback's and link-local ones."""
    found = {i.address for i in namespace.run(look) if isinstance(i, Address)}
    return {a for a in found if not a.startswith(("127.", "::1", "fe80:"))}


def test_every_pod_gets_its_own_address_and_the_node_gets_none(node: Node, eni: ENIFacts) -> None:
    before = node.namespace.run(look)
    own = addresses(node.namespace)
    pods = [pod_interface(f"pod{a}", eni, a) for a in ADDRESSES]
    spaces = [Namespace(pod.container_id) for pod in pods]
    paths = [space.path for space in spaces]

    def all_at_once() -> None:  # the threads are the node's: they come from one of its own
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(node.datapath.add, pods, paths))

    def none_left() -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(node.datapath.delete, pods, paths))

    for _ in range(ROUNDS):
        node.namespace.run(all_at_once)
        assert [addresses(s) for s in spaces] == [{a} for a in ADDRESSES]
        assert addresses(node.namespace) == own
        wrong = [node.run(node.datapath.check, *pair) for pair in zip(pods, paths, strict=True)]
        assert wrong == [()] * PODS
        node.namespace.run(none_left)
        assert [addresses(s) for s in spaces] == [set[str]()] * PODS
        assert node.namespace.run(look) == before
    for space in spaces:
        space.close()
