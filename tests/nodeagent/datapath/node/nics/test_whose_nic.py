"""Which NIC is an ENI's, without a kernel."""

from dataclasses import replace

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.links import chosen_index
from openeni_nodeagent.datapath.model import IPVLAN, NIC, VETH, Address, Item, Link
from openeni_nodeagent.datapath.node.nics import NICs
from openeni_nodeagent.datapath_api import ENIFacts, NodeFacts
from openeni_testing.network.node import eni_facts

ENI = eni_facts("eni", 10, Datapath(Mode.VETH))
(PRIMARY,) = ENI.primary
OF_PODS = "10.98.0.11"
NODE = NodeFacts(("10.99.0.11", OF_PODS))
ETH0 = Link("eth0", 2, NIC, "fa:16:3e:99:00:0b", 1500)
ENS7 = Link("ens7", 3, NIC, ENI.mac, 1500)
ABOVE = Link("above", 9, "bond", ENI.mac, 1500)
SLAVE = Link("oeni-3", chosen_index("oeni-3"), IPVLAN, ENI.mac, 1500, parent=ENS7.index)
CHANGED = replace(ENS7, mac="02:00:00:00:77:77", permanent_mac=ENI.mac)
OWN = Address(ETH0.index, "10.99.0.11", 24)


def on(link: Link, address: str) -> Address:
    return Address(link.index, address, 24)


def nics(*seen: Item, enis: tuple[ENIFacts, ...] = (ENI,)) -> NICs:
    return NICs(frozenset(seen), enis, NODE)


@pytest.mark.parametrize(
    "kind", [IPVLAN, "ipvtap", "macvlan", "macvtap", "macsec", "vlan", "bond", "team", "bridge"]
)
def test_a_device_on_top_of_the_nic_is_not_taken_for_it(kind: str) -> None:
    above = Link("a-first", 2, kind, ENI.mac, 1500)
    assert nics(above).of == {}
    assert nics(above, ENS7).of == {"eni": ENS7}


def test_a_nic_is_found_by_its_mac_in_any_case_and_is_none_of_our_devices() -> None:
    pair = Link("ens7", 3, VETH, ENI.mac, 1500, alias="openeni")
    mac = ENI.mac.upper()
    assert nics(pair, enis=(replace(ENI, mac=mac),)).of == {"eni": ENS7}
    assert nics(replace(pair, mac=CHANGED.mac)).of == {}  # the kernel tells no other one


def test_of_several_links_with_its_mac_the_nic_is_the_real_device_and_else_the_oldest() -> None:
    internal = replace(ENS7, name="br-ex", index=2, kind="openvswitch")
    another = replace(ENS7, name="ens8", index=12)
    assert nics(another, internal, ENS7).of == {"eni": ENS7}
    pairs = [Link(f"v{n}", n, VETH, ENI.mac, 1500) for n in range(20, 3, -1)]
    assert nics(*pairs).of["eni"].index == 4


NODES: dict[str, tuple[Item, ...]] = {
    "its own address": (ENS7, on(ENS7, "10.99.0.11")),
    "one of its addresses": (ENS7, on(ENS7, "10.99.0.11"), ETH0, on(ETH0, OF_PODS)),
    "its only one, in the ENI's subnet": (ENS7, on(ENS7, OF_PODS), ETH0),
    "on a bond, or a VLAN": (ENS7, ABOVE, on(ABOVE, "10.99.0.11")),
    "on a bridge with another MAC": (
        replace(ENS7, master=9),
        replace(ABOVE, kind="bridge", mac="02:00:00:00:00:09"),
        on(ABOVE, "10.99.0.11"),
    ),
    "on the host's slave as well": (ENS7, SLAVE, on(ENS7, "10.99.0.11"), on(SLAVE, "10.99.0.11")),
}


@pytest.mark.parametrize("seen", NODES.values(), ids=NODES)
def test_the_nodes_own_nic_is_no_enis(seen: tuple[Item, ...]) -> None:
    found = nics(*seen)
    assert found.of == {}
    assert "node's own address" in str(found.errors["eni"])


