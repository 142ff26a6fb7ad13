"""A NIC that is renamed, plugged again or taken down: the next configuration puts all right."""

from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath_api import NICMissingError, PodInterface
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import Node
from openeni_testing.network.reached_pod import SECOND, ReachedPod

pytestmark = pytest.mark.root


def test_a_renamed_nic_is_a_difference_where_the_kernel_has_its_name(bench: ReachedPod) -> None:
    """From Linux 6.2 on udev renames a link that is up."""
    bench.node.namespace.ip("link set ens7 name eth9")
    assert bench.check() != ()
    _, index = bench.configure()
    assert bench.configure() == ("eth9", index)
    assert bench.check() == ()
    bench.assert_connected()
    assert bench.pod.namespace.ask(neutron.METADATA, 80) is None


def rename(bench: ReachedPod, before: str, after: str) -> None:
    by_hand = (f"{before} down", f"{before} name {after}", f"{after} up")
    bench.node.namespace.ip(*(f"link set {what}" for what in by_hand))


def test_a_nic_with_a_name_as_pods_links_have_is_an_error_until_it_has_another_one(
    bench: ReachedPod,
) -> None:
    """Filters would take what comes from the network for what a pod sends."""
    rename(bench, "ens7", "oeni0")
    report = bench.node.look()
    assert str(report.errors[bench.eni.name]).startswith("NIC oeni0 has a name as openeni gives")
    rename(bench, "oeni0", "eth9")
    bench.node.look()
    assert bench.check() == ()
    bench.assert_connected()


def test_an_add_repairs_what_a_renamed_nic_has_lost(bench: ReachedPod) -> None:
    bench.node.namespace.ip("link set ens7 name eth9")
    bench.add_again()
    assert bench.check() == ()
    bench.assert_connected()


def test_a_nic_that_is_plugged_again_works_under_its_new_index(bench: ReachedPod) -> None:
    _, before = bench.configure()
    bench.network.unplug(bench.port)
    bench.plug("ens7")
    _, index = bench.configure()
    assert index != before
    assert "repair" not in bench.add("second", SECOND).pod_network.phases  # it is known anew
    bench.add_again()
    assert bench.check() == ()
    bench.assert_connected()
    assert traces(bench.node, before) == []


def masquerade(node: Namespace) -> None:
    """Give what leaves by the node's own NIC the node's address, so that it is answered."""
    hook = "type nat hook postrouting priority 100; oifname eth0 masquerade;"
    node.nft(f"table inet theirs {{ chain c {{ {hook} }}; }}")


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_while_it_is_found_again_no_pod_leaves_by_the_nodes_own_nic(bench: ReachedPod) -> None:
    """A pod's link gets the group of the new index once the ENI's chains go by that."""
    pod, node = bench.pod.namespace, bench.node
    masquerade(node.namespace)
    bench.network.unplug(bench.port)
    node.look()
    bench.port = bench.plug("ens7")
    answers: list[object] = []

    @contextmanager
    def hold(pods: Collection[PodInterface]) -> Generator[frozenset[PodInterface]]:
        answers.extend(pod.ask(to, 80) for to in (neutron.METADATA, neutron.OUTSIDE))
        yield frozenset(pods)

    node.look(hold=hold)
    assert answers == [None, None]
    assert bench.network.dropped() == {}
    bench.assert_connected()


def flush_rules(node: Namespace, family: str, _: int) -> None:
    node.program("ip", family, "rule", "flush")
    node.program("ip", family, "rule", "add", "pref", "32766", "lookup", "main")


def delete_route(node: Namespace, family: str, index: int) -> None:
    """The last one of the ENI's table, which `ip -6 route flush` leaves (iproute2, iproute.c)."""
    table = str(names.eni_table(index))
    node.program("ip", family, "route", "del", "unreachable", "default", "table", table)


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
@pytest.mark.parametrize("family", ["-4", "-6"])
@pytest.mark.parametrize("damage", [flush_rules, delete_route])
def test_what_goes_while_it_is_missing_is_restored(
    bench: ReachedPod, damage: Callable[[Namespace, str, int], None], family: str
) -> None:
    """It keeps the pods from the node's own NIC."""
    pod, node = bench.pod.namespace, bench.node
    _, index = bench.configure()
    masquerade(node.namespace)
    bench.network.unplug(bench.port)
    node.look()
    damage(node.namespace, family, index)
    node.look()
    assert pod.ask({"-4": neutron.OUTSIDE, "-6": neutron.OUTSIDE_6}[family], 80) is None
    assert bench.network.dropped() == {}


def test_an_add_to_a_nic_that_was_plugged_again_needs_no_other_help(bench: ReachedPod) -> None:
    bench.network.unplug(bench.port)
    bench.plug("ens8")
    second = bench.add("second", SECOND)
    assert "repair" in second.pod_network.phases
    assert second.namespace.ping(neutron.GATEWAY)
    bench.add_again()
    bench.assert_connected()
    bench.node.look()  # what sets have by the former index goes
    assert bench.check() == ()


def test_an_add_to_a_nic_that_a_look_has_missed_is_refused_at_once(bench: ReachedPod) -> None:
    bench.network.unplug(bench.port)
    bench.node.look()
    with pytest.raises(NICMissingError, match=r"eni cannot be used \(yet\)"):
        bench.add_again()


def test_a_nic_that_somebody_has_put_into_a_bridge_comes_out_before_it_gets_slaves(
    bench: ReachedPod,
) -> None:
    bench.network.unplug(bench.port)
    bench.plug("ens7")
    bench.node.namespace.ip("link add br9 type bridge", "link set ens7 master br9")
    bench.configure()
    bench.add_again()
    bench.assert_connected()


def test_a_nic_that_was_down_gets_its_routes_back(bench: ReachedPod) -> None:
    bench.node.namespace.ip("link set ens7 down", "link set ens7 up")
    assert bench.check() != ()
    bench.configure()
    bench.add_again()  # what went with the link of its pods
    assert bench.check() == ()
    bench.assert_connected()


def test_what_finds_no_route_in_an_enis_table_does_not_leave_by_the_nodes_nic(
    bench: ReachedPod,
) -> None:
    table = str(names.eni_table(bench.configure()[1]))
    for family in ("-4", "-6")[: bench.families]:
        bench.node.namespace.program("ip", family, *f"route flush table {table} dev ens7".split())
    pod = bench.pod.namespace
    for outside in (neutron.OUTSIDE, neutron.OUTSIDE_6)[: bench.families]:
        assert pod.ask(outside, 80) is None
    assert bench.network.dropped() == {}
    bench.configure()
    bench.assert_connected()


def traces(node: Node, index: int) -> list[str]:
    """Return what is left of an ENI that had this index."""
    table = str(names.eni_table(index))
    words = ("rule",), ("route", "show", "table", "all")
    commands = [("ip", family, *rest) for family in ("-4", "-6") for rest in words]
    listed = "".join(node.namespace.program(*command) for command in commands)
    listed += node.namespace.program("nft", "list", "ruleset")
    return [line for line in listed.splitlines() if {table, f"eni{index}"} & {*line.split()}]


def test_a_del_without_the_nic_leaves_nothing_of_the_pod(bench: ReachedPod) -> None:
    bench.network.unplug(bench.port)
    bench.node.look()
    bench.node.delete(bench.pod)
    assert bench.node.pod_addresses() == set()
