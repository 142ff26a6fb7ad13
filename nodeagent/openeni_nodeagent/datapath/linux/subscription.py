"""Subscribe to the kernel's notifications of rtnetlink and nftables.

One thread reads two sockets, which stay in the network namespace of the thread that called `start`,
from which this thread inherits it.
"""

import logging
import os
import random
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from openeni_crds import names
from openeni_kube.workqueue import Backoff
from openeni_nodeagent.addresses import packed_mac
from openeni_nodeagent.datapath.changes import (
    Change,
    Kind,
    Watched,
    concerns_us,
    may_be_ours,
    our_tables,
)
from openeni_nodeagent.datapath.linux import items, readers, uapi
from openeni_nodeagent.datapath.linux.attributes import (
    HEADER,
    number,
    string,
)
from openeni_nodeagent.datapath.linux.dumps import names_protocol
from openeni_nodeagent.datapath.linux.netlink import split
from openeni_nodeagent.datapath.linux.port_ids import is_own_port
from openeni_nodeagent.datapath.linux.pyroute2_classes import NeighbourMessage
from openeni_nodeagent.datapath.linux.rtnetlink_encode import IFADDRMSG, IFINFOMSG, RTMSG, packed
from openeni_nodeagent.datapath.model import Item, Verb

LOG: Final = logging.getLogger(__name__)
BACKOFF: Final = Backoff(base=0.1, maximum=10.0)
COLLECT_SECONDS: Final = 0.02  # an ADD is answered by then: reading does not hold it up
BUFFER_BYTES: Final = 1 << 20  # of what has not been read; the kernel doubles it
_RECEIVE_BYTES: Final = 1 << 17
_CLOSE_SECONDS: Final = 1.0
_NFT_MSG_MASK: Final = 0xFF  # of nlmsg_type; the subsystem is above it
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h
_ROUTE_GROUPS: Final = (
    uapi.RTNLGRP_LINK,
    uapi.RTNLGRP_NEIGH,
    uapi.RTNLGRP_IPV4_IFADDR,
    uapi.RTNLGRP_IPV4_ROUTE,
    uapi.RTNLGRP_IPV4_RULE,
    uapi.RTNLGRP_IPV6_IFADDR,
    uapi.RTNLGRP_IPV6_ROUTE,
    uapi.RTNLGRP_IPV6_RULE,
    uapi.RTNLGRP_IPV4_NETCONF,
    uapi.RTNLGRP_IPV6_NETCONF,
)
# struct netconfmsg, and its first attribute, NETCONFA_IFINDEX (inet_netconf_fill_devconf).
_NETCONF_INDEX: Final = struct.Struct("=B3xHHi")
_ALL_LINKS: Final = -1  # NETCONFA_IFINDEX_ALL
# Parts of messages of links: our alias, and the beginning of the name of a pod's link.
_OUR_ALIAS: Final = string(uapi.IFLA_IFALIAS, names.LINK_ALIAS)
_POD_LINKS_NAME: Final = struct.pack("=H", uapi.IFLA_IFNAME) + names.LINK_PREFIX.encode()
_NEVER: Final = b"$^"  # a pattern that nothing has
_ROUTE_KINDS: Final[dict[int, tuple[Kind, Verb, Callable[[bytes], Item | None]]]] = {
    uapi.RTM_NEWLINK: (Kind.LINK, Verb.ADD, readers.LINK),
    uapi.RTM_DELLINK: (Kind.LINK, Verb.REMOVE, readers.LINK),
    uapi.RTM_NEWADDR: (Kind.ADDRESS, Verb.ADD, readers.ADDRESS),
    uapi.RTM_DELADDR: (Kind.ADDRESS, Verb.REMOVE, readers.ADDRESS),
    uapi.RTM_NEWROUTE: (Kind.ROUTE, Verb.ADD, readers.ROUTE),
    uapi.RTM_DELROUTE: (Kind.ROUTE, Verb.REMOVE, readers.ROUTE),
    uapi.RTM_NEWRULE: (Kind.RULE, Verb.ADD, readers.RULE),
    uapi.RTM_DELRULE: (Kind.RULE, Verb.REMOVE, readers.RULE),
}
_FILTER_KINDS: Final = {
    uapi.NFT_MSG_NEWTABLE: Verb.ADD,
    uapi.NFT_MSG_DELTABLE: Verb.REMOVE,
    uapi.NFT_MSG_NEWCHAIN: Verb.ADD,
    uapi.NFT_MSG_DELCHAIN: Verb.REMOVE,
    uapi.NFT_MSG_NEWRULE: Verb.ADD,
    uapi.NFT_MSG_DELRULE: Verb.REMOVE,
    uapi.NFT_MSG_NEWSET: Verb.ADD,
    uapi.NFT_MSG_DELSET: Verb.REMOVE,
    uapi.NFT_MSG_NEWSETELEM: Verb.ADD,
    uapi.NFT_MSG_DELSETELEM: Verb.REMOVE,
}


