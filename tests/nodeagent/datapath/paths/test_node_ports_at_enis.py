"""Whoever asks a NodePort at an ENI's primary address is answered by that ENI, and nobody else."""

from collections.abc import Generator
from typing import Final

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import OUTSIDE, OUTSIDE_6
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
NODE_PORT, DATAGRAMS = 30080, 30053
KUBELET: Final = 10250  # a program of the node
NODE: Final = {4: "10.99.0.11", 6: "fd99::11"}
WORDS: Final = {4: "ip", 6: "ip6"}
CONTAINER: Final = {4: "172.17.0.2", 6: "fd17::2"}


@pytest.fixture(scope="module", params=MODES)
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    datapath: Datapath = request.param
    made = Topology(datapath, datapath.ipvlan_mode is not IPVlanMode.L3)
    made.network.drop_invalid()
    made.pods["a1"].namespace.answer(53)
    yield made
    made.close()


def primary(topology: Topology, family: int) -> str:
    return topology.pods["a1"].facts.eni.primary[family == 6]


def lead(topology: Topology, backends: dict[int, str], port: int, policy: str) -> None:
    """Do what kube-proxy does for a NodePort with this externalTrafficPolicy.

    It is at the ENI's primary addresses.
    """
    mark = "meta mark set meta mark or 0x4000" if policy == "Cluster" else ""
    rules = "".join(
        f"{WORDS[family]} daddr {primary(topology, family)} {asked} {mark} "
        f"dnat {WORDS[family]} to {f'[{backends[family]}]' if family == 6 else backends[family]}"
        f":{to}\n"
        for family in topology.families
        for asked, to in ((f"tcp dport {NODE_PORT}", port), (f"udp dport {DATAGRAMS}", 53))
    )
    topology.node.namespace.nft(
        f"""table inet theirs
        delete table inet theirs
        table inet theirs {{
          chain prerouting {{ type nat hook prerouting priority dstnat; {rules} }}
          chain postrouting {{ type nat hook postrouting priority srcnat;
            meta mark & 0x4000 == 0x4000 masquerade; }}
        }}"""
    )


def of_pod(topology: Topology, pod: str = "a1") -> dict[int, str]:
    return {family: topology.of(pod, family) for family in topology.families}


def clients(topology: Topology, family: int) -> tuple[tuple[Namespace, str], ...]:
    """Return one of the ENI's subnet and one beyond its gateway, and their addresses."""
    of_outside = OUTSIDE_6 if family == 6 else OUTSIDE
    return (
        (topology.remote, REMOTE.addresses[family == 6]),
        (topology.network.outside, of_outside),
    )


@pytest.mark.parametrize("policy", ["Local", "Cluster"])
def test_a_pod_of_the_eni_answers(topology: Topology, policy: str) -> None:
    lead(topology, of_pod(topology), 80, policy)
    for family in topology.families:
        for client, _ in clients(topology, family):
            for answer in (
                client.ask(primary(topology, family), NODE_PORT),
                client.ask_by_datagram(primary(topology, family), DATAGRAMS),
            ):
                assert answer
                assert answer[0] == "a1"
    assert topology.network.dropped() == {}
    assert topology.network.dropped_as_invalid() == 0


def test_it_sees_a_client_beyond_its_subnet(topology: Topology) -> None:
    lead(topology, of_pod(topology), 80, "Local")
    for family in topology.families:
        _, (outside, own) = clients(topology, family)
        assert outside.ask(primary(topology, family), NODE_PORT) == ("a1", own)


def test_a_program_of_the_node_answers(topology: Topology) -> None:
    lead(topology, NODE, KUBELET, "Local")
    for family in topology.families:
        for client, own in clients(topology, family):
            assert client.ask(primary(topology, family), NODE_PORT) == ("node", own)
    assert topology.network.dropped() == {}
    assert topology.network.dropped_as_invalid() == 0


def test_a_client_inside_the_node_is_answered_there(topology: Topology) -> None:
    """It has not come by the ENI."""
    topology.network.forget_dropped()
    node = topology.node.namespace
    lead(topology, of_pod(topology), 80, "Local")
    with Namespace("container") as container:
        node.ip(
            f"link add docker0 type veth peer name eth0 netns {container.thread_id}",
            "addr add 172.17.0.1/24 dev docker0",
            "addr add fd17::1/64 dev docker0 nodad",
            "link set docker0 up",
        )
        container.ip(
            f"addr add {CONTAINER[4]}/24 dev eth0",
            f"addr add {CONTAINER[6]}/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 172.17.0.1",
            "route add default via fd17::1",
        )
        for family in topology.families:
            answer = container.ask(primary(topology, family), NODE_PORT)
            assert answer == ("a1", CONTAINER[family])
        node.ip("link del docker0")
    assert topology.network.dropped() == {}
