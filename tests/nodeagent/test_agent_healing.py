"""A running agent restores what others change of a real kernel: as soon as the kernel says so."""

import socket
import threading
from collections.abc import Callable, Collection

import pytest

from openeni_crds import names
from openeni_crds.names import host_link
from openeni_kube.answers import Diagnosis
from openeni_kube.clock import boot_seconds
from openeni_nodeagent import agent
from openeni_nodeagent.ask.diagnose import diagnose
from openeni_nodeagent.datapath.inside import reachability
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.dumps import answers
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.pyroute2_classes import ConntrackMessage
from openeni_nodeagent.datapath_api import PodInterface
from openeni_nodeagent.reports import repair_events
from openeni_nodeagent.requeues import Requeues
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import known_enis, reserved
from openeni_testing.agent.real_node import RealNode
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.objects import remove
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
BRIEF = f"from 192.0.2.1 lookup 7 priority 32000 protocol {names.PROTOCOL}"
SOON = 20.0  # before the periodic look, however slow the machine is


def flush_rules(node: RealNode) -> None:
    node.space.program("ip", "rule", "flush", "protocol", str(names.PROTOCOL))


def flush_filters(node: RealNode) -> None:
    node.space.nft("flush ruleset")


def flush_routes(node: RealNode) -> None:
    node.space.program("ip", "route", "flush", "dev", "ens7")


def flap(node: RealNode) -> None:
    node.space.ip("link set ens7 down", "link set ens7 up")


def rename(node: RealNode) -> None:
    node.space.ip("link set ens7 down", "link set ens7 name ens99")


def plug_again(node: RealNode) -> None:
    node.network.unplug(node.port)
    node.port = node.plug("ens8")


@pytest.mark.parametrize(
    "damage", [flush_rules, flush_filters, flush_routes, flap, rename, plug_again]
)
def test_what_others_change_is_restored_at_once(
    node: RealNode, damage: Callable[[RealNode], None]
) -> None:
    with Namespace("web") as pod, Namespace("db") as other, node.agent():
        node.add(pod)
        assert node.problem(pod) == ""
        damage(node)
        wait_for(lambda: node.problem(pod) == "", "the pod is as planned again", SOON)
        assert pod.ping("10.98.0.1")
        wait_for(node.is_ready, "the link is ready")
        node.add(other)
        assert other.ping("10.98.0.1")
        assert node.network.dropped() == {}


def test_rules_that_somebody_flushes_again_and_again_are_an_event_on_the_node(
    node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair_events, "APART_SECONDS", 0.0)
    with node.agent():
        for _ in range(repair_events.TIMES):
            flush_rules(node)
            wait_for(lambda: [line for line in node.ours() if "lookup 9999" in line], "the rules")
        (event,) = wait_for(lambda: node.host.store.list(names.EVENTS).items, "an event")
    assert (event["reason"], event["action"]) == ("RepairsRepeated", "RestoreRule")
    assert "IPv4 rule 32800 from 10.98.0.0/24" in event["note"]
    assert "ManageForeignRoutingPolicyRules=no" in event["note"]


def test_what_is_wrong_when_an_agent_starts_is_restored_without_the_api_server(
    node: RealNode,
) -> None:
    with Namespace("web") as pod:
        with node.agent():
            node.add(pod)
        flush_rules(node)
        flush_filters(node)
        pod.ip("route flush dev eth0")
        node.host.store.set_outage(outage=True)
        with node.agent(ready=False):
            wait_for(lambda: node.problem(pod) == "", "all is as planned", SOON)
            assert pod.ping("10.98.0.1")
        node.host.store.set_outage(outage=False)


def test_routes_to_pods_name_the_nodes_address_again_once_it_is_back(node: RealNode) -> None:
    def route() -> str:
        return node.space.program("ip", "route", "show", "table", str(names.TABLE_PODS))

    with Namespace("web") as pod, node.agent():
        address = node.add(pod)
        assert "src 10.99.0.11" in route()
        node.space.ip("addr del 10.99.0.11/24 dev eth0")
        wait_for(lambda: address in route() and "src" not in route(), "one without it", SOON)
        node.space.ip("addr add 10.99.0.11/24 dev eth0")
        wait_for(lambda: "src 10.99.0.11" in route(), "one with it", SOON)


def test_a_pod_whose_link_is_deleted_is_built_again_with_its_address(
    node: RealNode, caplog: pytest.LogCaptureFixture
) -> None:
    with Namespace("web") as pod, node.agent():
        address = node.add(pod)
        pod.ip("link del eth0")
        # CHECK would keep the look off the pod
        wait_for(lambda: "eth0" in pod.program("ip", "-o", "link"), "the link is there", SOON)
        wait_for(lambda: node.problem(pod) == "", "the pod is as planned again", SOON)
        assert address in pod.program("ip", "addr")
        assert pod.ping("10.98.0.1")
        assert "repaired: pod default/web had no whole datapath" in caplog.text


