"""What others do to a node that the agent leaves as it is, until they take it back.

Where it cuts pods off, a condition that is not True names it. What does no harm stays where it is.
"""

import json
import random
from collections.abc import Callable
from functools import partial
from typing import Final

from openeni_crds import names
from openeni_crds.conditions import Type, is_true
from openeni_crds.enipool import IPVlanMode
from openeni_testing.network.netns import Namespace
from openeni_testing.soak.node import Lasting, SufferingNode
from openeni_testing.soak.observer import FAMILIES

LOCAL: Final = ("0", "32765")  # priorities of the rule for the table `local`: the kernel's, a VRF's
NULL_ROUTES: Final = ("blackhole", "unreachable", "prohibit")
PRIVATE: Final = "10.0.0.0/8"


def move_local_rule(node: SufferingNode, dice: random.Random) -> Lasting:
    """As who uses VRFs does. What ipvlan leads to its node in l3s and l3 finds it all the same."""
    family = dice.choice(FAMILIES)
    first, last = LOCAL

    def move(before: str, after: str) -> None:
        node.attempt("ip", family, "rule", "add", "pref", after, "lookup", "local")
        node.attempt("ip", family, "rule", "del", "pref", before)

    def lasts() -> bool:
        return f"{first}:" not in node.space.program("ip", family, "rule").split()

    move(first, last)
    cuts_off = node.datapath.ipvlan_mode in (None, IPVlanMode.L2)
    return Lasting(lasts, partial(_is_named, node, cuts_off=cuts_off), partial(move, last, first))


def reject_what_is_private(node: SufferingNode, dice: random.Random) -> Lasting:
    """As a hardened node does. Where pods answer for themselves, no packet of theirs meets it."""
    cuts_off = node.datapath.ipvlan_mode in (None, IPVlanMode.L3S)
    return _null_route(node, f"{dice.choice(NULL_ROUTES)} {PRIVATE}", cuts_off=cuts_off)


def reject_a_pod(node: SufferingNode, dice: random.Random) -> Lasting:
    """The node has a route to it in a table that comes before."""
    addresses = [a for a in node.port.addresses if ":" not in a]
    route = f"{dice.choice(NULL_ROUTES)} {dice.choice(addresses)}"
    return _null_route(node, route, cuts_off=False)


def _null_route(node: SufferingNode, route: str, *, cuts_off: bool) -> Lasting:
    def lasts() -> bool:
        return route in node.space.program("ip", "route", "show", "table", "main")

    node.attempt("ip", "route", "add", *route.split())
    take_back = partial(node.attempt, "ip", "route", "del", *route.split())
    return Lasting(lasts, partial(_is_named, node, cuts_off=cuts_off), take_back)


def unplug(node: SufferingNode, _: random.Random) -> Lasting:
    """It is back as soon as another step needs it, too."""
    node.unplug()
    return Lasting(lambda: not node.is_plugged, partial(_is_named, node, cuts_off=True), node.plug)


def lose_carrier(node: SufferingNode, _: random.Random) -> Lasting:
    """It is back when the NIC is plugged again, too."""
    fabric, device = node.network.fabric, node.port.device

    def lasts() -> bool:
        if not node.is_plugged:
            return False
        (link,) = json.loads(fabric.program("ip", "-j", "link", "show", "dev", device))
        return "UP" not in link["flags"]

    def take_back() -> None:
        if lasts():
            fabric.ip(f"link set {device} up")

    node.plug()
    fabric.ip(f"link set {device} down")
    return Lasting(lasts, partial(_is_named, node, cuts_off=True), take_back)


def name_as_a_pods_link(node: SufferingNode, dice: random.Random) -> Lasting:
    """Filters know by that name what pods send."""
    number = dice.randrange(10**6)
    name = f"{names.LINK_PREFIX}{number}"
    node.rename(name)

    def take_back() -> None:
        if lasts():
            node.rename(f"eth{number}")

    def lasts() -> bool:
        return node.nic() == name

    return Lasting(lasts, partial(_is_named, node, cuts_off=True), take_back)


def lose_path(node: SufferingNode, dice: random.Random) -> Lasting | None:
    """Of a pod's namespace, as by `umount` in /run/netns. An agent that starts looks into all."""
    if not (ready := [s for s in node.kubelet.running() if s.pod.wanted]):
        return None
    sandbox = dice.choice(ready)
    assert isinstance(sandbox.space, Namespace)
    sandbox.space.lose_path()
    node.end_agent()
    node.start_agent()

    def lasts() -> bool:
        return sandbox in node.kubelet.running()

    def is_named() -> bool:
        podip = node.host.podip(sandbox.pod.name)
        return podip is not None and not is_true(podip.status.conditions, Type.DATAPATH_READY)

    def take_back() -> None:
        if sandbox.pod.wanted:
            node.end_outage()
            node.kubelet.delete_pod(sandbox.pod)

    return Lasting(lasts, is_named, take_back)


def add_link(node: SufferingNode, dice: random.Random) -> Lasting:
    """Its name is as those of pods' links are."""
    name = f"{names.LINK_PREFIX}{dice.randrange(10**6)}"
    return _harmless(node, f"link add {name} type bridge", f"link del {name}")


def add_rule(node: SufferingNode, dice: random.Random) -> Lasting:
    """It comes before openeni's."""
    rule = f"pref {dice.randrange(1, 400)} from 192.0.2.{dice.randrange(256)} lookup 77"
    return _harmless(node, f"rule add {rule}", f"rule del {rule}")


def add_neighbour(node: SufferingNode, _: random.Random) -> Lasting:
    """It goes with its NIC, at the latest."""
    neighbour = "lladdr 02:00:00:00:00:63 nud permanent"
    node.attempt(*f"ip neigh replace 10.98.0.99 {neighbour} dev {node.nic()}".split())

    def take_back() -> None:
        node.attempt(*f"ip neigh del 10.98.0.99 dev {node.nic()}".split())

    return Lasting(_always, _always, take_back)


def _harmless(node: SufferingNode, add: str, delete: str) -> Lasting:
    """Others find what they have added."""
    node.space.ip(add)
    return Lasting(_always, _always, partial(node.space.ip, delete))


def _always() -> bool:
    return True


def _is_named(node: SufferingNode, *, cuts_off: bool) -> bool:
    """Return True if the ENI is not ready, or need not be in error for what lasts."""
    return not cuts_off or not is_true(node.host.eni().status.conditions, Type.LINK_READY)


LASTING: Final[tuple[Callable[[SufferingNode, random.Random], Lasting | None], ...]] = (
    move_local_rule,
    reject_what_is_private,
    reject_a_pod,
    unplug,
    lose_carrier,
    name_as_a_pods_link,
    lose_path,
    add_link,
    add_rule,
    add_neighbour,
)
