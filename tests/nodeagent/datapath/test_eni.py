"""An ENI on the node: found by its MAC, flushed, given its route table, and released."""

from dataclasses import replace
from pathlib import Path

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    ModeUnsupportedError,
    NamespaceGoneError,
    NICMissingError,
)
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port, vm
from openeni_testing.network.node import MTU, Node, Pod, eni_facts, pod_interface
from openeni_testing.network.reached_pod import ReachedPod

pytestmark = pytest.mark.root
VETH = Datapath(Mode.VETH)
MODES = [
    pytest.param(VETH, id="veth"),
    *(
        pytest.param(
            Datapath(Mode.IPVLAN, IPVlanDatapath(mode)),
            id=f"ipvlan-{mode}",
            marks=pytest.mark.ipvlan,
        )
        for mode in IPVlanMode
    ),
]


def plug(network: NeutronNetwork, node: Node, eni: ENIFacts, device: str) -> Port:
    port = Port(eni.name, eni.mac, (*eni.primary, "10.98.0.11"))
    network.plug(node.namespace, device, port)
    return port


def configure(node: Node, eni: ENIFacts) -> str:
    return node.configure(eni).device


def routing(node: Node) -> list[str]:
    """Everything but link-local addresses, which the kernel completes in its own time."""
    commands = (("rule",), ("route", "show", "table", "all"), ("addr",), ("neigh",))
    listed = "".join(
        node.namespace.program("ip", family, *words)
        for words in commands
        for family in ("-4", "-6")
    )
    return [line for line in listed.splitlines() if "fe80:" not in line]


def test_what_the_image_put_on_the_eni_is_flushed_and_the_rest_of_the_node_unchanged(
    network: NeutronNetwork, node: Node
) -> None:
    eni = eni_facts("eni", 10, VETH)
    plug(network, node, eni, "eth5")
    node.namespace.ip(
        "link set eth5 mtu 1500 up",
        "addr add 10.98.0.10/24 dev eth5",
        "addr add 10.98.0.11/24 dev eth5",
        "addr add fd98::bad/64 dev eth5 nodad",
        "route add default via 10.98.0.1 dev eth5 metric 50 proto dhcp",
        "route add 198.51.100.0/24 dev eth0 proto 93",
        "rule add from 198.51.100.1 lookup 77 prio 600 protocol 93",
        "neigh add 10.99.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
    )
    node.namespace.nft("table inet theirs { chain c { tcp dport 1 accept; }; }")
    assert configure(node, eni) == "eth5"
    link = node.namespace.program("ip", "-brief", "addr", "show", "eth5").split()
    assert link[1:] == ["UP", "10.98.0.10/32"]
    assert f"mtu {MTU}" in node.namespace.program("ip", "link", "show", "eth5")
    node.namespace.ip("route add default dev eth5 metric 51 proto dhcp")  # a lease's renewal
    configure(node, eni)
    main = node.namespace.program("ip", "route")
    assert "eth5" not in main
    for foreign in ("198.51.100.0/24 dev eth0 proto 93", "from 198.51.100.1", "10.99.0.77"):
        assert any(foreign in line for line in routing(node))
    assert "theirs" in node.namespace.program("nft", "list", "tables")


def test_configuring_an_eni_again_changes_nothing(network: NeutronNetwork, node: Node) -> None:
    eni = eni_facts("eni", 10, VETH, dual=True)
    plug(network, node, eni, "eth5")
    configure(node, eni)
    before = routing(node)
    with node.namespace.watching() as seen:
        configure(node, eni)
        assert seen() == 0
    assert routing(node) == before


@pytest.mark.parametrize("datapath", MODES)
def test_a_released_eni_is_down_and_bare_and_the_node_as_before(
    network: NeutronNetwork, node: Node, datapath: Datapath
) -> None:
    eni = eni_facts("eni", 10, datapath)
    node.namespace.ip("link add spare type veth peer name unneeded")
    before = routing(node), node.namespace.program("nft", "list", "ruleset")
    port = plug(network, node, eni, "eth5")
    configure(node, eni)
    pod = node.add("pod", eni, "10.98.0.11")
    node.delete(pod)
    assert node.release(eni).departed.keys() == {eni.name}
    state = node.namespace.program("ip", "-brief", "addr", "show", "eth5").split()
    assert state == [state[0], "DOWN"]
    network.unplug(port)
    ruleset = node.namespace.program("nft", "list", "ruleset")
    assert (routing(node), ruleset) == before
    assert node.look(departing=(eni,)).departed.keys() == {eni.name}


