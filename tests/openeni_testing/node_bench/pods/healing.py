"""Damage a node as people and programs do, and measure how long it takes until all is right again.

The kernel tells of each change; the last one before the node is as it was is the end. So what is
measured is not slowed down by looking at it.
"""

import re
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from openeni_crds import names
from openeni_crds.enipool import Datapath
from openeni_nodeagent.datapath.links import chosen_index
from openeni_nodeagent.datapath.linux.attributes import HEADER
from openeni_nodeagent.datapath.linux.dumps import names_protocol
from openeni_nodeagent.datapath.linux.kernel import find_link, observe, observe_filters
from openeni_nodeagent.datapath.linux.namespace import in_namespace, open_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import (
    Address,
    Chain,
    Element,
    Item,
    Link,
    Neighbour,
    Qdisc,
    Route,
    Rule,
    State,
)
from openeni_nodeagent.datapath.node.nics import nics_by_mac
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.network.node import placed_pod
from openeni_testing.operator_bench.usage import cpu_seconds
from openeni_testing.waiting import wait_for

QUIET_SECONDS: Final = 0.7
# Looks have a share of the time, no more: a damage would wait for those that another, or the end of
# many pods, has caused before. They go on after the node is as it was, into the pods.
FIRST_REST_SECONDS: Final = 10.0
REST_SECONDS: Final = 3.0
REST_SHARE: Final = 0.1  # of the time since the damage, at most, that the agent has had by then
LONGEST_SECONDS: Final = 60.0
# RTMGRP_*: links, neighbours, addresses, routes, rules
_GROUPS: Final = 0x1 | 0x4 | 0x110 | 0x440 | 0x40080
_OF_NEIGHBOURS: Final = (28, 29)  # RTM_NEWNEIGH, RTM_DELNEIGH
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES = 270, 1, 7
_RECEIVE_BYTES: Final = 1 << 16
_BUFFER: Final = 1 << 24
_SO_RCVBUFFORCE: Final = 33
_NETFILTER: Final = 12
_INTERFACE: Final = "eth0"  # of each pod


class LastChange:
    """The time of the last change of a namespace that the kernel has told of."""

    def __init__(self, node: Namespace) -> None:
        self.at = time.monotonic()
        self._sockets = [
            node.run(_listening, socket.NETLINK_ROUTE, _GROUPS),
            node.run(_listening, _NETFILTER, 0),
        ]
        self._sockets[1].setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def wait_until_quiet(self) -> None:
        while (left := self.at + QUIET_SECONDS - time.monotonic()) > 0:
            time.sleep(left)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            readable, _, _ = select.select(self._sockets, [], [], 0.1)
            for each in readable:
                if not _is_passing(each.recv(_RECEIVE_BYTES)):
                    self.at = time.monotonic()