class Subscription:
    """Calls `changed` for each change that concerns us, from its thread, until it is closed.

    What this process has changed does not concern us, but for sysctls. Whenever notifications may
    have been lost (at the beginning, when there were more than the kernel keeps, when a socket
    broke), `changed` is called with Kind.UNKNOWN. `watched` is called for each notification.
    Neither may take long, or notifications are lost.
    """

    def __init__(self, watched: Callable[[], Watched], changed: Callable[[Change], None]) -> None:
        self._watched, self._changed = watched, changed
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)
        self._waker, self._woken = socket.socketpair()

    def start(self) -> None:
        """Begin to listen, in the network namespace of the calling thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, which calls `changed` no more; harmless if it has not been started."""
        self._closing.set()
        self._waker.close()  # ends the wait for notifications
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._woken.close()

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            begun = time.monotonic()
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it was, it listens on
                if time.monotonic() - begun > BACKOFF.maximum:
                    failures = 0
                _log(error)
            # spreading load, no secret: any random number will do
            self._closing.wait(BACKOFF.delay(failures, random.random()))  # noqa: S311
            failures += 1

    def _listen(self) -> None:
        """Report changes until `close`. Raises OSError if notifications may have been lost."""
        with (
            subscribed(uapi.NETLINK_ROUTE, _ROUTE_GROUPS) as routes,
            subscribed(uapi.NETLINK_NETFILTER, [uapi.NFNLGRP_NFTABLES]) as filters,
        ):
            poll = select.poll()
            for each in (routes, filters, self._woken):
                poll.register(each, select.POLLIN)
            self._changed(Change(Kind.UNKNOWN, Verb.CHANGE))
            while not self._closing.is_set():
                poll.poll()
                self._closing.wait(COLLECT_SECONDS)
                self._report(routes, change_of_link_or_route)
                self._report(filters, change_of_filter)

    def _report(
        self, notifications: socket.socket, change_of: Callable[[int, bytes], Change | None]
    ) -> None:
        """Report what a socket holds of changes that concern us."""
        for data in _received(notifications):
            for kind, _, _, port, message in split(data):
                if self._closing.is_set():
                    return
                watched = self._watched()
                if is_own_port(port) or not _may_concern_us(kind, message, watched):
                    continue
                change = change_of(kind, message)
                if change and concerns_us(change, watched):
                    self._changed(change)


