"""A pod fills its own network namespace, and the agent, which looks into it, takes no harm."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError

import pytest

from openeni_crds import names
from openeni_nodeagent.datapath import kernel_datapath
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.linux.netlink import ENTRIES_IN_POD
from openeni_nodeagent.datapath.model import Operation
from openeni_nodeagent.datapath.node import reconcile
from openeni_nodeagent.datapath.pod import compare_inside, repair_inside
from openeni_nodeagent.datapath.turns import TURNS
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = pytest.mark.root
PODS = ("10.98.0.11", "10.98.0.12")
FREE = "10.98.0.13"
LOGGED = 30  # lines, more than enough for one look


@pytest.fixture(params=MODES)
def node(request: pytest.FixtureRequest) -> Generator[Node]:
    network = NeutronNetwork()
    made = Node("node", network, "10.99.0.11", "fd99::11")
    eni = eni_facts("eni", 10, request.param)
    made.attach("ens7", eni, (*PODS, FREE))
    for number, address in enumerate(PODS, start=1):
        made.add(f"pod{number}", eni, address)
    yield made
    made.close()
    network.close()


def fill(pod: Pod, kind: str, count: int) -> None:
    """Give the pod's namespace items with openeni's own protocol number."""
    words = {
        "neighbours": ("neigh add", "lladdr 02:00:00:00:00:01 nud permanent protocol"),
        "routes": ("route add", "proto"),
    }
    command, rest = words[kind]
    addresses = [f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count)]
    pod.namespace.ip(*(f"{command} {a} dev eth0 {rest} {names.PROTOCOL}" for a in addresses))


@pytest.mark.parametrize("kinds", [("neighbours",), ("routes",), ("neighbours", "routes")], ids=str)
def test_a_pod_full_of_entries_is_not_read_to_its_end(node: Node, kinds: tuple[str, ...]) -> None:
    full, other = node.pods
    for kind in kinds:
        fill(full, kind, ENTRIES_IN_POD // len(kinds) + 1)
    report = node.look(into=True)
    assert set(report.differing) == {full.facts}
    assert f"more than {ENTRIES_IN_POD} entries" in report.differing[full.facts]
    assert report.looked_into == {other.facts: "", **report.differing}
    assert (report.repairs, report.broken, report.errors) == ((), frozenset(), {})
    assert node.run(node.datapath.check, other.facts, other.namespace.path) == ()


def test_another_qdisc_is_no_token_bucket_whatever_its_options_are(node: Node) -> None:
    """These contain the bytes by which a token bucket is recognized before it is decoded."""
    odd, _ = node.pods
    options = ("htb", "r2q", "65544", "default", "666274")
    odd.namespace.program("tc", "qdisc", "replace", "dev", "eth0", "root", *options)
    report = node.look(into=True)
    assert (report.differing, report.errors, report.repairs) == ({}, {}, ())
    assert node.run(node.datapath.check, odd.facts, odd.namespace.path) == ()


def test_what_cannot_be_read_in_one_pod_is_that_pods_difference(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, _ = node.pods
    compare = repair_inside

    def failing(pod: NodePod, netns: str) -> object:
        if pod.facts == odd.facts:
            raise TypeError("of a decoder")
        return compare(pod, netns)

    monkeypatch.setattr(reconcile, "repair_inside", failing)
    report = node.look(into=True)
    assert set(report.differing) == {odd.facts}
    assert "of a decoder" in report.differing[odd.facts]
    assert report.errors == {}


def test_of_many_that_are_checked_at_once_two_are_read_together(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read of one may take 8 MiB."""
    first, _ = node.pods
    meeting, compare, met = Barrier(TURNS + 1), compare_inside, list[int]()

    def noting(pod: NodePod, namespace: int) -> tuple[Operation, ...]:
        with suppress(BrokenBarrierError):
            met.append(meeting.wait(0.2))
        return compare(pod, namespace)

    def check(_: int) -> tuple[str, ...]:
        return node.datapath.check(first.facts, first.namespace.path)

    def check_at_once() -> list[tuple[str, ...]]:
        with ThreadPoolExecutor(3 * TURNS) as threads:
            return list(threads.map(check, range(3 * TURNS)))

    monkeypatch.setattr(kernel_datapath, "compare_inside", noting)
    assert node.run(check_at_once) == [()] * (3 * TURNS)
    assert met == []


def test_it_can_be_deleted(node: Node) -> None:
    full, _ = node.pods
    fill(full, "neighbours", ENTRIES_IN_POD + 1)
    node.run(node.datapath.delete, full.facts)
    node.run(node.datapath.finish_delete, full.facts, full.namespace.path)
    assert "eth0" not in full.namespace.program("ip", "link")
    assert full.address not in node.pod_addresses()


