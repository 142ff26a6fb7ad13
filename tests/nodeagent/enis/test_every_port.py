"""Each port of an ENI has its place: its pods keep their network, or its NIC is no way in.

Whatever the API says of it: not attached, no port any more, another port.
"""

from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Reason, Type, find
from openeni_crds.enipool import IPVlanMode
from openeni_crds.meta import Json
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath_api import Hold, NodeReport, NodeSnapshot, WantedNode
from openeni_nodeagent.looks import datapath_reconciler
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost, is_link_ready, known_enis
from openeni_testing.agent.real_node import PRIMARY, RealNode
from openeni_testing.network.attacks import DISCARD, datagram, received, sending
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import GATEWAY, Port, vm
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
OLD, NEW = node_objects.mac(0), node_objects.mac(9)
OTHERS = ("10.98.0.104", "10.98.0.105", "10.98.0.106")
METADATA = "169.254.169.254"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[WantedNode]:
    """Return what the looks that have ended wanted."""
    ended: list[WantedNode] = []
    reconcile = KernelDatapath.reconcile

    def noted(
        self: KernelDatapath, found: NodeSnapshot, wanted: WantedNode, hold: Hold
    ) -> NodeReport:
        report = reconcile(self, found, wanted, hold)
        ended.append(wanted)
        return report

    monkeypatch.setattr(KernelDatapath, "reconcile", noted)
    monkeypatch.setattr(datapath_reconciler, "LOOK_PERIOD_SECONDS", 1.0)
    return ended


@pytest.fixture(params=MODES)
def node(tmp_path: Path, executable: Path, request: pytest.FixtureRequest) -> Generator[RealNode]:
    made = RealNode(AgentHost(tmp_path, executable), request.param)
    yield made
    made.close()


def wait_for_look(looks: list[WantedNode], fits: Callable[[WantedNode], bool]) -> None:
    begun = len(looks)
    wait_for(lambda: any(map(fits, looks[begun + 1 :])), "a look that wants it has ended")


def departs(mac: str, wanted: WantedNode) -> bool:
    return mac in {eni.mac for eni in wanted.departing}


def is_served(mac: str, wanted: WantedNode) -> bool:
    return mac in {eni.mac for eni in wanted.enis}


def reaches_node(node: RealNode, remote: Namespace, mac: str) -> bool:
    """Return True if a machine of the pods' network reaches the node by the MAC."""
    frame = datagram(REMOTE.addresses[0], "10.99.0.11", (REMOTE.mac, mac), (4000, DISCARD))
    return received(remote, sending(remote, "eth0", frame), "10.99.0.11", node.space) != []


def link_reason(node: RealNode) -> str:
    found = find(node.host.eni().status.conditions, Type.LINK_READY)
    return found.reason if found else ""


def show_no_port(node: RealNode) -> None:
    operations = [{"op": "remove", "path": "/status/port"}]
    node.host.store.patch(names.ENIS, "pods-0", operations=operations, subresource="status")


def show(node: RealNode, port: Json) -> None:
    operations = [{"op": "replace", "path": "/status/port", "value": port}]
    node.host.store.patch(names.ENIS, "pods-0", operations=operations, subresource="status")


def show_another_port(node: RealNode) -> None:
    """The operator has lost the first port, created another, and Nova has attached that."""
    port = Port("pods-0-b", NEW, OTHERS)
    node.network.plug(node.space, "ens9", port)
    value = node_objects.port(3, 9) | {
        "id": "port-b",
        "macAddress": NEW,
        "primary": [OTHERS[0]],
        "addresses": list(OTHERS[1:]),
    }
    show(node, value)
    wait_for(lambda: node.host.node_status().mac_address == NEW and node.is_ready(), "it is ready")


def test_one_that_is_said_to_be_detached_is_no_way_in(
    node: RealNode, looks: list[WantedNode]
) -> None:
    store = node.host.store
    with vm(node.network, "remote", REMOTE) as remote, node.agent():
        node_objects.write_operator_status(store, attached=False)
        wait_for_look(looks, partial(departs, OLD))
        assert not reaches_node(node, remote, OLD)
        node_objects.write_operator_status(store)
        wait_for(node.is_ready, "it serves again")
        assert not reaches_node(node, remote, OLD)
        with Namespace("web") as pod:
            node.add(pod)
            assert pod.ping(GATEWAY)


def test_one_that_departs_is_ready_again_only_when_it_is_served(
    node: RealNode, looks: list[WantedNode]
) -> None:
    with Namespace("web") as pod, node.agent() as agent:
        node.add(pod)
        node_objects.write_operator_status(node.host.store, attached=False)
        wait_for_look(looks, partial(is_served, OLD))
        assert node.is_ready(), "a pod uses it"
        begun = len(looks)
        assert node.runtime(pod).call("DEL", "web").code == 0
        wait_for(lambda: any(departs(OLD, wanted) for wanted in looks[begun:]), "it departs")
        assert not is_link_ready(agent, "pods-0")


