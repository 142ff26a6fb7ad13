"""Plan, apply, observe, diff: they agree, and from every half-way point they come to the same end.

The cases run for veth on any kernel, and for ipvlan (marked) on one that has it.
"""

from collections.abc import Callable, Generator
from functools import partial

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.diff import diff
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    connected,
    execute,
    observe,
    observe_filters,
)
from openeni_nodeagent.datapath.linux.namespace import inside, opened
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink import create
from openeni_nodeagent.datapath.model import NOTHING, Address, Link, Operation, State, Verb
from openeni_nodeagent.datapath.place import EniPlace, PodPlace, pod_place
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts, pod_facts

pytestmark = pytest.mark.root
MODES = [
    pytest.param(Datapath(Mode.VETH), id="veth"),
    *(
        pytest.param(
            Datapath(Mode.IPVLAN, IPVlanDatapath(mode)),
            id=f"ipvlan-{mode}",
            marks=pytest.mark.ipvlan,
        )
        for mode in IPVlanMode
    ),
]


class Bench:
    """A node with one prepared ENI, and a pod's namespace to work on."""

    def __init__(self, datapath: Datapath) -> None:
        self.network = NeutronNetwork()
        self.node = Node("node", self.network, "10.99.0.11", "fd99::11")
        self.eni = eni_facts("eni", 10, datapath, dual=True)
        self.addresses = ("10.98.0.11", "fd98::11")
        self.node.attach("ens7", self.eni, self.addresses)
        self.pod = pod_facts("pod", self.eni, *self.addresses)

    def close(self) -> None:
        self.node.close()
        self.network.close()

    def state(self) -> State:
        """All of ours on the node; link-local addresses are the kernel's, in its own time."""
        seen = self.node.namespace.run(_look)
        return frozenset(
            i for i in seen if not (isinstance(i, Address) and i.address.startswith("fe80:"))
        )

    def place(self) -> PodPlace:
        found = self.node.namespace.run(self.node.datapath.prepare_eni, self.eni, self.node.facts)
        return pod_place(self.pod, EniPlace(self.eni, found, self.node.facts))

    def add(self, netns: str) -> None:
        self.node.run(self.node.datapath.add, self.pod, netns)

    def delete(self, netns: str) -> None:
        self.node.run(self.node.datapath.delete, self.pod, netns)

    def check(self, netns: str) -> tuple[str, ...]:
        return self.node.namespace.run(self.node.datapath.check, self.pod, netns)


@pytest.fixture(scope="module", params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[Bench]:
    made = Bench(request.param)
    yield made
    made.close()


@pytest.fixture
def netns() -> Generator[Namespace]:
    with Namespace("pod") as made:
        yield made


def _look() -> State:
    with connected() as netlink:
        return observe(netlink, nic=0) | observe_filters()


def steps(place: PodPlace, netns: str) -> list[Callable[[], None]]:
    """Every message of an ADD as a step of its own, in the order in which ADD sends them."""
    sides = plan_pod(place)
    on_node, in_pod = diff(NOTHING, sides.node), diff(NOTHING, sides.pod)
    births = [o for o in (*on_node, *in_pod) if isinstance(o.item, Link) and o.verb is Verb.ADD]

    def birth() -> None:
        with opened(netns) as namespace, connected() as netlink:
            links = [o.item for o in births if isinstance(o.item, Link)]
            peer = links[1] if len(links) > 1 else None
            execute(netlink, [create(links[0], peer=peer, namespace=namespace)], births[:1])

    def in_namespace(operation: Operation) -> None:
        with opened(netns) as namespace:
            inside(namespace, partial(one, operation))

    def one(operation: Operation) -> None:
        with Netlink() as netlink:
            apply([operation], netlink)

    rest = [partial(one, o) for o in on_node if o not in births]
    return [birth, *rest, *(partial(in_namespace, o) for o in in_pod if o not in births)]


def test_after_add_nothing_differs_and_after_delete_nothing_is_left(
    bench: Bench, netns: Namespace
) -> None:
    before = bench.state()
    bench.add(netns.path)
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)
    assert bench.state() == before
    assert "eth0" not in netns.program("ip", "link")


def test_add_on_top_of_itself_ends_the_same(bench: Bench, netns: Namespace) -> None:
    bench.add(netns.path)
    once = bench.state()
    bench.add(netns.path)
    assert bench.state() == once
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)


def test_delete_twice_and_of_nothing_is_fine(bench: Bench, netns: Namespace) -> None:
    before = bench.state()
    bench.add(netns.path)
    for _ in range(2):
        bench.delete(netns.path)
    bench.delete("")
    assert bench.state() == before


def test_delete_without_the_namespace_removes_the_nodes_part(bench: Bench) -> None:
    before = bench.state()
    with Namespace("gone") as gone:
        bench.add(gone.path)
        path = gone.path
    bench.delete(path)
    assert bench.state() == before


