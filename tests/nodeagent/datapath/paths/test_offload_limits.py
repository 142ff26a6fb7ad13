"""What is not offloaded; what the kernel refuses of it costs no ENI and no pod its network."""

import socket
from collections.abc import Generator, Iterator
from dataclasses import replace

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.linux import dumps
from openeni_nodeagent.datapath.linux.kernel import observe_filters
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import FlowtableLink, Operation, Verb
from openeni_testing.network.one_eni import apply_one
from openeni_testing.network.topology import REMOTE, Topology
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
ASKED, ASKING = 53, 40053
ECHOES, NODE_PORT = 7007, 30080
# The kernel changes no hook's priority.
OF_ANOTHER_PRIORITY = """
table inet openeni {
  flowtable established {
    hook ingress priority filter
    devices = { ens10 }
  }
}
"""


@pytest.fixture(scope="module")
def topology() -> Generator[Topology]:
    made = Topology(Datapath(Mode.VETH))
    yield made
    made.close()


@pytest.fixture
def refusing(topology: Topology) -> Generator[Topology]:
    """A node whose flowtable the kernel lets nobody add links to, and without all filters."""
    node = topology.node.namespace
    node.program("nft", "flush", "ruleset")
    node.nft(OF_ANOTHER_PRIORITY)
    yield topology
    node.program("nft", "flush", "ruleset")
    assert topology.node.look().not_offloaded == ""


def test_a_flowtable_that_refuses_links_costs_no_pod_its_network(refusing: Topology) -> None:
    node, pod = refusing.node, refusing.pods["b1"]
    report = node.look()
    assert (report.errors, report.differing, report.left) == ({}, {}, "")
    assert "in the flowtable: ENOTSUP" in report.not_offloaded
    assert pod.namespace.ask(REMOTE.addresses[0], 80) == ("remote", pod.address)
    assert node.namespace.run(node.datapath.check, pod.facts, pod.namespace.path) == ()
    added = node.add("more", pod.facts.eni, "10.98.0.22")
    assert added.namespace.ask(pod.address, 80) == ("b1", added.address)
    node.delete(added)
    assert node.look().differing == {}


def test_it_refuses_nothing_that_turning_the_offload_off_needs(refusing: Topology) -> None:
    node = refusing.node
    report = node.look(facts=replace(node.facts, flow_offload=False))
    assert (report.errors, report.left) == ({}, "")


def test_a_question_and_its_answer_keep_no_entry_of_conntrack_for_long(topology: Topology) -> None:
    """As of a name server: its clients would fill the table."""
    pod = topology.pods["a1"]
    pod.namespace.answer(ASKED)
    answer = topology.remote.ask_by_datagram(pod.address, ASKED, source_port=ASKING)
    assert answer == ("a1", REMOTE.addresses[0])
    table = topology.node.namespace.program("cat", "/proc/net/nf_conntrack").splitlines()
    (entry,) = [line for line in table if f"sport={ASKING} dport={ASKED}" in line]
    assert "OFFLOAD" not in entry


def test_a_flow_to_a_node_port_at_the_enis_address_is_offloaded(topology: Topology) -> None:
    """It comes and leaves by the ENI."""
    topology.network.forget_dropped()
    pod, node = topology.pods["a1"], topology.node.namespace
    (primary,) = pod.facts.eni.primary
    pod.namespace.echo(ECHOES)
    node.nft(
        f"""table ip theirs {{
          chain prerouting {{ type nat hook prerouting priority dstnat;
            ip daddr {primary} tcp dport {NODE_PORT} dnat to {pod.address}:{ECHOES}; }}
        }}"""
    )
    with topology.remote.run(socket.create_connection, (primary, NODE_PORT), 5) as client:

        def is_offloaded() -> bool:
            client.sendall(b"openeni")
            assert client.recv(64) == b"openeni"
            table = node.program("cat", "/proc/net/nf_conntrack").splitlines()
            return any(f"dport={NODE_PORT}" in line and "OFFLOAD" in line for line in table)

        for _ in range(2):
            wait_for(is_offloaded, "the flow bypasses the stack")
    node.nft("delete table ip theirs")
    assert topology.network.dropped() == {}


def test_a_look_adds_what_the_flowtable_lacks_and_calls_it_no_repair(topology: Topology) -> None:
    node, pod = topology.node, topology.pods["a1"]
    link = FlowtableLink(pod.pod_network.host_interface)
    node.run(apply_one, Operation(Verb.REMOVE, link))
    assert link not in node.namespace.run(observe_filters)
    assert node.namespace.run(node.datapath.check, pod.facts, pod.namespace.path) == ()
    report = node.look()
    assert (report.repairs, report.differing, report.not_offloaded) == ((), {}, "")
    assert link in node.namespace.run(observe_filters)


def nothing(_: Netlink) -> Iterator[FlowtableLink]:
    return iter(())


def test_a_flowtable_that_the_kernel_does_not_list_costs_nothing(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no memory for a message with all links, and lists none."""
    node = topology.node
    monkeypatch.setattr(dumps, "flowtable_links", nothing)
    report = node.look()
    assert (report.errors, report.differing, report.repairs) == ({}, {}, ())
    assert report.not_offloaded == ""
    monkeypatch.undo()
    state = node.namespace.run(observe_filters)
    assert FlowtableLink("ens10") in state