def _may_concern_us(kind: int, raw: bytes, watched: Watched) -> bool:
    """Return False for what is plainly of others, without decoding it: there may be thousands.

    It is True for all that `concerns_us` may want to see.
    """
    match kind:
        case uapi.RTM_NEWNEIGH:
            return names_protocol(raw)
        case uapi.RTM_NEWLINK | uapi.RTM_DELLINK:
            _, _, index, flags, _ = IFINFOMSG.unpack_from(raw, HEADER.size)
            is_nic = index in watched.links or bool(_with_a_mac_of(watched.macs).search(raw))
            is_whole = kind == uapi.RTM_NEWLINK and flags & uapi.IFF_UP and _POD_LINKS_NAME in raw
            return is_nic or (_OUR_ALIAS in raw and not is_whole)
        case uapi.RTM_NEWADDR | uapi.RTM_DELADDR:
            *_, index = IFADDRMSG.unpack_from(raw, HEADER.size)
            is_nodes = _with_an_address_of(watched.present | watched.absent)
            return may_be_ours(index, watched) or bool(is_nodes.search(raw))
        case uapi.RTM_NEWNETCONF:
            *_, index = _NETCONF_INDEX.unpack_from(raw, HEADER.size)
            return index in watched.links or index == _ALL_LINKS
        case uapi.RTM_NEWROUTE | uapi.RTM_DELROUTE:
            _, _, _, _, _, protocol, *_ = RTMSG.unpack_from(raw, HEADER.size)
            is_near = _near(frozenset(watched.links))
            return protocol == names.PROTOCOL or bool(is_near.search(raw))
        case _:
            return True


@lru_cache(maxsize=1)
def _with_a_mac_of(macs: frozenset[str]) -> re.Pattern[bytes]:
    """Return a pattern that occurs in the message of each link with one of these MACs."""
    return _one_of(map(packed_mac, macs))


@lru_cache(maxsize=1)
def _with_an_address_of(addresses: frozenset[str]) -> re.Pattern[bytes]:
    """Return a pattern that occurs in the message of each of these addresses."""
    return _one_of(map(packed, addresses))


@lru_cache(maxsize=1)
def _near(links: frozenset[int]) -> re.Pattern[bytes]:
    """Return a pattern that each route out of one of these links, or in a table of ours, has."""
    out = (number(uapi.RTA_OIF, index) for index in links)
    within = (number(uapi.RTA_TABLE, table) for table in our_tables(links))
    return _one_of((*out, *within))


def _one_of(parts: Iterable[bytes]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(map(re.escape, parts)) or _NEVER)


def change_of_link_or_route(kind: int, raw: bytes) -> Change | None:
    """Return what a notification of rtnetlink says; None if it is of nothing that we have."""
    if kind == uapi.RTM_NEWNETCONF:
        return Change(Kind.SYSCTL, Verb.CHANGE)
    if kind == uapi.RTM_NEWNEIGH:
        return _change_of_neighbour(raw)
    if not (found := _ROUTE_KINDS.get(kind)):
        return None
    what, verb, read = found
    item = read(raw)
    return Change(what, verb, item) if item else None


def _change_of_neighbour(raw: bytes) -> Change | None:
    """Return what a notification says of a neighbour.

    The kernel sends RTM_NEWNEIGH with NUD_FAILED before RTM_DELNEIGH, and only there says who has
    deleted a neighbour.
    """
    message = readers.decoded(NeighbourMessage(raw))
    if not (item := items.neighbour(message)):
        return None
    verb = Verb.ADD if items.is_permanent(message) else Verb.REMOVE
    return Change(Kind.NEIGHBOUR, verb, item)


def change_of_filter(kind: int, raw: bytes) -> Change | None:
    """Return what a notification of nftables says; None if it is of another table than ours."""
    if not (verb := _FILTER_KINDS.get(kind & _NFT_MSG_MASK)):
        return None
    return Change(Kind.FILTER, verb) if readers.FILTER_TABLE(raw) == names.NFT_TABLE else None


@contextmanager
def subscribed(protocol: int, groups: Sequence[int]) -> Generator[socket.socket]:
    """Yield a socket that receives the notifications of these groups. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as made:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
        made.bind((0, sum(1 << group - 1 for group in groups)))
        yield made


def _received(notifications: socket.socket) -> Iterator[bytes]:
    """Yield what the socket holds. Raises OSError, ENOBUFS if there was more than that."""
    while True:
        try:
            yield notifications.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return


def _log(error: Exception) -> None:
    if isinstance(error, OSError):  # ENOBUFS: there were more than the buffer holds
        cause = os.strerror(error.errno or 0)
        LOG.warning("the kernel's notifications were interrupted: %s", cause)
    else:
        LOG.error("the kernel's notifications cannot be read", exc_info=error)
