"""Which notifications of the kernel have the node looked at again."""

from dataclasses import replace

import pytest

from openeni_crds import names
from openeni_nodeagent.datapath.changes import Change, Kind, concerns_us, watched
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    NIC,
    NOTHING,
    TABLE_MAIN,
    VETH,
    Address,
    Item,
    Link,
    Neighbour,
    Route,
    Rule,
    Verb,
)

MAC = "fa:16:3e:98:00:0a"
AWAITED = "fa:16:3e:98:00:0b"
ENI = Link("ens7", 7, NIC, MAC, 1450)
SLAVE = Link(
    names.host_slave(7), 2000000, IPVLAN, MAC, 1450, parent=7, mode=2, alias=names.LINK_ALIAS
)
POD = Link(
    names.host_link("container", "eth0"),
    2000001,
    VETH,
    names.VETH_MAC,
    1450,
    alias=names.LINK_ALIAS,
)
PRIMARY = Address(7, "10.98.0.10", 32)
RULE = Rule(4, names.RULE_FROM_ENI, names.eni_table(7), source="10.98.0.10/32")
NODE, AWAY = "10.99.0.11", "fd99::11"  # addresses of the node
WATCHED = watched(
    frozenset({ENI, SLAVE, PRIMARY, RULE}),
    frozenset({Address(2, NODE, 24)}),
    frozenset({MAC, AWAITED}),
    node=(NODE, "FD99::11"),
)
STATIC = 4  # RTPROT_STATIC

CONCERN_US = {
    "the ENI down": (Verb.ADD, Link("ens7", 7, "", MAC, 1450, up=False)),
    "the ENI without a carrier": (Verb.ADD, replace(ENI, carrier=False)),
    "the ENI renamed": (Verb.ADD, Link("eth1", 7, "", MAC, 1450)),
    "the ENI with another MTU": (Verb.ADD, Link("ens7", 7, "", MAC, 1400)),
    "the ENI asking for no neighbours": (Verb.ADD, replace(ENI, default_arp=False)),
    "the ENI unplugged": (Verb.REMOVE, Link("ens7", 7, "", MAC, 1450)),
    "the ENI plugged in again": (Verb.ADD, Link("ens7", 9, "", MAC, 1450, up=False)),
    "an awaited NIC": (Verb.ADD, Link("ens8", 8, "", AWAITED, 1450, up=False)),
    "the slave down": (
        Verb.ADD,
        Link(SLAVE.name, 2000000, IPVLAN, MAC, 1450, False, 7, 2, names.LINK_ALIAS),
    ),
    "the slave gone": (Verb.REMOVE, SLAVE),
    "a pod's link down": (
        Verb.ADD,
        Link(POD.name, POD.index, VETH, POD.mac, 1450, up=False, alias=names.LINK_ALIAS),
    ),
    "a pod's link renamed": (
        Verb.ADD,
        Link("veth0", POD.index, VETH, POD.mac, 1450, alias=names.LINK_ALIAS),
    ),
    "a pod's link gone": (Verb.REMOVE, POD),
    "an address on the ENI": (Verb.ADD, Address(7, "10.98.0.77", 24)),
    "an address on a pod's link, since the last look": (
        Verb.ADD,
        Address(POD.index, "169.254.77.5", 16),
    ),
    "somebody's last address gone from the slave": (Verb.REMOVE, Address(2000000, "10.66.0.2", 24)),
    "the primary address gone": (Verb.REMOVE, PRIMARY),
    "an address of the node gone": (Verb.REMOVE, Address(2, NODE, 24)),
    "an address of the node in doubt": (Verb.ADD, Address(2, NODE, 24, confirmed=False)),
    "an address of the node back": (Verb.ADD, Address(3, AWAY, 64)),
    "a DHCP client's route on the ENI": (
        Verb.ADD,
        Route("0.0.0.0/0", TABLE_MAIN, 7, "10.98.0.1", protocol=16),
    ),
    "a DHCP client's route on the slave": (
        Verb.ADD,
        Route("169.254.169.254/32", TABLE_MAIN, 2000000, "10.66.0.1", protocol=16),
    ),
    "the rule for the node's own addresses gone": (Verb.REMOVE, Rule(4, 0, 255, protocol=2)),
    "somebody's route in the place of a pod's": (
        Verb.ADD,
        Route("10.98.0.5/32", names.TABLE_PODS, 3, protocol=STATIC),
    ),
    "somebody's route in an ENI's table": (
        Verb.ADD,
        Route("0.0.0.0/0", names.eni_table(7), 3, protocol=STATIC),
    ),
    "our route gone": (Verb.REMOVE, Route("10.98.0.5/32", names.TABLE_PODS, POD.index)),
    "our rule gone": (Verb.REMOVE, RULE),
    "our neighbour gone": (Verb.REMOVE, Neighbour(POD.index, "10.98.0.5", "")),
    "our neighbour with another MAC": (
        Verb.ADD,
        Neighbour(POD.index, "10.98.0.5", "02:00:00:00:00:99"),
    ),
}
DO_NOT = {
    "the ENI as planned": (Verb.ADD, Link("ens7", 7, VETH, MAC, 1450)),
    "the slave as planned": (Verb.ADD, SLAVE),
    "a pod's link as its ADD leaves it": (Verb.ADD, POD),
    "a pod's link as its ADD creates it": (
        Verb.ADD,
        Link(POD.name, POD.index, VETH, POD.mac, 1450, up=False),
    ),
    "somebody's link": (Verb.REMOVE, Link("docker0", 3, "bridge", "02:42:00:00:00:01", 1500)),
    "a slave with the MAC of an ENI": (Verb.ADD, Link("mine", 3, IPVLAN, AWAITED, 1450)),
    "the primary address": (Verb.ADD, PRIMARY),
    "a foreign address gone from the ENI": (Verb.REMOVE, Address(7, "10.98.0.77", 24)),
    "the ENI's link-local address": (Verb.ADD, Address(7, "fe80::f816:3eff:fe98:a", 64)),
    "an address of another link": (Verb.ADD, Address(3, "10.98.0.77", 24)),
    "an address of the node back in doubt": (Verb.ADD, Address(3, AWAY, 64, confirmed=False)),
    "an address of the node, once more": (Verb.ADD, Address(2, NODE, 24)),
    "the kernel's route on the ENI": (
        Verb.ADD,
        Route("10.98.0.10/32", 255, 7, protocol=2),
    ),
    "a foreign route gone from the ENI": (
        Verb.REMOVE,
        Route("0.0.0.0/0", TABLE_MAIN, 7, "10.98.0.1", protocol=16),
    ),
    "somebody's route": (Verb.ADD, Route("192.0.2.0/24", TABLE_MAIN, 3, protocol=STATIC)),
    "somebody's rule": (Verb.REMOVE, Rule(4, 100, 100, protocol=STATIC)),
    "a learned neighbour": (Verb.REMOVE, Neighbour(3, "10.99.0.1", "", protocol=0)),
}