def test_it_is_deleted_whatever_addresses_it_has_given_itself(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.datapath.inside.slaves.ENTRIES_IN_POD", 50)
    full, _ = node.pods
    full.namespace.ip(
        f"addr del {full.address}/32 dev eth0",
        *(f"addr add 11.0.0.{n}/32 dev eth0" for n in range(1, 60)),
    )
    node.run(node.datapath.delete, full.facts)
    node.run(node.datapath.finish_delete, full.facts, full.namespace.path)
    assert "eth0" not in full.namespace.program("ip", "link")


@pytest.mark.parametrize("node", MODES[1:], indirect=True)
def test_it_is_deleted_among_slaves_of_its_own_and_nothing_else_is(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the ENI's MAC; each one deleted would take a grace period of RCU."""
    monkeypatch.setattr("openeni_nodeagent.datapath.inside.slaves.ENTRIES_IN_POD", 50)
    ended, _ = node.pods
    with Namespace("nested") as nested:
        own = (
            "link add own type veth peer name other",
            f"link set own address {ended.facts.eni.mac}",
        )
        ended.namespace.ip(*own, *(f"link add s{n} link own type ipvlan" for n in range(60)))
        nested.ip(*own, f"link add far link own netns {ended.namespace.path} type ipvlan")
        before = ended.namespace.links()
        node.run(node.datapath.delete, ended.facts)
        node.run(node.datapath.finish_delete, ended.facts, ended.namespace.path)
        assert before - ended.namespace.links() == {"eth0"}
    node.add("next", node.enis[0], ended.address)


@pytest.mark.parametrize("node", MODES[1:], indirect=True)
def test_it_is_deleted_while_its_enis_nic_is_in_another_namespace(node: Node) -> None:
    """A plugin for whole NICs (host-device, SR-IOV) has taken that; the pod has links as well."""
    ended, other = node.pods
    ended.namespace.ip(
        "link add own type veth peer name other",
        f"link set own address {ended.facts.eni.mac}",
        *(f"link add s{n} link own type ipvlan" for n in range(5)),
    )
    with Namespace("thief") as thief:
        node.namespace.ip(f"link set ens7 netns {thief.path}")
        before = ended.namespace.links()
        node.run(node.datapath.delete, ended.facts)
        node.run(node.datapath.finish_delete, ended.facts, ended.namespace.path)
        assert before - ended.namespace.links() == {"eth0"}
        thief.ip(f"link set ens7 netns {node.namespace.path}")
    node.configure(node.enis[0])
    following = node.add("next", node.enis[0], ended.address)
    assert other.namespace.ping(following.address)


@pytest.mark.parametrize(
    "made",
    [
        ("link set eth0 down", "link set eth0 name eth9", "link set eth9 up"),
        (f"addr del {PODS[0]}/32 dev eth0", f"addr add {FREE}/32 dev eth0"),
    ],
    ids=["another name", "another address"],
)
def test_it_keeps_no_address_beyond_its_end(node: Node, made: tuple[str, ...]) -> None:
    """A socket of the kernel may keep its namespace for hours: FIN_WAIT1, tcp_orphan_retries."""
    ended, other = node.pods
    ended.namespace.ip(*made)
    node.run(node.datapath.delete, ended.facts)
    node.run(node.datapath.finish_delete, ended.facts, ended.namespace.path)
    for address in (ended.address, FREE):
        following = node.add(f"next{address}", node.enis[0], address)
        assert other.namespace.ping(following.address)


def test_what_it_has_given_itself_is_removed_and_fills_no_log(node: Node) -> None:
    full, _ = node.pods
    before = full.namespace.program("ip", "route", "show", "proto", str(names.PROTOCOL))
    fill(full, "routes", 500)
    report = node.look(into=True)
    assert (report.differing, report.broken) == ({}, frozenset())
    assert len(report.repairs) <= LOGGED
    assert full.namespace.program("ip", "route", "show", "proto", str(names.PROTOCOL)) == before


def test_one_that_has_swapped_its_address_is_not_repaired_but_built_anew(node: Node) -> None:
    """Its interface might be that of a pod that was here before."""
    pod, _ = node.pods
    pod.namespace.ip("addr add 11.0.0.1/32 dev eth0", f"addr del {pod.address}/32 dev eth0")
    report = node.look(into=True)
    assert (report.repairs, report.broken) == ((), frozenset({pod.facts}))
    assert "link eth0" in report.differing[pod.facts]
    node.run(node.datapath.add, pod.facts, pod.namespace.path)
    assert node.look(into=True).differing == {}
    assert "11.0.0.1" not in pod.namespace.program("ip", "addr")
