"""Limits of bandwidth: their plan, and what a full bucket lets through in the kernel."""

import json
import socket
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any, Final

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import NOTHING, Qdisc
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.datapath_api import LinkFacts, NodeFacts
from openeni_nodeagent.pod_options import Bandwidth, RateLimit, unenforced
from openeni_testing.network.attacks import DISCARD
from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import Pod, eni_facts, pod_interface
from openeni_testing.network.one_eni import MODES, OneENI
from openeni_testing.waiting import wait_for

VETH = Datapath(Mode.VETH)
L2 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2))
MBIT: Final = 1_000_000
FOR_WANT_OF_A_BURST: Final = 0xFFFFFFFF  # what containerd and CRI-O ask for
SLOW = RateLimit(8_000, FOR_WANT_OF_A_BURST)  # less than any limit is
RATE, BURST, WAITING = 12_500, 5_800, 6_425  # of SLOW: bytes per second, and bytes
DATAGRAMS, BYTES = 100, 1_000  # sent at once: eight seconds at RATE


def place(datapath: Datapath, bandwidth: Bandwidth) -> NodePod:
    eni = eni_facts("eni", 10, datapath)
    mark = Marks(names.MARK_MASK).of_table(NOTHING, names.eni_table(7))
    node = NodeENI(eni, LinkFacts("ens7", 7), NodeFacts(("10.99.0.11",)), mark)
    return pod_on_node(replace(pod_interface("pod", eni, "10.98.0.11"), bandwidth=bandwidth), node)


def buckets(datapath: Datapath, bandwidth: Bandwidth) -> tuple[list[Qdisc], list[Qdisc]]:
    """Return those on the node and those in the pod."""
    planned = plan_pod(place(datapath, bandwidth))
    host, pod = ([i for i in s if isinstance(i, Qdisc)] for s in (planned.host, planned.pod))
    return host, pod


def test_egress_is_limited_in_the_pod_and_ingress_at_the_nodes_end_of_a_pair() -> None:
    both = Bandwidth(RateLimit(8 * MBIT, 80_000), RateLimit(16 * MBIT, 160_000))
    host, pod = buckets(VETH, both)
    assert [(q.rate, q.index) for q in host] == [(MBIT, place(VETH, both).host_index)]
    assert [(q.rate, q.index) for q in pod] == [(2 * MBIT, place(VETH, both).pod_index)]
    host, pod = buckets(L2, both)
    assert (host, [q.rate for q in pod]) == ([], [2 * MBIT])


def test_what_a_mode_does_not_enforce_is_said_with_the_way_out() -> None:
    ingress, egress = Bandwidth(ingress=SLOW), Bandwidth(egress=SLOW)
    assert unenforced(ingress, VETH.word) == unenforced(egress, L2.word) == ""
    assert unenforced(Bandwidth(), L2.word) == ""
    assert "ingress" in unenforced(ingress, L2.word)
    assert "mode Veth" in unenforced(ingress, L2.word)


@pytest.mark.parametrize("datapath", [VETH, L2])
def test_a_pod_without_limits_costs_nothing(datapath: Datapath) -> None:
    assert buckets(datapath, Bandwidth()) == ([], [])