ITS_OWN: dict[str, tuple[Item, ...]] = {
    "bare": (),
    "its primary address": (on(ENS7, PRIMARY),),
    "an address of the node, which somebody has added": (
        on(ENS7, PRIMARY),
        on(ENS7, "10.99.0.11"),
    ),
    "an address of its pods, listed as the node's": (on(ENS7, OF_PODS),),
    "a slave with the node's address": (SLAVE, on(SLAVE, "10.99.0.11")),
}


@pytest.mark.parametrize("seen", ITS_OWN.values(), ids=ITS_OWN)
def test_an_enis_nic_is_its_own(seen: tuple[Item, ...]) -> None:
    found = nics(ETH0, OWN, ENS7, *seen)
    assert (found.of, found.errors) == ({"eni": ENS7}, {})


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_enis_with_one_mac_the_one_that_is_served_has_the_nic(order: int) -> None:
    other = replace(ENI, name="other", primary=("10.97.0.4",))
    found = nics(ENS7, on(ENS7, PRIMARY), enis=(ENI, other)[::order])
    assert found.of == {"eni": ENS7}
    assert "the NIC of ENI eni, as well" in str(found.errors["other"])


def test_where_none_is_served_the_first_one_has_the_nic() -> None:
    found = nics(ENS7, enis=(ENI, replace(ENI, name="other")))
    assert found.of.keys() == {"eni"}
    assert found.errors.keys() == {"other"}


def test_a_nic_with_another_mac_is_known() -> None:
    found = nics(ETH0, OWN, CHANGED)
    assert (found.of, found.changed, found.errors) == ({}, {ENI.mac: CHANGED}, {})
    assert found.why_mac_stays(ENI) == ""


@pytest.mark.parametrize(
    "nic",
    [
        replace(CHANGED, permanent_mac=""),
        replace(CHANGED, permanent_mac=CHANGED.mac),
        replace(CHANGED, kind="bond"),
    ],
    ids=["the kernel tells nothing", "it came with another one", "a virtual device has it"],
)
def test_another_nic_is_left_alone(nic: Link) -> None:
    found = nics(ETH0, OWN, nic)
    assert (found.of, found.changed, found.errors) == ({}, {}, {})


@pytest.mark.parametrize("mac", [ENI.mac, ETH0.mac])
def test_that_it_has_the_same_mac_as_the_nodes_own_nic_makes_it_none_of_the_nodes(mac: str) -> None:
    own = replace(CHANGED, mac=mac)
    found = nics(replace(ETH0, mac=mac, permanent_mac=ETH0.mac), OWN, own)
    assert found.errors == {}
    assert {*found.of.values(), *found.changed.values()} == {own}


def test_two_nics_with_swapped_macs_are_those_of_the_enis_whose_macs_they_came_with() -> None:
    other = replace(ENI, name="other", mac=CHANGED.mac, primary=("10.97.0.4",))
    others = replace(ENS7, name="ens8", index=8, permanent_mac=other.mac)
    found = nics(CHANGED, others, enis=(ENI, other))
    assert (found.of, found.changed) == ({}, {ENI.mac: CHANGED, other.mac: others})


def test_of_two_nics_with_the_mac_of_an_eni_it_has_the_one_that_came_with_it() -> None:
    """The other one is of another ENI, whose MAC somebody has changed to this."""
    other = replace(ENI, name="other", mac="fa:16:3e:97:00:04", primary=("10.97.0.4",))
    own = replace(ENS7, name="ens8", index=8, permanent_mac=ENI.mac)
    found = nics(replace(ENS7, permanent_mac=other.mac), own, enis=(ENI, other))
    assert (found.of, found.changed) == ({"eni": own}, {other.mac: ENS7})


def test_the_nodes_own_nic_keeps_its_other_mac() -> None:
    found = nics(CHANGED, on(CHANGED, "10.99.0.11"))
    assert found.changed == {}
    assert "node's own address" in str(found.errors["eni"])


def test_a_nic_in_a_bond_has_the_bonds_mac() -> None:
    inside = replace(CHANGED, master=ABOVE.index)
    found = nics(ETH0, OWN, inside, replace(ABOVE, mac=CHANGED.mac))
    assert found.changed == {ENI.mac: inside}
    assert found.why_mac_stays(ENI) == "take it out of above"
