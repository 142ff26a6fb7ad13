"""Observe what others lead out of openeni's own links: pods' ends on the node, and slaves.

The kernel goes through every route of the node for each dump, and a node that learns routes by BGP
has 100,000 of them. So a link that had none is read again only where one may have come.
"""

import re
import threading
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import chain
from typing import Final

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6
from openeni_nodeagent.datapath.changes import Change, Kind
from openeni_nodeagent.datapath.linux import dumps, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, number
from openeni_nodeagent.datapath.linux.kernel import routes_of
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import RTMSG
from openeni_nodeagent.datapath.linux.sysctls import speaks_ipv6
from openeni_nodeagent.datapath.model import NOTHING, Item, Link, Route, RouteType, State
from openeni_nodeagent.datapath.ownership import is_foreign, is_on_node

_WHOLE_SECONDS: Final = 300.0  # until all links are read again, whatever notifications have told
_FEW: Final = 8  # links: one dump for each, with the kernel's filter, costs less than one of all


class OthersRoutes:
    """Remembers which links have none, for as long as notifications would tell of any."""

    def __init__(self, told_of: Callable[[], Container[int]]) -> None:
        """`told_of` returns the links of whose routes `changed` is told."""
        self._told_of = told_of
        self._lock = threading.Lock()  # of:
        self._without = set[int]()  # links that had none, and of which nothing has been told since
        self._until = 0.0  # the time at which that is believed of none any more

    def changed(self, change: Change) -> None:
        """Note what a notification says."""
        with self._lock:
            if isinstance(change.item, Route):
                self._without.discard(change.item.index)
            elif change.kind is Kind.UNKNOWN:
                self._without.clear()

    def read(self, seen: State) -> State:
        """Return the unicast routes out of our links that neither openeni nor the kernel added."""
        links = {i.index for i in seen if isinstance(i, Link) and is_on_node(i)}
        with self._lock:
            if (now := time.monotonic()) >= self._until:
                self._without.clear()
                self._until = now + _WHOLE_SECONDS
            told_of = self._told_of()  # before they are read: what is told meanwhile counts
            told = {index for index in links if index in told_of}
            unread, self._without = links - (self._without & told), told
        try:
            found = _routes_out_of(unread) if unread else NOTHING
        except Exception:
            self._forget(unread)
            raise
        self._forget({route.index for route in found if isinstance(route, Route)})
        return found

    def _forget(self, links: Collection[int]) -> None:
        with self._lock:
            self._without.difference_update(links)


def _routes_out_of(links: Collection[int]) -> State:
    with Netlink() as netlink:
        if len(links) <= _FEW:
            found: Iterable[Item] = chain.from_iterable(routes_of(netlink, i) for i in links)
        else:
            found = _all(netlink, links)
        return frozenset(r for r in found if isinstance(r, Route) and _is_others(r, links))


def _all(netlink: Netlink, links: Collection[int]) -> Iterator[Route]:
    """Yield the routes of each family; messages about other links are not decoded."""
    out = re.compile(b"|".join(re.escape(number(uapi.RTA_OIF, index)) for index in links))

    def wanted(raw: bytes) -> bool:
        _, _, _, _, _, protocol, *_ = RTMSG.unpack_from(raw, HEADER.size)
        return protocol != names.PROTOCOL and bool(out.search(raw))

    for family in (IPV4, IPV6) if speaks_ipv6() else (IPV4,):
        yield from dumps.everybodys_routes(netlink, family, kind=uapi.RTN_UNICAST, wanted=wanted)


def _is_others(route: Route, links: Collection[int]) -> bool:
    return route.index in links and route.type is RouteType.UNICAST and is_foreign(route)
