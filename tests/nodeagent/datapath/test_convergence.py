"""Plan, apply, observe and diff agree, and from every interrupted ADD the same state is reached.

The cases run for veth on any kernel, and for ipvlan (marked) on one that has it.
"""

from collections.abc import Callable
from functools import partial

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath import pod
from openeni_nodeagent.datapath.diff import diff
from openeni_nodeagent.datapath.inside import slaves
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    execute,
)
from openeni_nodeagent.datapath.linux.namespace import in_namespace, open_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import create_link
from openeni_nodeagent.datapath.marks import Mark
from openeni_nodeagent.datapath.model import (
    NOTHING,
    Link,
    Operation,
    Verb,
)
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.datapath_api import LinkFacts, NodeFacts
from openeni_nodeagent.phases import Stopwatch
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import eni_facts, pod_interface
from openeni_testing.network.one_eni import OneENI

pytestmark = pytest.mark.root


def one(operation: Operation) -> None:
    with Netlink() as netlink:
        apply([operation], netlink)


def steps(place: NodePod, netns: str) -> list[Callable[[], None]]:
    """Every message of an ADD as a step of its own, in the order in which ADD sends them."""
    planned = plan_pod(place)
    on_host, in_pod = diff(NOTHING, planned.host), diff(NOTHING, planned.pod)
    creations = [o for o in (*on_host, *in_pod) if isinstance(o.item, Link) and o.verb is Verb.ADD]

    def create_links() -> None:
        with open_namespace(netns) as namespace, Netlink() as netlink:
            links = [o.item for o in creations if isinstance(o.item, Link)]
            peer = links[1] if len(links) > 1 else None
            execute(netlink, [create_link(links[0], peer=peer, namespace=namespace)], creations[:1])

    def in_pod_namespace(operation: Operation) -> None:
        with open_namespace(netns) as namespace:
            in_namespace(namespace, partial(one, operation))

    rest = [partial(one, o) for o in on_host if o not in creations]
    return [
        create_links,
        *rest,
        *(partial(in_pod_namespace, o) for o in in_pod if o not in creations),
    ]


def test_after_add_nothing_differs_and_after_delete_nothing_is_left(
    bench: OneENI, netns: Namespace
) -> None:
    before = bench.state()
    bench.add(netns.path)
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)
    assert bench.state() == before
    assert "eth0" not in netns.links()


def test_a_repeated_add_ends_in_the_same_state(bench: OneENI, netns: Namespace) -> None:
    bench.add(netns.path)
    once = bench.state()
    bench.add(netns.path)
    assert bench.state() == once
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)


def test_a_repeated_delete_succeeds(bench: OneENI, netns: Namespace) -> None:
    before = bench.state()
    bench.add(netns.path)
    for _ in range(2):
        bench.delete(netns.path)
    bench.delete("")
    assert bench.state() == before


def test_delete_without_the_namespace_removes_the_nodes_part(bench: OneENI) -> None:
    before = bench.state()
    with Namespace("gone") as gone:
        bench.add(gone.path)
        path = gone.path
    bench.delete(path)
    assert bench.state() == before


@pytest.mark.exhaustive
def test_from_every_point_of_a_broken_add_an_add_completes_it(bench: OneENI) -> None:
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


@pytest.mark.exhaustive
def test_from_every_point_of_a_broken_add_a_delete_removes_it(bench: OneENI) -> None:
    place = bench.place()
    before = bench.state()
    with Namespace("pod") as pod:
        for done in range(1, len(steps(place, pod.path)) + 1):
            for step in steps(place, pod.path)[:done]:
                bench.node.run(step)
            bench.delete(pod.path)
            assert bench.state() == before, f"after {done} steps"
            assert "eth0" not in pod.links(), f"after {done} steps"


def test_a_look_at_a_whole_node_changes_nothing(bench: OneENI) -> None:
    before = bench.state()
    assert bench.node.look().repairs == ()
    assert bench.state() == before


def test_an_add_succeeds_where_its_chosen_index_is_taken(bench: OneENI, netns: Namespace) -> None:
    place = bench.place()
    bench.node.namespace.ip(f"link add taken index {place.host_index} type veth peer name other")
    netns.ip(f"link add taken index {place.pod_index} type veth peer name other")
    bench.add(netns.path)
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)
    left = bench.node.namespace.program("ip", "-details", "link", "show", "taken")
    assert "state DOWN" in left
    assert "mtu 1500" in left
    assert "alias" not in left
    bench.node.namespace.ip("link del taken")


def place_of(mode: Mode) -> NodePod:
    ipvlan = IPVlanDatapath(IPVlanMode.L2) if mode is Mode.IPVLAN else None
    eni = eni_facts("eni", 10, Datapath(mode, ipvlan))
    node_eni = NodeENI(eni, LinkFacts("ens7", 7), NodeFacts(()), Mark(0, 0))
    return pod_on_node(pod_interface("pod", eni, "10.98.0.11"), node_eni)