def test_from_every_point_of_a_broken_add_an_add_completes_it(bench: Bench) -> None:
    place = bench.place()
    before = bench.state()
    with Namespace("count") as counted:
        total = len(steps(place, counted.path))
    for done in range(total + 1):
        with Namespace("pod") as pod:
            for step in steps(place, pod.path)[:done]:
                bench.node.run(step)
            bench.add(pod.path)
            assert bench.check(pod.path) == (), f"after {done} of {total} steps"
            bench.delete(pod.path)
            assert bench.state() == before, f"after {done} of {total} steps"


def test_from_every_point_of_a_broken_add_a_delete_removes_it(bench: Bench) -> None:
    place = bench.place()
    before = bench.state()
    with Namespace("pod") as pod:
        for done in range(1, len(steps(place, pod.path)) + 1):
            for step in steps(place, pod.path)[:done]:
                bench.node.run(step)
            bench.delete(pod.path)
            assert bench.state() == before, f"after {done} steps"
            assert "eth0" not in pod.program("ip", "link"), f"after {done} steps"


def test_every_single_loss_is_seen_by_check_and_named(bench: Bench, netns: Namespace) -> None:
    bench.add(netns.path)
    sides = plan_pod(bench.place())
    for item in sides.node:
        if isinstance(item, Link):
            continue
        bench.node.run(_apply, Operation(Verb.REMOVE, item))
        found = bench.check(netns.path)
        assert [s for s in found if s.endswith("is missing")] == [*found], item
        assert len(found) == 1, item
        bench.node.run(_apply, Operation(Verb.ADD, item))
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)


def test_preparing_twice_changes_nothing(bench: Bench) -> None:
    before = bench.state()
    bench.node.run(bench.node.datapath.prepare_node, bench.node.facts)
    bench.node.run(bench.node.datapath.prepare_eni, bench.eni, bench.node.facts)
    assert bench.state() == before


def _apply(operation: Operation) -> None:
    with connected() as netlink:
        apply([operation], netlink)


def test_an_index_that_is_taken_is_no_obstacle(bench: Bench, netns: Namespace) -> None:
    place = bench.place()
    bench.node.namespace.ip(f"link add taken index {place.node_index} type veth peer name other")
    netns.ip(f"link add taken index {place.pod_index} type veth peer name other")
    bench.add(netns.path)
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)
    left = bench.node.namespace.program("ip", "-details", "link", "show", "taken")
    assert "state DOWN" in left
    assert "mtu 1500" in left
    assert "alias" not in left
    bench.node.namespace.ip("link del taken")


def test_an_add_to_a_running_pod_mends_it_without_touching_its_link(
    bench: Bench, netns: Namespace
) -> None:
    bench.add(netns.path)
    whole = bench.state()
    netns.sysctl("net/ipv4/conf/eth0/medium_id", "7")  # a new interface would have 0
    bench.node.namespace.ip("route flush table 9999", "rule del prio 600")
    bench.add(netns.path)
    assert bench.state() == whole
    assert bench.check(netns.path) == ()
    assert netns.program("cat", "/proc/sys/net/ipv4/conf/eth0/medium_id") == "7\n"
    bench.delete(netns.path)


def test_a_foreign_interface_of_that_name_is_left_alone(bench: Bench, netns: Namespace) -> None:
    before = bench.state()
    netns.ip("link add eth0 type veth peer name theirs")
    with pytest.raises(Exception, match="EEXIST"):
        bench.add(netns.path)
    assert "eth0" in netns.program("ip", "link")
    assert bench.state() == before


def test_an_orphan_is_removed_by_its_address_alone(bench: Bench, netns: Namespace) -> None:
    before = bench.state()
    bench.add(netns.path)
    hanging = bench.node.namespace.run(bench.node.datapath.pods)
    assert set(hanging) == set(bench.addresses)
    for address in bench.addresses:
        bench.node.run(bench.node.datapath.delete_address, address)
    assert bench.state() == before
    bench.delete(netns.path)


def test_what_others_made_for_the_same_address_stays(bench: Bench, netns: Namespace) -> None:
    address = bench.addresses[0]
    theirs = (
        f"rule add from {address} lookup 77 prio 600 protocol 93",
        f"neigh add {address} lladdr 02:00:00:00:00:77 dev eth0 nud permanent protocol 93",
        f"route add {address} dev eth0 table 9999 metric 5 proto 93",
    )
    bench.node.namespace.ip(*theirs)
    bench.add(netns.path)
    netns.ip(
        "addr add 198.51.100.1/32 dev eth0",
        "route add 198.51.100.0/24 dev eth0 proto 93",
    )
    assert bench.check(netns.path) == ()
    bench.add(netns.path)
    assert bench.check(netns.path) == ()
    inside = netns.program("ip", "addr") + netns.program("ip", "route")
    assert "198.51.100.1/32" in inside
    assert "198.51.100.0/24" in inside
    bench.delete(netns.path)
    bench.node.namespace.ip(*(command.replace(" add ", " del ", 1) for command in theirs))
