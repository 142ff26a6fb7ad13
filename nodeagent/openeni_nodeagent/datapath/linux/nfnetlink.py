"""The two things that are asked of nftables without `nft`: members of our sets, and what is there.

A pod's ADD puts its address into a set; running `nft` for that would take as long as all the rest.
Numbers are those of linux/netfilter/nf_tables.h and nfnetlink.h.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from socket import AF_INET, AF_INET6, htons, inet_ntop, inet_pton
from typing import Final

from openeni_crds import names
from openeni_nodeagent.datapath.filters import FAMILIES
from openeni_nodeagent.datapath.linux.messages import attributes
from openeni_nodeagent.datapath.linux.rtnetlink import HEADER, attribute
from openeni_nodeagent.datapath.model import Chain, Element, Operation, Verb, family_of

_SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_NEW_ELEMENT, _GET_ELEMENT, _DEL_ELEMENT, _GET_RULE = 12, 13, 14, 7  # NFT_MSG_*
_REQUEST, _ACK, _DUMP, _CREATE = 0x1, 0x4, 0x300, 0x400
_FAMILY: Final = {"inet": 1, "netdev": 5}  # NFPROTO_*
_NESTED: Final = 0x8000
SETS: Final = tuple(f"{kind}{number}" for kind in ("pods", "sources") for _, number, _ in FAMILIES)
FRAME: Final = 1  # messages before and after a batch's own, which are not acknowledged


def batch(operations: Sequence[Operation]) -> list[bytes]:
    """One transaction that adds and removes elements, in its frame."""
    return [
        _message(_BEGIN, _REQUEST, 0, _SUBSYSTEM),
        *(_element(operation) for operation in operations),
        _message(_END, _REQUEST, 0, _SUBSYSTEM),
    ]


def dump_elements(name: str) -> bytes:
    """Ask for the members of one of our sets."""
    body = _text(1, names.NFT_TABLE) + _text(2, name)
    return _message(_kind(_GET_ELEMENT), _REQUEST | _DUMP, _FAMILY["inet"], 0, body)


def dump_rules(family: str) -> bytes:
    """Ask for the rules of our table in one family."""
    body = _text(1, names.NFT_TABLE)
    return _message(_kind(_GET_RULE), _REQUEST | _DUMP, _FAMILY[family], 0, body)


def elements(name: str, payload: bytes) -> Iterable[Element]:
    """The members that one message of a dump lists."""
    listed = attributes(payload, 4).get(3, b"")
    offset = 0
    while offset + 4 <= len(listed):
        size = struct.unpack_from("=H", listed, offset)[0]
        found = attributes(listed[offset + 4 : offset + size], 0)
        value = _address(found[2]) if 2 in found else ""  # noqa: PLR2004 - a map's
        yield Element(name, _address(found[1]), value)
        offset += (size + 3) & ~3


def chains(family: str, payloads: Iterable[bytes]) -> Iterable[Chain]:
    """The chains that a dump of rules shows: marked where they are whole, "" where not."""
    seen: dict[str, list[str]] = defaultdict(list)
    for payload in payloads:
        found = attributes(payload, 4)
        if found.get(1, b"").rstrip(b"\0").decode() == names.NFT_TABLE:
            seen[found[2].rstrip(b"\0").decode()].append(_comment(found.get(7, b"")))
    for name, comments in seen.items():
        mark = comments[0].partition(" ")[0]
        whole = [f"{mark} {place} of {len(comments)}" for place in range(1, len(comments) + 1)]
        yield Chain(family, name, mark if comments == whole else "")


def _element(operation: Operation) -> bytes:
    item = operation.item
    if not isinstance(item, Element):
        raise TypeError(item)
    member = _nested(1, attribute(1, _raw(item.key)))  # NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE
    if item.value:
        member += _nested(2, attribute(1, _raw(item.value)))
    body = _text(1, names.NFT_TABLE) + _text(2, item.name) + _nested(3, _nested(1, member))
    if operation.verb is Verb.REMOVE:
        return _message(_kind(_DEL_ELEMENT), _REQUEST | _ACK, _FAMILY["inet"], 0, body)
    return _message(_kind(_NEW_ELEMENT), _REQUEST | _ACK | _CREATE, _FAMILY["inet"], 0, body)


def _message(kind: int, flags: int, family: int, resource: int, body: bytes = b"") -> bytes:
    head = struct.pack("=BBH", family, 0, htons(resource))
    return HEADER.pack(HEADER.size + len(head) + len(body), kind, flags, 0, 0) + head + body


def _kind(message: int) -> int:
    return _SUBSYSTEM << 8 | message


def _text(kind: int, word: str) -> bytes:
    return attribute(kind, word.encode() + b"\0")


def _nested(kind: int, payload: bytes) -> bytes:
    return attribute(kind | _NESTED, payload)


def _raw(address: str) -> bytes:
    return inet_pton(AF_INET6 if family_of(address) == 6 else AF_INET, address)  # noqa: PLR2004


def _address(data: bytes) -> str:
    raw = attributes(data, 0)[1]
    return inet_ntop(AF_INET6 if len(raw) > 4 else AF_INET, raw)  # noqa: PLR2004


def _comment(userdata: bytes) -> str:
    """NFTA_RULE_USERDATA as libnftnl writes it: kind (0: comment), length, text."""
    if len(userdata) < 2 or userdata[0]:  # noqa: PLR2004
        return ""
    return userdata[2 : 2 + userdata[1]].rstrip(b"\0").decode(errors="replace")
