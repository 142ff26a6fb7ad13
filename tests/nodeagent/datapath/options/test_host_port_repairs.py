"""Host ports that somebody has changed, that a UDP client was faster than, that are left over."""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_nodeagent.cni.runtime_config import port_mappings
from openeni_nodeagent.datapath.linux.conntrack import flush
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import Pod
from openeni_testing.network.one_eni import MODES, OneENI

pytestmark = pytest.mark.root
NODE: Final = "10.99.0.11"
PORTS: Final = (
    PortMapping(8080, 80, Transport.TCP),
    PortMapping(8053, 53, Transport.UDP),
    PortMapping(8081, 80, Transport.TCP, NODE),
)
TABLE: Final = f"inet {names.NFT_TABLE}"
LAYER_3: Final = {f"ipvlan-{mode}" for mode in (IPVlanMode.L3, IPVlanMode.L3S)}
OTHER: Final = "10.98.0.77 . 80"


class Bench(OneENI):
    def __init__(self, datapath: Datapath) -> None:
        super().__init__(datapath)
        if datapath.ipvlan_mode == "L3":
            self.network.answer_arp(neutron.Port("eni", self.eni.mac, self.addresses))

    @property
    def outside(self) -> Namespace:
        return self.network.outside

    def start(self) -> Pod:
        pod = self.node.add("pod", self.eni, *self.addresses, host_ports=PORTS)
        pod.namespace.answer(53)
        self.pod = pod.facts
        return pod

    def nft(self, command: str) -> None:
        self.node.namespace.nft(command + "\n")

    def require_served(self, pod: Pod) -> None:
        assert self.check(pod.namespace.path) == ()
        for port in (8080, 8081):
            assert self.outside.ask(NODE, port) == ("pod", neutron.OUTSIDE)


ASKED_FOR: Final = (
    '{"portMappings": [{"hostPort": 80, "containerPort": 80, "hostIP": "::10.99.0.11"},'
    '{"hostPort": 80, "containerPort": 80, "hostIP": "::ffff:10.99.0.11"}]}'
)


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[Bench]:
    made = Bench(request.param)
    yield made
    made.close()


@pytest.mark.parametrize(
    "damage",
    [
        f"flush map {TABLE} anyports4",
        f"delete table {TABLE}",
        (
            f"delete element {TABLE} anyports4 {{ tcp . 8080 }}\n"
            f"add element {TABLE} anyports4 {{ tcp . 8080 : {OTHER} }}"
        ),
        *(
            pytest.param(damage, marks=pytest.mark.exhaustive)
            for damage in (
                f"delete element {TABLE} hostports4 {{ {NODE} . tcp . 8081 }}",
                f"flush set {TABLE} primaries4",
                f"flush chain {TABLE} host_ports_in",
            )
        ),
    ],
)
def test_what_others_change_of_host_ports_is_found_and_restored(bench: Bench, damage: str) -> None:
    pod = bench.start()
    bench.require_served(pod)
    bench.nft(damage)
    assert bench.check(pod.namespace.path) != ()
    report = bench.node.look(into=True)
    assert report.repairs
    assert (report.errors, report.differing, report.left) == ({}, {}, "")
    assert report.broken == set()
    bench.require_served(pod)
    assert bench.node.look(into=True).repairs == ()


def forward_nothing(node: Namespace, slave: str) -> None:
    node.sysctl(f"net/ipv4/conf/{slave}/forwarding", "0")


def make_again_when_nothing_is_forwarded_by_default(node: Namespace, slave: str) -> None:
    node.sysctl("net/ipv4/conf/default/forwarding", "0")
    node.ip(f"link del {slave}")


@pytest.mark.parametrize("bench", [m for m in MODES if m.id in LAYER_3], indirect=True)
@pytest.mark.parametrize(
    "damage", [forward_nothing, make_again_when_nothing_is_forwarded_by_default]
)
def test_pods_reach_ports_of_each_other_when_the_nodes_slave_forwards_again(
    bench: Bench, damage: Callable[[Namespace, str], None]
) -> None:
    pod = bench.start()
    client = bench.node.add("client", bench.eni, "10.98.0.12", "fd98::12")
    damage(bench.node.namespace, pod.pod_network.host_interface)
    assert bench.node.look().errors == {}
    answer = client.namespace.ask(NODE, 8080)
    assert answer
    assert answer[0] == "pod"


