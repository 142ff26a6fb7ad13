"""What we pack by hand, decoded by pyroute2, is what the model says."""

from typing import Any

import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from openeni_crds import names
from openeni_nodeagent.datapath.linux import items
from openeni_nodeagent.datapath.linux.rtnetlink_encode import create_link, encode
from openeni_nodeagent.datapath.linux.uapi import (
    IFF_NOARP,
    IFF_UP,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTM_NEWRULE,
)
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    NIC,
    VETH,
    Address,
    Item,
    Link,
    Neighbour,
    Operation,
    Route,
    RouteType,
    Rule,
    Verb,
)
from openeni_nodeagent.datapath.node.announce import frame

CONVERSIONS = {
    RTM_NEWADDR: items.address,
    RTM_NEWROUTE: items.route,
    RTM_NEWNEIGH: items.neighbour,
    RTM_NEWRULE: items.rule,
}
READERS = {
    RTM_NEWLINK: ifinfmsg,
    RTM_NEWADDR: ifaddrmsg,
    RTM_NEWROUTE: rtmsg,
    RTM_NEWNEIGH: ndmsg,
    RTM_NEWRULE: fibmsg,
}
ITEMS: list[tuple[int, Item, dict[str, Any]]] = [
    (
        RTM_NEWADDR,
        Address(7, "10.98.0.11", 32),
        {"index": 7, "prefixlen": 32, "IFA_LOCAL": "10.98.0.11", "family": 2},
    ),
    (
        RTM_NEWADDR,
        Address(7, "fd98::11", 128),
        {"IFA_ADDRESS": "fd98::11", "flags": 2, "family": 10, "IFA_CACHEINFO": None},
    ),
    (
        RTM_NEWADDR,
        Address(7, "169.254.20.10", 32, no_source=True),
        {"IFA_LOCAL": "169.254.20.10", "scope": 253, "IFA_CACHEINFO": None},
    ),
    (
        RTM_NEWROUTE,
        Route("10.98.0.11/32", names.TABLE_PODS, 7, source="10.99.0.11"),
        {
            "RTA_DST": "10.98.0.11",
            "dst_len": 32,
            "RTA_TABLE": names.TABLE_PODS,
            "RTA_OIF": 7,
            "RTA_PREFSRC": "10.99.0.11",
            "scope": 253,
            "proto": names.PROTOCOL,
            "type": 1,
        },
    ),
    (
        RTM_NEWROUTE,
        Route("0.0.0.0/0", 10007, 7, "10.98.0.1"),
        {"dst_len": 0, "RTA_DST": None, "RTA_GATEWAY": "10.98.0.1", "flags": 4, "scope": 0},
    ),
    (
        RTM_NEWROUTE,
        Route("fd96::/112", 254, 7, "fe80::1"),
        {"RTA_GATEWAY": "fe80::1", "family": 10},
    ),
    (
        RTM_NEWROUTE,
        Route("169.254.169.254/32", 10007, type=RouteType.PROHIBIT),
        {"type": 8, "RTA_OIF": None, "RTA_PRIORITY": None, "scope": 0},
    ),
    (
        RTM_NEWROUTE,
        Route("::/0", 10007, metric=0xFFFFFFFF, type=RouteType.UNREACHABLE),
        {"type": 7, "RTA_OIF": None, "RTA_PRIORITY": 0xFFFFFFFF, "dst_len": 0, "family": 10},
    ),
    (
        RTM_NEWRULE,
        Rule(4, 610, 10007, source="10.98.0.10/32"),
        {"FRA_SRC": "10.98.0.10", "src_len": 32, "FRA_IIFNAME": None, "FRA_OIFNAME": None},
    ),
    (
        RTM_NEWRULE,
        Rule(4, 490, 10007, iif="lo", oif="ens7"),
        {
            "FRA_IIFNAME": "lo",
            "FRA_OIFNAME": "ens7",
            "FRA_TABLE": 10007,
            "FRA_PRIORITY": 490,
            "FRA_PROTOCOL": names.PROTOCOL,
            "action": 1,
        },
    ),
    (
        RTM_NEWRULE,
        Rule(6, 550, 254, mark=0x10000, mask=names.MARK_MASK),
        {"FRA_FWMARK": 0x10000, "FRA_FWMASK": names.MARK_MASK, "family": 10},
    ),
    (RTM_NEWRULE, Rule(4, 610, 10007, oif="ens7"), {"FRA_OIFNAME": "ens7", "FRA_IIFNAME": None}),
    (
        RTM_NEWNEIGH,
        Neighbour(7, "169.254.1.1", names.VETH_MAC),
        {
            "NDA_DST": "169.254.1.1",
            "NDA_LLADDR": names.VETH_MAC,
            "state": 0x80,
            "NDA_PROTOCOL": names.PROTOCOL,
        },
    ),
    (
        RTM_NEWNEIGH,
        Neighbour(7, "fd98::11"),
        {"flags": 8, "NDA_DST": "fd98::11", "NDA_LLADDR": None},
    ),
]


def read(kind: int, message: bytes) -> Any:
    decoded = READERS[kind](message)
    decoded.decode()
    return decoded