@pytest.mark.parametrize("datapath", MODES)
def test_after_release_an_unplugged_nic_leaves_nothing_behind(
    network: NeutronNetwork, node: Node, datapath: Datapath
) -> None:
    before = routing(node)
    eni = eni_facts("eni", 10, datapath)
    port = plug(network, node, eni, "eth5")
    configure(node, eni)
    pod = node.add("pod", eni, "10.98.0.11")
    network.unplug(port)
    with pytest.raises(NICMissingError, match="eni"):
        node.add("second", eni, "10.98.0.12")
    node.delete(pod)
    assert node.release(eni).departed.keys() == {eni.name}
    assert routing(node) == before
    assert "eni" not in node.namespace.program("nft", "list", "ruleset").replace("openeni", "")


@pytest.mark.parametrize("datapath", MODES)
def test_a_pod_without_ipv6_sends_none(
    network: NeutronNetwork, node: Node, datapath: Datapath
) -> None:
    eni = eni_facts("eni", 10, datapath)
    port = node.attach("eth5", eni, ("10.98.0.11",))
    if datapath.ipvlan_mode is IPVlanMode.L3:  # the network's answer, not ours
        network.answer_arp(port)
    pod = node.add("pod", eni, "10.98.0.11")
    for namespace, device in ((pod.namespace, "eth0"), (node.namespace, "eth5")):
        # Nothing is on its way: what a link has to say later ends where IPv6 is switched off
        # (net/ipv6/addrconf.c, addrconf_ifdown).
        assert namespace.sysctl(f"net/ipv6/conf/{device}/disable_ipv6") == "1"
        assert namespace.program("ip", "-6", "addr", "show", "dev", device) == ""
    said = pod.namespace.program("cat", "/proc/net/snmp6").split()
    assert said[said.index("Ip6OutRequests") + 1] == "0"
    assert pod.namespace.ping("10.98.0.1")  # what left before has been counted when this is back
    assert network.dropped() == {}


@pytest.mark.parametrize("datapath", MODES)
def test_an_address_that_moves_to_another_eni_is_reached_at_once(
    network: NeutronNetwork, node: Node, datapath: Datapath
) -> None:
    """Its peers have the old ENI's MAC in their neighbour tables and would keep using it."""
    remote = vm(network, "remote", Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::c8")))
    first, second = eni_facts("first", 10, datapath), eni_facts("second", 20, datapath)
    node.attach("eth5", first, ("10.98.0.11",))
    node.attach("eth6", second, ("10.98.0.11",))
    node.delete(_reached_from(remote, node, first))
    pod = _reached_from(remote, node, second)
    assert second.mac in remote.program("ip", "neigh", "show", "10.98.0.11")
    node.delete(pod)
    remote.close()


def _reached_from(remote: Namespace, node: Node, eni: ENIFacts) -> Pod:
    pod = node.add(f"pod-{eni.name}", eni, "10.98.0.11")
    if eni.datapath.ipvlan_mode is IPVlanMode.L3:  # the network's answer, not ours
        remote.ip(f"neigh replace 10.98.0.11 lladdr {eni.mac} dev eth0 nud reachable")
    assert remote.ask("10.98.0.11", 80) == (pod.namespace.name, "10.98.0.200")
    return pod


def test_without_its_nic_an_eni_cannot_be_configured(node: Node) -> None:
    eni = eni_facts("eni", 10, VETH)
    with pytest.raises(NICMissingError, match=r"fa:16:3e:98:00:0a.*attached"):
        configure(node, eni)


def test_a_renamed_nic_is_found_again_by_its_mac(network: NeutronNetwork, node: Node) -> None:
    eni = eni_facts("eni", 10, VETH)
    plug(network, node, eni, "eth5")
    configure(node, eni)
    node.namespace.ip("link set eth5 down", "link set eth5 name ens99")
    assert configure(node, eni) == "ens99"
    pod = node.add("pod", eni, "10.98.0.11")
    assert pod.namespace.ping("10.98.0.1")
    assert network.dropped() == {}


@pytest.mark.ipvlan
def test_a_slave_with_the_same_mac_is_not_taken_for_the_nic(
    network: NeutronNetwork, node: Node
) -> None:
    eni = eni_facts("eni", 10, Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2)))
    plug(network, node, eni, "eth5")
    node.namespace.ip("link add a0 link eth5 type ipvlan mode l2")
    assert configure(node, eni) == "eth5"
    assert configure(node, eni) == "eth5"