def test_an_add_takes_a_port_that_leads_elsewhere(bench: Bench) -> None:
    """What the journal says counts: no grant has that port, whatever the kernel has."""
    bench.nft(f"add element {TABLE} anyports4 {{ tcp . 8080 : {OTHER} }}")
    bench.require_served(bench.start())


def test_a_deleted_pods_ports_are_gone_and_another_pod_can_have_them(bench: Bench) -> None:
    first = bench.start()
    bench.node.delete(first)
    assert bench.outside.ask(NODE, 8080) is None
    assert bench.node.pod_addresses() == set()
    bench.require_served(bench.start())


def test_a_port_that_a_deleted_pod_has_left_keeps_its_address_reserved_until_a_look_removes_it(
    bench: Bench,
) -> None:
    bench.nft(f"add element {TABLE} anyports4 {{ tcp . 8080 : {OTHER} }}")
    assert bench.node.pod_addresses() == {"10.98.0.77"}
    report = bench.node.look(strays=["10.98.0.77"])
    assert report.left == ""
    assert bench.node.pod_addresses() == set()


def test_a_port_of_a_pod_that_may_be_at_work_is_left_alone(bench: Bench) -> None:
    pod = bench.start()
    bench.node.pods.clear()
    assert bench.node.look().repairs == ()
    bench.require_served(pod)


def test_a_udp_client_that_was_faster_than_the_pod_reaches_it(bench: Bench) -> None:
    """Its flow has an entry in conntrack, without a translation, for as long as it sends."""
    client, port = bench.outside, 40053
    assert client.ask_by_datagram(NODE, 8053, source_port=port) is None
    pod = bench.start()
    assert client.ask_by_datagram(NODE, 8053, source_port=port) == ("pod", neutron.OUTSIDE)
    bench.nft(f"flush map {TABLE} anyports4")
    bench.node.look()
    assert client.ask_by_datagram(NODE, 8053, source_port=port) == ("pod", neutron.OUTSIDE)
    assert pod.address == bench.addresses[0]


def test_a_port_leads_to_the_pod_although_a_process_of_the_node_listens_there(
    bench: Bench,
) -> None:
    """As with the CNI project's portmap: docs/host-ports.md and docs/security.md say so."""
    bench.node.namespace.answer(8053)
    before = bench.outside.ask_by_datagram(NODE, 8053)
    assert before is not None
    assert before[0] != "pod"
    bench.start()
    assert bench.outside.ask_by_datagram(NODE, 8053) == ("pod", neutron.OUTSIDE)
    for address in (NODE, "127.0.0.1"):
        seen = bench.node.namespace.ask_by_datagram(address, 8053)
        assert seen is not None
        assert seen[0] == "pod"


def test_flows_to_the_address_of_somebody_else_are_left_alone(bench: Bench) -> None:
    """A pod may name any `hostIP`; that one's port is not served."""
    bench.outside.answer(8053)
    assert bench.node.namespace.ask_by_datagram(neutron.OUTSIDE, 8053)
    named = (PortMapping(8053, 53, Transport.UDP, neutron.OUTSIDE),)
    bench.node.add("pod", bench.eni, *bench.addresses, host_ports=named)
    assert bench.node.run(flush, [neutron.OUTSIDE]) == 1


def test_what_a_sandbox_leaves_whose_ports_another_one_has_taken_is_removed(bench: Bench) -> None:
    """Its grant has no ports any more by the time of its DEL, and no look came in between."""
    pod = bench.start()
    newer = bench.node.add("newer", bench.eni, "10.98.0.12", "fd98::12", host_ports=PORTS)
    bench.node.run(bench.node.datapath.delete, replace(pod.facts, host_ports=()))
    bench.node.pods.remove(pod)
    left = bench.node.pod_addresses() - set(newer.facts.addresses)
    report = bench.node.look(strays=left)
    assert report.left == ""
    members = bench.node.namespace.program("nft", "list", "ruleset")
    assert bench.addresses[0] not in members
    assert bench.addresses[1] not in members


def test_a_host_ip_stays_as_it_was_asked_for(bench: Bench) -> None:
    ports = port_mappings(ASKED_FOR.encode())
    bench.node.add("pod", bench.eni, *bench.addresses, host_ports=ports)
    assert bench.node.look().repairs == ()
