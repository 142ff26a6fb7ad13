"""What others change of the node, and its pods depend on, has an agent look at once."""

import pytest

from openeni_crds import names
from openeni_crds.conditions import Type, find
from openeni_crds.names import host_link
from openeni_testing.agent.real_node import RealNode
from openeni_testing.network.netns import Namespace
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
SOON = 20.0  # before the periodic look, however slow the machine is


def test_a_pod_is_reached_soon_after_its_link_has_lost_an_address_of_others(node: RealNode) -> None:
    """The kernel takes the link's routes with the last one, and tells nobody of these."""

    def seen() -> tuple[bool, bool]:
        addresses = node.space.program("ip", "addr", "show", "dev", link)
        routes = node.space.program("ip", "route", "show", "table", str(names.TABLE_PODS))
        return "169.254.77.5" in addresses, address in routes

    link = host_link("web", "eth0")

    with Namespace("web") as pod, node.agent():
        pod.listen(80)
        address = node.add(pod)
        wait_for(lambda: seen() == (False, True), "the pod's route")
        node.space.ip(f"addr add 169.254.77.5/16 dev {link}")
        wait_for(lambda: seen() == (False, True), "the route without the address", SOON)
        assert node.space.ask(address, 80) is not None


def test_a_node_whose_own_addresses_come_last_says_so_at_once(node: RealNode) -> None:
    with node.agent():
        for words in ("add pref 32765 lookup local", "del pref 0"):
            node.space.program("ip", "rule", *words.split())
        wait_for(lambda: not node.is_ready(), "the link is not ready", SOON)
        condition = find(node.host.eni().status.conditions, Type.LINK_READY)
        assert condition is not None
        assert "rule add pref 0 lookup local" in condition.message
        node.space.ip("rule add pref 0 lookup local")
        wait_for(node.is_ready, "the link is ready", SOON)
