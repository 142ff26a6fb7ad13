"""Damage a node as people and programs do, and measure how long it takes until all is right again.

The kernel tells of each change; the last one before the node is as it was is the end. So what is
measured is not slowed down by looking at it.
"""

import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from openeni_nodeagent.datapath.linux.kernel import observe, observe_filters
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import Address, Chain, Item, Link, Qdisc, Rule
from openeni_testing.network.netns import Namespace

QUIET_SECONDS: Final = 0.7
# Looks have a share of the time, no more: a damage would wait for those that another, or the end of
# many pods, has caused before.
FIRST_REST_SECONDS: Final = 10.0
REST_SECONDS: Final = 3.0
REST_SHARE: Final = 6.0  # of the time that the last one took
LONGEST_SECONDS: Final = 60.0
_GROUPS: Final = 0x1 | 0x110 | 0x440 | 0x40080  # RTMGRP_*: links, addresses, routes, rules
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES = 270, 1, 7
_RECEIVE_BYTES: Final = 1 << 16
_BUFFER: Final = 1 << 24
_SO_RCVBUFFORCE: Final = 33
_NETFILTER: Final = 12


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
                each.recv(_RECEIVE_BYTES)
                self.at = time.monotonic()


def seconds_to_heal(node: Namespace, damage: Callable[[], None]) -> float:
    """Damage the node; return the seconds until it was as before."""
    before = node.run(_state)
    changes = LastChange(node)
    try:
        begun = time.monotonic()
        damage()
        while True:
            changes.wait_until_quiet()
            found = node.run(_state)
            if found == before:
                seconds = changes.at - begun
                time.sleep(max(REST_SECONDS, REST_SHARE * seconds))
                return seconds
            if time.monotonic() > begun + LONGEST_SECONDS:
                raise RuntimeError(
                    f"the node stays damaged: {sorted(map(str, before - found))[:9]}"
                )
    finally:
        changes.close()


def damages(node: Namespace, device: str) -> Mapping[str, Callable[[], None]]:
    """Return what to do to a node, by its name; `device` is the NIC of an ENI."""
    names = [device, f"{device}a"]

    def rename() -> None:
        old, new = names
        node.ip(f"link set {old} down", f"link set {old} name {new}")
        names.reverse()

    def flush_rules() -> None:
        """Flush the rules; who does so by hand adds the kernel's own again."""
        node.program("ip", "rule", "flush")
        node.ip("rule add pref 32766 lookup main", "rule add pref 32767 lookup default")

    def flap() -> None:
        node.ip(f"link set {names[0]} down", f"link set {names[0]} up")

    return {
        "`ip rule flush`": flush_rules,
        "`nft flush ruleset`": lambda: _flush_ruleset(node),
        "an ENI's NIC down and up": flap,
        "an ENI's NIC down and renamed": rename,
    }


def _flush_ruleset(node: Namespace) -> None:
    node.nft("flush ruleset")


def _listening(protocol: int, groups: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    made.bind((0, groups))
    return made


def _state() -> frozenset[Item]:
    """Return all of ours but links, whose names and flags people change.

    Rules of an ENI have another mark where all of them went, and another device name after a
    rename; their tables tell them apart.
    """
    with Netlink() as netlink:
        seen = observe(netlink) | observe_filters()
    return frozenset(
        _comparable(i)
        for i in seen
        if not isinstance(i, Link | Qdisc)
        and not (isinstance(i, Address) and i.address.startswith("fe80:"))
    )


def _comparable(item: Item) -> Item:
    match item:
        case Rule():
            return replace(item, mark=0, mask=0, oif="NIC" if item.oif else "")
        case Chain():
            return replace(item, mark="", text="")
        case _:
            return item