@pytest.mark.parametrize(("kind", "item", "expected"), ITEMS)
def test_pyroute2_decodes_what_we_encode(kind: int, item: Item, expected: dict[str, Any]) -> None:
    seen = read(kind, encode(Operation(Verb.ADD, item)))
    assert {name: seen.get(name, seen.get_attr(name)) for name in expected} == expected
    attributes = [name for name, _ in seen["attrs"]]
    assert len(attributes) == len(set(attributes))


@pytest.mark.parametrize(("kind", "item", "expected"), ITEMS)
def test_an_encoded_item_is_read_as_itself(kind: int, item: Item, expected: dict[str, Any]) -> None:
    assert CONVERSIONS[kind](read(kind, encode(Operation(Verb.ADD, item)))) == item


def test_a_pair_is_made_with_one_end_in_the_pod() -> None:
    node = Link("oeni1", 70, VETH, names.VETH_MAC, 1450, group=10007)
    pod = Link("eth0", 80, VETH, "02:00:00:00:00:01", 1450)
    seen = read(RTM_NEWLINK, create_link(node, peer=pod, namespace=33))
    assert (seen["index"], seen["flags"], seen.get_attr("IFLA_IFNAME")) == (70, 0, "oeni1")
    assert (seen.get_attr("IFLA_ADDRESS"), seen.get_attr("IFLA_MTU")) == (names.VETH_MAC, 1450)
    assert seen.get_attr("IFLA_GROUP") == 10007
    info = seen.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert (peer["index"], peer.get_attr("IFLA_IFNAME")) == (80, "eth0")
    assert (peer.get_attr("IFLA_NET_NS_FD"), peer.get_attr("IFLA_ADDRESS")) == (33, pod.mac)
    assert peer.get_attr("IFLA_GROUP") is None


def test_a_slave_is_made_in_the_pod_on_its_parent() -> None:
    slave = Link("eth0", 80, IPVLAN, "", 1450, parent=7, mode=2)
    seen = read(RTM_NEWLINK, create_link(slave, namespace=33))
    assert (seen.get_attr("IFLA_LINK"), seen.get_attr("IFLA_NET_NS_FD")) == (7, 33)
    data = seen.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    assert data.get_attr("IFLA_IPVLAN_MODE") == 2


def test_a_change_sets_a_link_up_and_names_it_ours() -> None:
    link = Link("oeni1", 70, VETH, names.VETH_MAC, 1400, alias=names.LINK_ALIAS)
    seen = read(RTM_NEWLINK, encode(Operation(Verb.CHANGE, link)))
    assert (seen["index"], seen["flags"], seen["change"]) == (70, IFF_UP, IFF_UP | IFF_NOARP)
    assert (seen.get_attr("IFLA_IFALIAS"), seen.get_attr("IFLA_MTU")) == (names.LINK_ALIAS, 1400)
    assert seen.get_attr("IFLA_GROUP") == 0
    nic = Link("ens7", 7, NIC, "", 1450)
    assert read(RTM_NEWLINK, encode(Operation(Verb.CHANGE, nic))).get_attr("IFLA_GROUP") is None


@pytest.mark.parametrize(("mode", "flags"), [(0, IFF_UP), (2, IFF_UP | IFF_NOARP)])
def test_the_nodes_slave_has_no_arp_in_l3s(mode: int, flags: int) -> None:
    slave = Link("oeni-7", 70, IPVLAN, "", 1450, parent=7, mode=mode, alias=names.LINK_ALIAS)
    assert read(RTM_NEWLINK, encode(Operation(Verb.CHANGE, slave)))["flags"] == flags


def test_a_slave_gets_its_mode_and_flags_in_place() -> None:
    slave = Link("eth0", 70, IPVLAN, "", 1450, parent=7, mode=2)
    seen = read(RTM_NEWLINK, encode(Operation(Verb.CHANGE, slave)))
    data = seen.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    assert (data.get_attr("IFLA_IPVLAN_MODE"), data.get_attr("IFLA_IPVLAN_FLAGS")) == (2, 0)


def test_whether_a_pods_own_link_has_arp_is_the_pods() -> None:
    link = Link("eth0", 70, IPVLAN, "", 1450, parent=7, mode=2)
    assert read(RTM_NEWLINK, encode(Operation(Verb.CHANGE, link)))["change"] == IFF_UP


def test_an_announcement_is_a_gratuitous_arp_request() -> None:
    mac = bytes.fromhex("fa163e980001")
    sent = frame(mac, "10.98.0.11")
    assert sent[:14] == b"\xff" * 6 + mac + b"\x08\x06"
    assert sent[14:22] == bytes.fromhex("0001080006040001")
    assert sent[22:] == mac + bytes([10, 98, 0, 11]) + bytes(6) + bytes([10, 98, 0, 11])


def test_an_ipv6_announcement_is_an_unsolicited_advertisement() -> None:
    sent = frame(bytes.fromhex("fa163e980001"), "fd98::11")
    assert sent[:6] == bytes.fromhex("333300000001")
    header, body = sent[14:54], sent[54:]
    assert (header[6], header[7], body[0], len(body)) == (58, 255, 136, 32)
    total = header[8:40] + len(body).to_bytes(4, "big") + (58).to_bytes(4, "big") + body
    words = sum(int.from_bytes(total[at : at + 2], "big") for at in range(0, len(total), 2))
    assert words % 0xFFFF == 0  # RFC 1071: a right checksum sums to all ones
