"""Read the kernel's messages of rtnetlink as items. pyroute2 decodes identical messages once.

A look at a node with 250 pods reads some 1,500 messages, and hardly any has changed since the look
before: to decode them anew took most of its time.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

from openeni_crds import names
from openeni_nodeagent.datapath.linux import items, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, with_attributes
from openeni_nodeagent.datapath.linux.nfnetlink import NFGENMSG
from openeni_nodeagent.datapath.linux.pyroute2_classes import (
    AddressMessage,
    DecodeError,
    FilterRuleMessage,
    FilterTableMessage,
    FlowtableMessage,
    LinkMessage,
    NeighbourMessage,
    RouteMessage,
    RuleMessage,
    SetElementsMessage,
)
from openeni_nodeagent.datapath.linux.rtnetlink_encode import IFADDRMSG, IFINFOMSG, NDMSG, RTMSG
from openeni_nodeagent.datapath.model import (
    Address,
    Element,
    FlowtableLink,
    Link,
    Neighbour,
    Route,
    Rule,
)
from openeni_nodeagent.datapath_api import KernelRefusedError

_COUNTER_SIZE: Final = 2  # bytes, at the end of nfgenmsg
_REMEMBERED: Final = 4096  # contents of each kind: two families of 1,000 pods, and what they had
_REMEMBERED_PARTS: Final = 64  # messages with many members of a set: some 2,000 pods
_REMEMBERED_BYTES: Final = 1 << 22  # of each kind: a pod's links may have 64 KiB each
_Read = TypeVar("_Read")


class Reader(Generic[_Read]):
    """Reads messages of one kind; None is what is none of ours."""

    def __init__(
        self,
        message: Any,
        body: int,
        attributes: set[int],
        item: Callable[[Any], _Read | None],
        remembered: int = _REMEMBERED,
    ) -> None:
        """`message` is pyroute2's, `body` the size in bytes of what it has before its attributes.

        `attributes` are those that `item` reads. The others may differ each time, as the age of a
        neighbour does, and would take longer: those of a link are some forty.
        """
        self._message, self._item = message, item
        self._body, self._attributes = body, frozenset(attributes)
        self._read = lru_cache(maxsize=remembered)(self._decode)
        self._longest = _REMEMBERED_BYTES // remembered

    def __call__(self, raw: bytes) -> _Read | None:
        """Return what a message says. Raises KernelRefusedError."""
        content = with_attributes(raw, self._body, self._attributes)
        return self._read(content) if len(content) <= self._longest else self._decode(content)

    def _decode(self, raw: bytes) -> _Read | None:
        return self._item(decoded(self._message(raw)))


class FilterReader(Reader[_Read]):
    """Reads messages of nftables, whose header counts its transactions (nfgenmsg.res_id)."""

    def __init__(
        self,
        message: Any,
        attributes: set[int],
        item: Callable[[Any], _Read | None],
        remembered: int = _REMEMBERED,
    ) -> None:
        super().__init__(message, NFGENMSG.size, attributes, item, remembered)

    def __call__(self, raw: bytes) -> _Read | None:
        """Return what a message says. Raises KernelRefusedError."""
        counter = HEADER.size + NFGENMSG.size - _COUNTER_SIZE
        return super().__call__(
            raw[:counter] + bytes(_COUNTER_SIZE) + raw[counter + _COUNTER_SIZE :]
        )


def decoded(message: Any) -> Any:
    """Return pyroute2's message once it is decoded. Raises KernelRefusedError."""
    try:
        message.decode()
    except DecodeError as error:
        raise KernelRefusedError(f"cannot decode what the kernel says: {error}") from error
    return message


def _our_neighbour(message: Any) -> Neighbour | None:
    neighbour = items.neighbour(message)
    is_ours = neighbour and neighbour.protocol == names.PROTOCOL and items.is_permanent(message)
    return neighbour if is_ours else None


LINK: Final = Reader[Link](LinkMessage, IFINFOMSG.size, {*items.LINK_ATTRIBUTES}, items.link)
ADDRESS: Final = Reader[Address](
    AddressMessage, IFADDRMSG.size, {uapi.IFA_ADDRESS, uapi.IFA_LOCAL}, items.address
)
ROUTE: Final = Reader[Route](
    RouteMessage,
    RTMSG.size,
    {
        uapi.RTA_DST,
        uapi.RTA_OIF,
        uapi.RTA_GATEWAY,
        uapi.RTA_PRIORITY,
        uapi.RTA_PREFSRC,
        uapi.RTA_TABLE,
    },
    items.route,
)
RULE: Final = Reader[Rule](
    RuleMessage,
    RTMSG.size,
    {
        uapi.FRA_DST,
        uapi.FRA_SRC,
        uapi.FRA_IIFNAME,
        uapi.FRA_PRIORITY,
        uapi.FRA_FWMARK,
        uapi.FRA_TABLE,
        uapi.FRA_FWMASK,
        uapi.FRA_OIFNAME,
        uapi.FRA_PROTOCOL,
        uapi.FRA_TUN_ID,
        uapi.FRA_UID_RANGE,
        uapi.FRA_IP_PROTO,
        uapi.FRA_SPORT_RANGE,
        uapi.FRA_DPORT_RANGE,
    },
    items.rule,
)
OUR_NEIGHBOUR: Final = Reader[Neighbour](
    NeighbourMessage, NDMSG.size, {uapi.NDA_DST, uapi.NDA_LLADDR, uapi.NDA_PROTOCOL}, _our_neighbour
)
OUR_FILTER_RULE: Final = FilterReader[tuple[str, str]](
    FilterRuleMessage,
    {uapi.NFTA_RULE_TABLE, uapi.NFTA_RULE_CHAIN, uapi.NFTA_RULE_USERDATA},
    items.filter_rule,
)
ELEMENTS: Final = FilterReader[tuple[Element, ...]](
    SetElementsMessage,
    {uapi.NFTA_SET_ELEM_LIST_SET, uapi.NFTA_SET_ELEM_LIST_ELEMENTS},
    items.elements,
    _REMEMBERED_PARTS,
)
FLOWTABLE_LINKS: Final = FilterReader[tuple[FlowtableLink, ...]](
    FlowtableMessage,
    {uapi.NFTA_FLOWTABLE_TABLE, uapi.NFTA_FLOWTABLE_NAME, uapi.NFTA_FLOWTABLE_HOOK},
    items.flowtable_links,
    _REMEMBERED_PARTS,
)
# In each message of nftables that has one: NFTA_CHAIN_TABLE and its like have the same number.
FILTER_TABLE: Final = FilterReader[str](
    FilterTableMessage,
    {uapi.NFTA_TABLE_NAME},
    lambda message: message.get_attr("NFTA_TABLE_NAME"),
)