def test_a_pod_that_cannot_be_reached_holds_up_no_look(
    node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rules of its own it is root in its namespace, and no route leads to its address."""
    node_objects.write_operator_status(node.host.store, dual=True)
    with Namespace("web") as pod, node.agent():
        node.add(pod)
        whole = node.ours()
        monkeypatch.setattr(reachability, "_SECONDS", 2 * SOON)
        pod.program("ip", "-6", "rule", "add", "pref", "1", "unreachable")
        pod.program("ip", "-6", "rule", "del", "pref", "0")  # where local addresses are looked up
        pod.ip("link del eth0")
        wait_for(lambda: "eth0" in pod.links(), "the pod is built again", SOON)
        flush_rules(node)
        wait_for(lambda: node.ours() == whole, "the rules", SOON)


def test_a_look_leaves_the_links_of_a_del_to_it_and_calls_them_no_damage(
    node: RealNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proceed = threading.Event()
    finish = KernelDatapath.finish_delete

    def finish_late(
        datapath: KernelDatapath, pod: PodInterface, netns: str, kept: Collection[str]
    ) -> None:
        proceed.wait(SOON)
        finish(datapath, pod, netns, kept)

    monkeypatch.setattr(KernelDatapath, "finish_delete", finish_late)
    with Namespace("web") as pod, node.agent() as agent:
        node.add(pod)
        link = host_link("web", "eth0")
        assert node.runtime(pod).call("DEL", "web").code == 0
        node.space.ip(f"rule add {BRIEF}", f"rule del {BRIEF}")  # asks for a look
        wait_for(lambda: reserved(agent) == frozenset(), "a look that began after it")
        assert link in node.space.links()
        proceed.set()
        wait_for(lambda: link not in node.space.links(), "the DEL removes the link")
    assert "repaired" not in caplog.text


def test_an_add_into_a_namespace_that_a_del_has_just_left_finds_no_interface(
    node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime may keep the namespace of a container that failed for the next one."""

    def wait(_: Requeues, key: str) -> None:
        """Its turn does not come."""

    monkeypatch.setattr(Requeues, "disconnected", wait)
    with Namespace("web") as pod, node.agent():
        node.add(pod)
        assert node.runtime(pod).call("DEL", "web").code == 0
        assert "eth0" in pod.links()
        uid = node_objects.make_pod(node.host.store, "next")
        answer = node.runtime(pod).call("ADD", "next", uid, "next")
        assert answer.code == 0, answer
        assert host_link("web", "eth0") not in node.space.links()
        assert pod.ping("10.98.0.1")


def test_an_eni_that_went_while_no_agent_ran_leaves_nothing(node: RealNode) -> None:
    with node.agent():
        assert node.ours()
    guards = list(node.host.settings.networkd.iterdir())
    assert guards
    remove(node.host.store, names.ENIS, "pods-0")
    node.network.unplug(node.port)
    with node.agent(ready=False) as agent:
        wait_for(lambda: node.ours() == [], "nothing of it is left")
        wait_for(lambda: known_enis(agent) == set(), "the journal forgets it")
        wait_for(lambda: list(guards[0].parent.iterdir()) == [], "its guards are removed")


def asked(node: RealNode) -> Diagnosis:
    """Ask as `openeni diagnose` does: by another process beside the agent, if one runs."""

    def ask() -> Diagnosis:
        return diagnose(node.host.settings, node.host.store, KernelDatapath(), "boot")

    return node.space.run(ask)


def test_who_is_asked_beside_the_agent_finds_nothing_and_then_what_others_changed(
    node: RealNode,
) -> None:
    with Namespace("web") as pod:
        with node.agent():
            node.add(pod)
            wait_for(lambda: node.host.store.list(names.PODIPS).items, "the PodIP")
            whole = Diagnosis(compared={"ENIs": 1, "pods": 1, "PodIPs": 1})
            wait_for(lambda: asked(node) == whole, "nothing differs")
        flush_rules(node)
        pod.ip("route flush dev eth0")
        broken = node.ours()
        found = {(d.kind, d.name): d.message for d in asked(node).differences}
        assert found.keys() == {("ENI", "pods-0"), ("PodIP", "default/web")}
        assert "rule" in found["ENI", "pods-0"]
        assert "route" in found["PodIP", "default/web"]
        assert node.ours() == broken


def test_flows_of_a_pod_whose_del_was_cut_off_are_not_its_heirs(
    node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent ended after the answer; a client keeps an entry of UDP as long as it sends."""
    with Namespace("pod") as pod:
        with monkeypatch.context() as killed, node.agent():
            killed.setattr(KernelDatapath, "finish_delete", cut_off)
            address = node.add(pod)
            assert pod.ask(neutron.GATEWAY, 80)
            node.runtime(pod).call("DEL", pod.name)
        assert mentions(node, address)
        with node.agent():
            wait_for(lambda: not mentions(node, address), "its flows are forgotten")


def test_flows_of_an_address_that_has_cooled_down_are_others(
    node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neutron may have given it to a pod of another node, with which this node's pods talk."""
    with Namespace("pod") as pod:
        with node.agent():
            address = node.add(pod)
            node.runtime(pod).call("DEL", pod.name)
            wait_for(lambda: not mentions(node, address), "the end of its own flows")
        monkeypatch.setattr(agent, "boot_seconds", lambda: boot_seconds() + 2 * 3600)
        node.space.send(address)
        assert mentions(node, address)
        with node.agent():
            assert mentions(node, address)


def cut_off(*_: object) -> None: ...


def mentions(node: RealNode, address: str) -> bool:
    """Return True if conntrack has an entry with the address."""
    packed = socket.inet_aton(address)

    def read() -> bool:
        with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
            kind = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.IPCTNL_MSG_CT_GET
            return any(packed in raw for raw in answers(netfilter, kind, ConntrackMessage()))

    return node.space.run(read)
