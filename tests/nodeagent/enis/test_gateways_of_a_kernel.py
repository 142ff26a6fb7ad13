"""On a kernel: an ENI's gateways are asked, and a condition says what they have answered."""

# pyright: reportPrivateUsage=false

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from select import select
from socket import (
    AF_INET,
    AF_INET6,
    AF_PACKET,
    SOCK_DGRAM,
    SOCK_RAW,
    if_nametoindex,
    inet_aton,
    socket,
)
from threading import Event, Thread

import pytest

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.addresses import link_local
from openeni_nodeagent.datapath.gateways.arp_listener import ARPListener
from openeni_nodeagent.datapath.gateways.kernel_gateways import KernelGateways
from openeni_nodeagent.datapath.linux import dumps
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath_api import KernelRefusedError, LinkFacts
from openeni_nodeagent.enis import gateways
from openeni_nodeagent.gateway_api import Answer
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost
from openeni_testing.agent.real_node import RealNode
from openeni_testing.network import neutron, one_eni
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.waiting import wait_for

GATEWAY = neutron.GATEWAY
L3 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3))
pytestmark = pytest.mark.root
_MSG_CONFIRM = 0x800
SPARE = node_objects.addresses(3)[-1]


@pytest.fixture
def real(
    tmp_path: Path,
    executable: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Generator[RealNode]:
    for period in ("ASK_PERIOD_SECONDS", "SILENT_PERIOD_SECONDS"):
        monkeypatch.setattr(gateways, period, 1.0)
    made = RealNode(AgentHost(tmp_path, executable), request.param)
    yield made
    assert made.network.dropped() == {}
    made.close()


def send(device: str, *frames: bytes) -> None:
    with socket(AF_PACKET, SOCK_RAW, 0) as raw:
        for frame in frames:
            raw.sendto(frame, (device, 0x0806))


def wait_for_reason(node: RealNode, reason: Reason) -> None:
    def is_shown() -> bool:
        found = find(node.host.eni().status.conditions, Type.GATEWAY_REACHABLE)
        return found is not None and found.reason == reason

    wait_for(is_shown, reason)


@pytest.mark.parametrize("real", one_eni.MODES, indirect=True)
def test_in_every_mode_the_kernel_asks_the_gateway(real: RealNode) -> None:
    fabric = real.network.fabric
    with Namespace("web") as pod, real.agent():
        wait_for_reason(real, Reason.REACHABLE)
        fabric.ip(f"addr del {GATEWAY}/24 dev br-pods")
        real.space.ip("neigh flush dev ens7")
        wait_for_reason(real, Reason.GATEWAY_UNREACHABLE)
        real.add(pod)
        fabric.ip(f"addr add {GATEWAY}/24 dev br-pods")
        wait_for_reason(real, Reason.REACHABLE)
        assert pod.ping(GATEWAY)


@pytest.mark.ipvlan
@pytest.mark.parametrize("real", [L3], indirect=True, ids=["ipvlan-L3"])
def test_a_network_that_does_not_answer_for_l3_pods_is_found_out(real: RealNode) -> None:
    with Namespace("web") as pod, real.agent():
        wait_for_reason(real, Reason.REACHABLE)
        real.network.answer_no_arp(real.port)
        wait_for_reason(real, Reason.ARP_UNANSWERED)
        address = real.add(pod)
        real.network.answer_arp(real.port)
        wait_for_reason(real, Reason.REACHABLE)
        assert real.network.fabric.ping(address)


def test_a_gateway_is_asked_by_ipv6_as_well() -> None:
    network, node = NeutronNetwork(), Namespace("node")
    try:
        port = Port("eni", node_objects.mac(0), ("fd98::4", link_local(node_objects.mac(0))))
        network.plug(node, "ens7", port)
        node.ip("addr add fd98::4/64 dev ens7 nodad", "link set ens7 up")
        link = LinkFacts("ens7", node.run(lambda: if_nametoindex("ens7")))
        asked = KernelGateways()

        def answer(gateway: str) -> Answer:
            return node.run(lambda: asked.ask(link, gateway))

        assert answer(neutron.GATEWAY_6) is Answer.NONE
        wait_for(lambda: answer(neutron.GATEWAY_6) is Answer.FRESH, "it has answered")
        assert answer("fd98::99") is answer("fd98::99") is Answer.NONE
        network.fabric.ip(f"addr del {neutron.GATEWAY_6}/64 dev br-pods")
        with node.run(socket, AF_INET6, SOCK_DGRAM) as sender:

            def is_silent() -> bool:
                sender.sendto(b"", _MSG_CONFIRM, (neutron.GATEWAY_6, 9))
                return answer(neutron.GATEWAY_6) is Answer.NONE

            wait_for(is_silent, "it is silent, whatever is confirmed")
        node.ip(
            f"neigh replace {neutron.GATEWAY_6} lladdr 02:00:00:00:00:09 dev ens7 nud permanent"
        )
        assert answer(neutron.GATEWAY_6) is Answer.FIXED
        assert network.dropped() == {}
    finally:
        node.close()
        network.close()


def test_while_the_kernel_asks_one_read_of_its_neighbour_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer is looked for five times a second, of each gateway that is silent."""
    network, node = NeutronNetwork(), Namespace("node")
    try:
        network.plug(node, "ens7", Port("eni", node_objects.mac(0), ("10.98.0.4",)))
        node.ip("addr add 10.98.0.4/24 dev ens7", "link set ens7 up")
        link = LinkFacts("ens7", node.run(lambda: if_nametoindex("ens7")))
        assert node.run(KernelGateways().ask, link, "10.98.0.99") is Answer.NONE
        monkeypatch.delattr(Netlink, "execute")
        monkeypatch.delattr(dumps, "addresses")
        assert node.run(KernelGateways().ask, link, "10.98.0.99") is Answer.NONE
    finally:
        node.close()
        network.close()


def test_nobody_is_asked_as_another_address_of_the_node() -> None:
    """While the ENI has lost its own: the kernel would take one of another link's."""
    network, node = NeutronNetwork(), Namespace("node")
    try:
        network.plug(node, "eth0", Port("node", "fa:16:3e:99:00:11", ("10.99.0.11",)))
        network.plug(node, "ens7", Port("eni", node_objects.mac(0), ("10.98.0.4",)))
        node.ip("addr add 10.99.0.11/24 dev eth0", "link set eth0 up", "link set ens7 up")
        link = LinkFacts("ens7", node.run(lambda: if_nametoindex("ens7")))
        with pytest.raises(KernelRefusedError, match="ens7 has no IPv4 address"):
            node.run(KernelGateways().ask, link, GATEWAY)
        node.ip("addr add 10.98.0.4/32 dev ens7", f"route add {GATEWAY} dev ens7")
        wait_for(
            lambda: node.run(KernelGateways().ask, link, GATEWAY) is Answer.FRESH, "it answers"
        )
        assert network.dropped() == {}
    finally:
        node.close()
        network.close()


@pytest.mark.parametrize(
    ("to", "sender", "asks"),
    [
        ("ff:ff:ff:ff:ff:ff", GATEWAY, True),
        pytest.param(node_objects.mac(0), GATEWAY, False, id="whom it knows to have had it"),
        pytest.param("ff:ff:ff:ff:ff:ff", "10.98.0.50", False, id="another machine"),
        pytest.param("ff:ff:ff:ff:ff:ff", SPARE, False, id="an announcement"),
    ],
)
def test_only_a_gateway_that_asks_everybody_shows_that_nobody_answers(
    to: str, sender: str, *, asks: bool
) -> None:
    """Networks with a responder may pass on what asks a former pod's NIC alone.

    And it shows however much others ask meanwhile.
    """
    network, node = NeutronNetwork(), Namespace("node")
    try:
        own = node_objects.mac(0)
        port = Port("eni", own, ("10.98.0.4", SPARE))
        network.plug(node, "ens7", port)
        node.ip("addr add 10.98.0.4/24 dev ens7", "link set ens7 up")
        network.answer_arp(port)
        heard = node.run(lambda: ARPListener("ens7", (own, neutron.ROUTER_MAC), GATEWAY, SPARE))
        others = request_for_spare("ff:ff:ff:ff:ff:ff", "10.98.0.51")
        last = request_for_spare("ff:ff:ff:ff:ff:ff", "10.98.0.52")
        with node.run(socket, AF_PACKET, SOCK_RAW, 0) as seen:
            seen.bind(("ens7", 0x0806))
            network.fabric.run(send, port.device, *[others] * 2000)
            while select([seen], [], [], 0)[0]:
                seen.recv(64)
            network.fabric.run(send, port.device, request_for_spare(to, sender), last)
            seen.settimeout(60)
            while seen.recv(64) != last:  # behind it, every socket has all that came before
                pass
        assert heard.finish() == asks
        assert network.dropped() == {}
    finally:
        node.close()
        network.close()


def request_for_spare(to: str, sender: str) -> bytes:
    parts = (to, neutron.ROUTER_MAC, "0806 0001 0800 0604 0001", neutron.ROUTER_MAC)
    frame = bytes.fromhex("".join(parts).replace(":", "").replace(" ", ""))
    return frame + inet_aton(sender) + bytes(6) + inet_aton(SPARE)


@contextmanager
def confirming(pod: Namespace) -> Generator[None]:
    """Have a program in a pod confirm its node's next hop; no capability is needed."""
    ended = Event()

    def confirm() -> None:
        while not ended.wait(0.1):
            sender.sendto(b"", _MSG_CONFIRM, (neutron.OUTSIDE, 9))

    with pod.run(socket, AF_INET, SOCK_DGRAM) as sender:
        thread = Thread(target=confirm)
        thread.start()
        yield
        ended.set()
        thread.join()


@pytest.mark.parametrize("real", one_eni.MODES, indirect=True)
def test_no_pod_makes_a_silent_gateway_reachable(real: RealNode) -> None:
    with Namespace("web") as pod, real.agent():
        real.add(pod)
        assert pod.ping(neutron.OUTSIDE)
        wait_for_reason(real, Reason.REACHABLE)
        with confirming(pod):
            real.network.fabric.ip(f"addr del {GATEWAY}/24 dev br-pods")
            wait_for_reason(real, Reason.GATEWAY_UNREACHABLE)