@pytest.mark.ipvlan
def test_the_mode_of_an_unused_eni_can_change(network: NeutronNetwork, node: Node) -> None:
    l2 = eni_facts("eni", 10, Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2)))
    plug(network, node, l2, "eth5")
    configure(node, l2)
    l3s = replace(l2, datapath=Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S)))
    configure(node, l3s)
    pod = node.add("pod", l3s, "10.98.0.11")
    assert pod.namespace.ping("10.98.0.1")
    assert node.run(node.datapath.check, pod.facts, pod.namespace.path) == ()
    assert network.dropped() == {}


def test_a_mode_that_the_kernel_does_not_support_is_refused_by_name_and_gets_no_pods(
    network: NeutronNetwork, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_veth(datapath: Datapath) -> bool:
        return datapath.mode is Mode.VETH

    monkeypatch.setattr(modes, "_is_supported", is_veth)
    eni = eni_facts("eni", 10, Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S)))
    plug(network, node, eni, "eth5")
    refused = r"kernel does not support mode IPVlanL3S, only Veth"
    with pytest.raises(ModeUnsupportedError, match=refused):
        configure(node, eni)
    with pytest.raises(NICMissingError, match=refused):
        node.add("pod", eni, "10.98.0.11")


def test_the_nodes_own_namespace_is_never_taken_for_a_pods(
    network: NeutronNetwork, node: Node
) -> None:
    eni = eni_facts("eni", 10, VETH)
    plug(network, node, eni, "eth5")
    configure(node, eni)
    before = routing(node)
    facts = node.add("pod", eni, "10.98.0.11").facts
    node.delete(node.pods[0])
    with pytest.raises(DatapathError, match="own network namespace"):
        node.run(node.datapath.add, facts, node.namespace.path)
    assert routing(node) == before


def test_a_lost_filter_is_restored_by_the_next_configuration(
    network: NeutronNetwork, node: Node
) -> None:
    eni = eni_facts("eni", 10, VETH)
    plug(network, node, eni, "eth5")
    configure(node, eni)
    node.namespace.nft("flush ruleset")
    configure(node, eni)
    listed = node.namespace.program("nft", "list", "table", "inet", "openeni")
    assert "reply_in" in listed
    node.namespace.nft("flush chain inet openeni service")
    configure(node, eni)
    assert "snat" in node.namespace.program("nft", "list", "table", "inet", "openeni")


@pytest.mark.parametrize(("left", "listed"), [(True, "has ended"), (False, "no network namespace")])
def test_an_add_to_a_namespace_that_has_ended_fails_and_leaves_nothing(
    network: NeutronNetwork, node: Node, tmp_path: Path, left: bool, listed: str
) -> None:
    """What a runtime leaves: the file that the namespace was mounted on, or not even that."""
    eni = eni_facts("eni", 10, VETH)
    plug(network, node, eni, "eth5")
    configure(node, eni)
    before = routing(node)
    file = tmp_path / "netns"
    if left:
        file.touch()
    pod = pod_interface("pod", eni, "10.98.0.11")
    with pytest.raises(NamespaceGoneError, match=listed):
        node.run(node.datapath.add, pod, str(file))
    node.run(node.datapath.delete, pod)
    node.run(node.datapath.finish_delete, pod, str(file))
    assert routing(node) == before


@pytest.mark.parametrize("datapath", MODES)
def test_an_eni_answers_for_nobody_but_its_pods_whatever_all_links_do(datapath: Datapath) -> None:
    reached = ReachedPod(datapath)
    reached.node.namespace.sysctl("net/ipv4/conf/all/proxy_arp", "1")
    assert not reached.remote.ping("10.98.0.77")  # nobody's
    assert reached.network.dropped() == {}
    reached.assert_connected()
    reached.close()