@pytest.mark.parametrize(
    ("limit", "burst"),
    [
        (RateLimit(80 * MBIT, 8 * 200_000), 200_000),  # as asked for
        (RateLimit(80 * MBIT, FOR_WANT_OF_A_BURST), MBIT),  # a tenth of a second
        (RateLimit(80 * MBIT, 1), 5_800),  # four packets of this MTU
        (RateLimit(1, 1), 5_800),
        (RateLimit(1 << 34, (1 << 35) - 8), (1 << 31) // 10),
    ],
)
def test_a_burst_is_neither_useless_nor_without_an_end(limit: RateLimit, burst: int) -> None:
    _, (qdisc,) = buckets(VETH, Bandwidth(egress=limit))
    assert qdisc.burst == burst
    assert qdisc.limit == burst + qdisc.rate // 20 < 1 << 32
    assert qdisc.rate == max(limit.rate // 8, RATE)


def test_a_limit_that_no_pod_gets_to_is_none() -> None:
    huge = RateLimit((1 << 63) - 1, 1)
    assert buckets(VETH, Bandwidth(huge, huge)) == ([], [])


class Bench(OneENI):
    def make(self, bandwidth: Bandwidth) -> Pod:
        pod = self.node.add("pod", self.eni, *self.addresses, bandwidth=bandwidth)
        self.pod = pod.facts
        return pod


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[Bench]:
    made = Bench(request.param)
    yield made
    made.close()


def token_buckets(namespace: Namespace) -> list[dict[str, Any]]:
    listed = json.loads(namespace.program("tc", "-s", "-j", "qdisc", "show"))
    return [one for one in listed if one["kind"] == "tbf"]


def require_limit(
    at: Namespace, sender: Namespace, address: str, source: str, since: float
) -> None:
    """Send until the one bucket there drops packets; it has let through what its limit allows.

    It is there `since` a monotonic time, and counts what it is sent once the kernel's worker has
    seen that the link has a carrier (net/core/link_watch.c).
    """

    def overflowing() -> dict[str, Any]:
        send_many(sender, address, source)
        (bucket,) = token_buckets(at)
        assert bucket["packets"] + bucket["qlen"] + bucket["drops"] >= DATAGRAMS, bucket
        assert bucket["drops"], bucket
        return bucket

    bucket = wait_for(overflowing, "the bucket overflows")
    assert bucket["bytes"] <= BURST + RATE * (time.monotonic() - since), bucket
    assert bucket["backlog"] <= WAITING, bucket


def send_many(sender: Namespace, address: str, source: str) -> None:
    sender.run(_send_many, address, source)


def _send_many(address: str, source: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((source, 0))
        for _ in range(DATAGRAMS):
            made.sendto(bytes(BYTES), (address, DISCARD))


@pytest.mark.root
def test_what_the_pod_sends_beyond_its_limit_is_dropped(bench: Bench) -> None:
    begun = time.monotonic()
    pod = bench.make(Bandwidth(egress=SLOW))
    require_limit(pod.namespace, pod.namespace, "10.99.0.11", pod.address, begun)


@pytest.mark.root
def test_what_a_veth_pod_gets_beyond_its_limit_is_dropped(bench: Bench) -> None:
    begun = time.monotonic()
    bench.make(Bandwidth(ingress=SLOW))
    node = bench.node.namespace
    if bench.eni.datapath.mode is not Mode.VETH:
        assert token_buckets(node) == []
        return
    require_limit(node, node, bench.pod.addresses[0], "10.99.0.11", begun)


@pytest.mark.root
@pytest.mark.parametrize("damage", ["del", "replace"])
def test_a_limit_that_somebody_changes_is_restored(bench: Bench, damage: str) -> None:
    limits = Bandwidth(SLOW, SLOW)
    pod = bench.make(limits)
    links = [(pod.namespace, pod.facts.interface)]
    if bench.eni.datapath.mode is Mode.VETH:
        links.append((bench.node.namespace, pod.pod_network.host_interface))
    for namespace, link in links:
        namespace.program("tc", "qdisc", damage, "dev", link, "root", *_other(damage))
    assert len(bench.check(pod.namespace.path)) == len(links)
    report = bench.node.look(into=True)
    assert [repair.kind for repair in report.repairs] == ["qdisc"] * len(links)
    assert bench.check(pod.namespace.path) == ()


def _other(damage: str) -> list[str]:
    return ["tbf", "rate", "1gbit", "burst", "1m", "limit", "2m"] if damage == "replace" else []


@pytest.mark.root
def test_somebody_elses_qdisc_on_a_link_without_a_limit_stays(bench: Bench) -> None:
    """A plugin that is chained after openeni may limit a pod itself."""
    pod = bench.make(Bandwidth())
    pod.namespace.program("tc", "qdisc", "add", "dev", "eth0", "root", *_other("replace"))
    assert bench.check(pod.namespace.path) == ()
    assert bench.node.look(into=True).repairs == ()
    assert len(token_buckets(pod.namespace)) == 1