@pytest.mark.parametrize("mode", Mode)
def test_the_index_of_a_slave_is_free_on_the_node_too(netns: Namespace, mode: Mode) -> None:
    """Before Linux 6.15 the kernel looks for a new slave's index where its parent is."""
    place = place_of(mode)
    with Namespace("node") as node, open_namespace(netns.path) as pod_namespace:
        node.ip(f"link add taken index {place.pod_index} type veth peer name other")
        netns.ip(f"link add taken index {place.pod_index + 1} type veth peer name other")
        found = node.run(pod.with_free_indexes, place, pod_namespace)
    taken = 2 if mode is Mode.IPVLAN else 0
    assert found.pod_index == place.pod_index + taken
    assert found.host_index == place.host_index


def test_a_namespace_is_entered_once_to_remove_a_slave(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[int] = []

    def enter(namespace: int, work: Callable[[], None]) -> None:
        entered.append(namespace)
        in_namespace(namespace, work)

    monkeypatch.setattr(slaves, "in_namespace", enter)
    pod.remove_links(place_of(Mode.IPVLAN), netns.path)
    assert len(entered) == 1


def test_an_add_to_a_running_pod_repairs_it_without_touching_its_link(
    bench: OneENI, netns: Namespace
) -> None:
    bench.add(netns.path)
    whole = bench.state()
    netns.sysctl("net/ipv4/conf/eth0/medium_id", "7")  # a new interface would have 0
    eni = bench.place().eni
    rule = names.RULE_FROM_POD if eni.ipvlan else names.RULE_FROM_VETH_POD
    bench.node.namespace.ip(
        f"route flush table {eni.pods_table}", f"rule del prio {rule}", "link set ens7 down"
    )
    bench.add(netns.path)
    assert bench.state() == whole
    assert bench.check(netns.path) == ()
    assert netns.sysctl("net/ipv4/conf/eth0/medium_id") == "7"
    bench.delete(netns.path)


def test_at_every_step_from_the_gateway_of_before_a_pod_reaches_the_outside(
    bench: OneENI, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fe80::1 was the gateway of l2 pods that an upgraded agent finds."""
    place, run = bench.place(), bench.node.namespace.run
    with open_namespace(netns.path) as namespace:
        with monkeypatch.context() as before:
            before.setattr(names, "GATEWAY_V6_L2", "fe80::1")
            plan_pod.cache_clear()
            run(pod.build, place, namespace, Stopwatch())
        plan_pod.cache_clear()
        run(bench.node.datapath.finish_add, bench.pod)
        found = run(pod.compare_inside, place, namespace)
        assert bool(found) == (bench.eni.datapath.ipvlan_mode is IPVlanMode.L2)
        for number, operation in enumerate(found):
            assert netns.ping(neutron.OUTSIDE_6), f"after {number} of {len(found)} steps"
            netns.run(one, operation)
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)


def test_a_lower_mtu_of_a_plugin_after_openeni_stays_and_a_higher_one_does_not(
    bench: OneENI, netns: Namespace
) -> None:
    bench.add(netns.path)
    netns.ip("link set eth0 mtu 1300")
    assert bench.check(netns.path) == ()
    netns.ip("route flush dev eth0")
    bench.add(netns.path)  # repairs the rest
    assert bench.check(netns.path) == ()
    assert " mtu 1300 " in netns.program("ip", "link", "show", "eth0")
    netns.ip("link set eth0 mtu 1500")
    assert len(bench.check(netns.path)) == 1
    bench.add(netns.path)
    assert f" mtu {bench.eni.mtu} " in netns.program("ip", "link", "show", "eth0")
    bench.delete(netns.path)


def test_a_foreign_interface_of_that_name_is_kept_and_named_in_the_error(
    bench: OneENI, netns: Namespace
) -> None:
    before = bench.state()
    netns.ip("link add eth0 type veth peer name theirs")
    with pytest.raises(Exception, match="EEXIST"):
        bench.add(netns.path)
    assert "eth0" in netns.links()
    assert bench.state() == before


def test_a_stray_is_removed_by_its_addresses_alone(bench: OneENI, netns: Namespace) -> None:
    before = bench.state()
    bench.add(netns.path)
    assert bench.node.pod_addresses() == set(bench.addresses)
    bench.node.look()
    assert bench.node.pod_addresses() == set(bench.addresses)
    bench.node.look(strays=bench.addresses)
    assert bench.state() == before
    bench.delete(netns.path)


def test_foreign_objects_for_the_same_address_stay(bench: OneENI, netns: Namespace) -> None:
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