def test_one_that_the_status_does_not_show_serves_its_pods_and_then_is_no_way_in(
    node: RealNode, looks: list[WantedNode]
) -> None:
    with Namespace("web") as pod, vm(node.network, "remote", REMOTE) as remote, node.agent():
        node.add(pod)
        show_no_port(node)
        wait_for_look(looks, partial(is_served, OLD))
        assert pod.ping(GATEWAY)
        assert pod.ask(METADATA, 80) is None
        assert node.network.dropped() == {}
        assert node.runtime(pod).call("DEL", "web").code == 0
        wait_for_look(looks, partial(departs, OLD))
        assert not reaches_node(node, remote, OLD)


def test_a_former_one_serves_its_pods_and_then_is_no_way_in(
    node: RealNode, looks: list[WantedNode]
) -> None:
    with (
        Namespace("web") as pod,
        Namespace("next") as other,
        vm(node.network, "remote", REMOTE) as remote,
        node.agent() as agent,
    ):
        node.add(pod)
        show_another_port(node)
        wait_for_look(looks, partial(is_served, OLD))
        assert node.host.node_status().granted == 0, "the pod is of the former port"
        assert node.add(other) in OTHERS
        assert pod.ping(GATEWAY)
        assert node.problem(pod) == ""
        assert node.network.dropped() == {}
        assert node.runtime(pod).call("DEL", "web").code == 0
        wait_for_look(looks, partial(departs, OLD))
        assert not reaches_node(node, remote, OLD)
        assert not reaches_node(node, remote, NEW)
        node.network.unplug(node.port)
        wait_for(lambda: known_enis(agent) == {"pods-0"}, "it is forgotten with its NIC")


def test_pods_of_a_former_one_are_built_again_when_it_is_plugged_again(
    node: RealNode, looks: list[WantedNode]
) -> None:
    with Namespace("web") as pod, node.agent():
        node.add(pod)
        show_another_port(node)
        wait_for_look(looks, partial(is_served, OLD))
        node.network.unplug(node.port)
        wait_for_look(looks, partial(is_served, OLD))
        node.plug("ens8")
        wait_for(lambda: "eth0" in pod.links() and pod.ping(GATEWAY), "it has its network")
        assert node.is_ready(), "the present port has never been gone"


@pytest.mark.parametrize("mac", [OLD, NEW])
def test_pods_follow_their_addresses_to_the_port_that_was_made_anew(
    node: RealNode, looks: list[WantedNode], mac: str
) -> None:
    """Somebody has deleted the first in Neutron. Clouds hand out the lowest free addresses."""
    with Namespace("web") as pod, node.agent() as agent:
        address = node.add(pod)
        node.network.unplug(node.port)
        again = Port("pods-0-b", mac, (PRIMARY, *node_objects.addresses(3)))
        node.network.plug(node.space, "ens9", again)
        if node.datapath.ipvlan_mode is IPVlanMode.L3:
            node.network.answer_arp(again)
        value = node_objects.port(3) | {"id": "port-b", "macAddress": mac}
        assert address in value["addresses"]
        show(node, value)
        wait_for_look(looks, partial(is_served, mac))
        wait_for(lambda: "eth0" in pod.links() and pod.ping(GATEWAY), "it has its network")
        wait_for(node.is_ready, "the port is ready")
        wait_for(lambda: known_enis(agent) == {"pods-0"}, "nothing of the first is left")
        wait_for(lambda: node.host.node_status().granted == 1, "its counts are the port's")


def test_one_whose_object_goes_before_its_nic_is_no_way_in(
    node: RealNode, looks: list[WantedNode]
) -> None:
    """Somebody takes its finalizer off, or Nova does not detach the port."""
    store = node.host.store
    with vm(node.network, "remote", REMOTE) as remote, node.agent() as agent:
        store.delete(names.ENIS, "pods-0")
        wait_for(lambda: link_reason(node) == Reason.DELETING, "the agent has left it")
        done: list[Json] = [{"op": "replace", "path": "/metadata/finalizers", "value": []}]
        store.patch(names.ENIS, "pods-0", operations=done)
        wait_for_look(looks, partial(departs, OLD))
        assert known_enis(agent) == {"pods-0"}
        node.space.ip("link set ens7 up", "addr add 10.98.0.4/24 dev ens7")
        wait_for_look(looks, partial(departs, OLD))
        assert not reaches_node(node, remote, OLD)
        node.network.unplug(node.port)
        wait_for(lambda: known_enis(agent) == set(), "it is forgotten with its NIC")