@dataclass
class DamagedNode:
    """A node of which one ENI is damaged, too: its NIC has other names and indexes then."""

    node: Namespace
    network: NeutronNetwork
    port: Port  # of the ENI
    device: str  # its NIC
    pods_of_eni: int
    pods: Sequence[str]  # paths of the namespaces of all pods
    agent: int  # its process

    def seconds_to_heal(self, damage: Callable[[], None]) -> float:
        """Damage the node; return the seconds until it was as before."""
        before, spent = self._state(), cpu_seconds([self.agent])
        changes = LastChange(self.node)
        try:
            begun = time.monotonic()
            damage()
            while True:
                changes.wait_until_quiet()
                found = self._state()
                if found == before:
                    seconds = changes.at - begun
                    self._rest(begun, spent)
                    return seconds
                if time.monotonic() > begun + LONGEST_SECONDS:
                    differing = sorted(map(str, before ^ found))
                    raise RuntimeError(f"the node stays damaged: {differing[:9]}")
        finally:
            changes.close()

    def _rest(self, begun: float, spent: float) -> None:
        def has_rested() -> bool:
            used = cpu_seconds([self.agent]) - spent
            return used <= REST_SHARE * (time.monotonic() - begun)

        time.sleep(REST_SECONDS)
        wait_for(has_rested, "looks have had no more than their share", 180)

    def damages(self, datapath: Datapath) -> Mapping[str, Callable[[], None]]:
        """Return what to do to a node with ENIs of this datapath, by its name."""
        found = {
            "`ip rule flush`": self._flush_rules,
            "`nft flush ruleset`": self._flush_ruleset,
            "`ip route flush` of an ENI's table": self._flush_routes,
            "the permanent neighbours deleted": self._delete_neighbours,
            "`ip addr flush` of an ENI's NIC": self._flush_addresses,
            "an ENI's NIC down and up": self._flap,
            "an ENI's NIC down and renamed": self._rename,
            f"the NIC of an ENI with {self.pods_of_eni} pods plugged in again": self._plug_again,
        }
        planned = plan_pod(placed_pod(datapath, dual=False)).host
        if not any(isinstance(item, Neighbour) and item.mac for item in planned):
            del found["the permanent neighbours deleted"]  # of proxies the kernel tells nothing
        return found

    def _flush_rules(self) -> None:
        """Flush the rules; who does so by hand adds the kernel's own again."""
        self.node.program("ip", "rule", "flush")
        self.node.ip("rule add pref 32766 lookup main", "rule add pref 32767 lookup default")

    def _flush_ruleset(self) -> None:
        self.node.nft("flush ruleset")

    def _flush_routes(self) -> None:
        index = self.node.run(socket.if_nametoindex, self.device)
        self.node.program("ip", "route", "flush", "table", str(names.eni_table(index)))

    def _delete_neighbours(self) -> None:
        seen = self.node.run(_observe)
        devices = {item.index: item.name for item in seen if isinstance(item, Link)}
        found = [item for item in seen if isinstance(item, Neighbour) and item.mac]
        self.node.ip(*(f"neigh del {item.address} dev {devices[item.index]}" for item in found))

    def _flush_addresses(self) -> None:
        self.node.ip(f"addr flush dev {self.device}")

    def _flap(self) -> None:
        self.node.ip(f"link set {self.device} down", f"link set {self.device} up")

    def _rename(self) -> None:
        old = self.device
        new = old[:-1] if old.endswith("a") else f"{old}a"
        self.node.ip(f"link set {old} down", f"link set {old} name {new}")
        self.device = new

    def _plug_again(self) -> None:
        self.network.unplug(self.port)
        self.network.plug(self.node, self.device, self.port)

    def _state(self) -> frozenset[Item | str]:
        """Return all of ours but links, whose names and flags people change; and the whole pods.

        Those have their interface.
        """
        seen = self.node.run(_observe)
        nics = nics_by_mac(seen, {self.port.mac})
        index = next((nic.index for nic in nics.values()), 0)
        ours = {
            _comparable(i, index)
            for i in seen
            if not isinstance(i, Link | Qdisc)
            and not (isinstance(i, Address) and i.address.startswith("fe80:"))
        }
        return frozenset(ours | {netns for netns in self.pods if _has_interface(netns)})


def _is_passing(raw: bytes) -> bool:
    """Return True for what the kernel tells of a neighbour that comes and goes by itself."""
    _, kind, *_ = HEADER.unpack_from(raw)
    return kind in _OF_NEIGHBOURS and not names_protocol(raw)


def _listening(protocol: int, groups: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    made.bind((0, groups))
    return made


def _observe() -> State:
    with Netlink() as netlink:
        return observe(netlink) | observe_filters()


def _has_interface(netns: str) -> bool:
    def look() -> bool:
        with Netlink() as netlink:
            return find_link(netlink, _INTERFACE) is not None

    with open_namespace(netns) as namespace:
        return in_namespace(namespace, look)


def _comparable(item: Item, nic: int) -> Item:
    """Return the item without what differs although all is right.

    Rules of an ENI have another mark where all of them went, and another device name after a
    rename; their tables tell them apart. Where its NIC is plugged in again, what is called by the
    index of that has another name: it gets that of an index that no link has.
    """
    slave, of_none = names.host_slave(nic), names.host_slave(0)
    indexes = {nic: 0, chosen_index(slave): chosen_index(of_none)}
    tables = {names.eni_table(nic): names.eni_table(0)}
    match item:
        case Rule(table=table):
            oif = "NIC" if item.oif else ""
            return replace(item, mark=0, mask=0, oif=oif, table=tables.get(table, table))
        case Route(index=index, table=table):
            index, table = indexes.get(index, index), tables.get(table, table)
            return replace(item, index=index, table=table)
        case Address(index=index) | Neighbour(index=index):
            return replace(item, index=indexes.get(index, index))
        case Chain(name=name):
            return replace(item, mark="", text="", name=re.sub(rf"^eni{nic}(?!\d)", "eni0", name))
        case Element(key=key):
            return replace(item, key=re.sub(rf" \. {nic}$", " . 0", key))
        case _:
            return item