def kind_of(item: Item) -> Kind:
    return Kind(type(item).__name__.lower())


@pytest.mark.parametrize(("verb", "item"), CONCERN_US.values(), ids=CONCERN_US)
def test_what_others_change_of_ours_concerns_us(verb: Verb, item: Item) -> None:
    assert concerns_us(Change(kind_of(item), verb, item), WATCHED)


def test_the_link_of_a_pod_that_had_a_del_may_go() -> None:
    after_del = watched(frozenset({ENI}), NOTHING, frozenset({MAC}), {POD.name})
    assert not concerns_us(Change(Kind.LINK, Verb.REMOVE, POD), after_del)


def test_of_a_link_that_cannot_be_as_planned_only_what_is_new_concerns_us() -> None:
    """The look that could not make it so tries again when somebody changes it."""
    planned = replace(ENI, mtu=ENI.mtu + 1)
    known = watched(frozenset({planned}), frozenset({ENI}), frozenset({MAC}))
    assert not concerns_us(Change(Kind.LINK, Verb.ADD, ENI), known)
    assert concerns_us(Change(Kind.LINK, Verb.ADD, replace(ENI, up=False)), known)


def test_a_carrier_that_the_last_look_has_missed_concerns_us_once_it_is_back() -> None:
    known = watched(frozenset({ENI}), frozenset({replace(ENI, carrier=False)}), frozenset({MAC}))
    assert concerns_us(Change(Kind.LINK, Verb.ADD, ENI), known)


@pytest.mark.parametrize(("verb", "item"), DO_NOT.values(), ids=DO_NOT)
def test_what_is_planned_or_not_ours_does_not(verb: Verb, item: Item) -> None:
    assert not concerns_us(Change(kind_of(item), verb, item), WATCHED)


@pytest.mark.parametrize("kind", [Kind.FILTER, Kind.SYSCTL, Kind.UNKNOWN])
def test_our_tables_sysctls_and_what_is_unknown_always_concern_us(kind: Kind) -> None:
    assert concerns_us(Change(kind, Verb.CHANGE), WATCHED)
