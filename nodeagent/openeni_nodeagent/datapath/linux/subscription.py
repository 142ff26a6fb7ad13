"""Subscribe to the kernel's notifications of rtnetlink and nftables.

One thread with pyroute2's sockets on an event loop of its own. They stay in the network namespace
of the thread that called `start`, from which this thread inherits it.
"""

import asyncio
import logging
import os
import random
import threading
from collections.abc import Callable
from typing import Any, Final

from openeni_crds import names
from openeni_kube.workqueue import Backoff
from openeni_nodeagent.datapath.changes import Change, Kind, Watched, concerns_us
from openeni_nodeagent.datapath.linux import items, uapi
from openeni_nodeagent.datapath.linux.netlink import is_own_port
from openeni_nodeagent.datapath.linux.pyroute2_classes import NftablesSocket, RtnetlinkSocket
from openeni_nodeagent.datapath.model import Item, Verb

LOG: Final = logging.getLogger(__name__)
BACKOFF: Final = Backoff(base=0.1, maximum=10.0)
_CLOSE_SECONDS: Final = 1.0
_NFT_MSG_MASK: Final = 0xFF  # of nlmsg_type; the subsystem is above it
_ROUTE_GROUPS: Final = (
    uapi.RTNLGRP_LINK,
    uapi.RTNLGRP_NEIGH,
    uapi.RTNLGRP_IPV4_IFADDR,
    uapi.RTNLGRP_IPV4_ROUTE,
    uapi.RTNLGRP_IPV4_RULE,
    uapi.RTNLGRP_IPV6_IFADDR,
    uapi.RTNLGRP_IPV6_ROUTE,
    uapi.RTNLGRP_IPV6_RULE,
)
_ROUTE_KINDS: Final[dict[int, tuple[Kind, Verb, Callable[[Any], Item | None]]]] = {
    uapi.RTM_NEWLINK: (Kind.LINK, Verb.ADD, items.link),
    uapi.RTM_DELLINK: (Kind.LINK, Verb.REMOVE, items.link),
    uapi.RTM_NEWADDR: (Kind.ADDRESS, Verb.ADD, items.address),
    uapi.RTM_DELADDR: (Kind.ADDRESS, Verb.REMOVE, items.address),
    uapi.RTM_NEWROUTE: (Kind.ROUTE, Verb.ADD, items.route),
    uapi.RTM_DELROUTE: (Kind.ROUTE, Verb.REMOVE, items.route),
    uapi.RTM_NEWRULE: (Kind.RULE, Verb.ADD, items.rule),
    uapi.RTM_DELRULE: (Kind.RULE, Verb.REMOVE, items.rule),
    # The kernel sends RTM_NEWNEIGH with NUD_FAILED before RTM_DELNEIGH, and only there says who
    # has deleted a neighbour.
    uapi.RTM_NEWNEIGH: (Kind.NEIGHBOUR, Verb.ADD, items.neighbour),
}
# The attribute with the table's name
_FILTER_KINDS: Final = {
    uapi.NFT_MSG_NEWTABLE: (Verb.ADD, "NFTA_TABLE_NAME"),
    uapi.NFT_MSG_DELTABLE: (Verb.REMOVE, "NFTA_TABLE_NAME"),
    uapi.NFT_MSG_NEWCHAIN: (Verb.ADD, "NFTA_CHAIN_TABLE"),
    uapi.NFT_MSG_DELCHAIN: (Verb.REMOVE, "NFTA_CHAIN_TABLE"),
    uapi.NFT_MSG_NEWRULE: (Verb.ADD, "NFTA_RULE_TABLE"),
    uapi.NFT_MSG_DELRULE: (Verb.REMOVE, "NFTA_RULE_TABLE"),
    uapi.NFT_MSG_NEWSET: (Verb.ADD, "NFTA_SET_TABLE"),
    uapi.NFT_MSG_DELSET: (Verb.REMOVE, "NFTA_SET_TABLE"),
    uapi.NFT_MSG_NEWSETELEM: (Verb.ADD, "NFTA_SET_ELEM_LIST_TABLE"),
    uapi.NFT_MSG_DELSETELEM: (Verb.REMOVE, "NFTA_SET_ELEM_LIST_TABLE"),
}


class Subscription:
    """Calls `changed` for each change that concerns us, from its thread, until it is closed.

    Whenever notifications may have been lost (at the beginning, when there were more than the
    kernel keeps, when a socket broke), `changed` is called with Kind.UNKNOWN. `watched` is called
    for each notification. Neither may take long, or notifications are lost.
    """

    def __init__(self, watched: Callable[[], Watched], changed: Callable[[Change], None]) -> None:
        self._watched, self._changed = watched, changed
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)

    def start(self) -> None:
        """Begin to listen, in the network namespace of the calling thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, which calls `changed` no more; harmless if it has not been started."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(_CLOSE_SECONDS)
        elif not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._until_closed())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    async def _until_closed(self) -> None:
        listening = asyncio.create_task(self._listen())
        await self._closing.wait()
        listening.cancel()
        await asyncio.wait([listening])

    async def _listen(self) -> None:
        failures = 0
        while True:
            begun = self._loop.time()
            try:
                await self._listen_once()
            except* Exception as errors:  # noqa: BLE001 - whatever it was, it listens on
                if self._loop.time() - begun > BACKOFF.maximum:
                    failures = 0
                _log(errors.exceptions[0])
            # spreading load, no secret: any random number will do
            await asyncio.sleep(BACKOFF.delay(failures, random.random()))  # noqa: S311
            failures += 1

    async def _listen_once(self) -> None:
        async with RtnetlinkSocket() as routes, NftablesSocket() as filters:
            await routes.bind(groups=sum(1 << group - 1 for group in _ROUTE_GROUPS))
            await filters.bind(groups=1 << uapi.NFNLGRP_NFTABLES - 1)
            self._changed(Change(Kind.UNKNOWN, Verb.CHANGE))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(routes, change_of_link_or_route))
                tasks.create_task(self._read(filters, change_of_filter))

    async def _read(self, socket: Any, change_of: Callable[[Any], Change | None]) -> None:
        while True:
            async for message in socket.get():
                change = change_of(message)
                if change and concerns_us(change, self._watched()):
                    self._changed(change)


def change_of_link_or_route(message: Any) -> Change | None:
    """Return what a notification of rtnetlink says; None if it is of nothing that we have."""
    if not (found := _ROUTE_KINDS.get(message["header"]["type"])):
        return None
    kind, verb, convert = found
    if not (item := convert(message)):
        return None
    if kind is Kind.NEIGHBOUR and not items.is_permanent(message):
        verb = Verb.REMOVE
    return Change(kind, verb, item, own=is_own_port(message["header"]["pid"]))


def change_of_filter(message: Any) -> Change | None:
    """Return what a notification of nftables says; None if it is of another table than ours."""
    if not (found := _FILTER_KINDS.get(message["header"]["type"] & _NFT_MSG_MASK)):
        return None
    verb, attribute = found
    if message.get_attr(attribute) != names.NFT_TABLE:
        return None
    return Change(Kind.FILTER, verb, own=is_own_port(message["header"]["pid"]))


def _log(error: Exception) -> None:
    if isinstance(error, OSError):  # ENOBUFS: there were more than the buffer holds
        cause = os.strerror(error.errno or 0)
        LOG.warning("the kernel's notifications were interrupted: %s", cause)
    else:
        LOG.error("the kernel's notifications cannot be read", exc_info=error)
