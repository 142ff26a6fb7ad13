"""Create our nftables sets, add and remove members, read sets and chains, without running `nft`.

A pod's ADD puts its address into a set; running `nft` for that would take as long as all the rest.
And the sets may not be created by `nft`: from 1.1.2 on it stores data in them that makes an older
`nft` crash on every listing, such as that of the node or of kube-proxy.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from socket import AF_INET, AF_INET6, htons, inet_ntop, inet_pton
from typing import Final

from openeni_crds import names
from openeni_nodeagent.addresses import IPV6, family_of
from openeni_nodeagent.datapath.filters import FAMILIES
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import (
    HEADER,
    attribute,
    attributes,
    big_endian,
    iterate,
    nested,
    string,
    to_text,
)
from openeni_nodeagent.datapath.model import Chain, Element, Operation, Verb

_NFPROTO: Final = {"inet": uapi.NFPROTO_INET, "netdev": uapi.NFPROTO_NETDEV}
_NFGENMSG: Final = struct.Struct("=BBH")
_COMMENT: Final = 0  # NFTNL_UDATA_RULE_COMMENT of libnftnl's udata.h
# A type's number is for readers: TYPE_IPADDR and TYPE_IP6ADDR of nftables' datatype.h; bytes.
_TYPES: Final = {"ipv4_addr": (7, 4), "ipv6_addr": (8, 16)}
SETS: Final = tuple(f"{kind}{number}" for kind in ("pods", "sources") for _, number, _ in FAMILIES)
BATCH_FRAME: Final = 1  # messages that begin, and that end, a batch; they are not acknowledged


def batch(operations: Sequence[Operation]) -> list[bytes]:
    """Return the messages of one transaction that adds and removes members of sets."""
    return _transaction(_element(operation) for operation in operations)


def create_sets() -> list[bytes]:
    """Return the messages of one transaction that creates the table, sets and maps."""
    table = _create(uapi.NFT_MSG_NEWTABLE, string(uapi.NFTA_TABLE_NAME, names.NFT_TABLE))
    bodies = [
        _set_body(f"{kind}{number}", *_TYPES[type_], is_map=kind == "sources")
        for _, number, type_ in FAMILIES
        for kind in ("pods", "sources")
    ]
    return _transaction(
        [
            table,
            *(
                _create(uapi.NFT_MSG_NEWSET, body + big_endian(uapi.NFTA_SET_ID, place))
                for place, body in enumerate(bodies, start=1)
            ),
        ]
    )


def dump_elements(name: str) -> bytes:
    """Return the request for the members of one of our sets."""
    return _dump(uapi.NFT_MSG_GETSETELEM, "inet", _set(name))


def dump_rules(family: str) -> bytes:
    """Return the request for the rules of our table in one family."""
    return _dump(uapi.NFT_MSG_GETRULE, family, string(uapi.NFTA_RULE_TABLE, names.NFT_TABLE))


def elements(name: str, payload: bytes) -> Iterable[Element]:
    """Yield the members of set `name` in one message of a dump."""
    listed = attributes(payload, _NFGENMSG.size).get(uapi.NFTA_SET_ELEM_LIST_ELEMENTS, b"")
    for _, member in iterate(listed):
        found = attributes(member)
        data = found.get(uapi.NFTA_SET_ELEM_DATA)  # a map's value
        value = "" if data is None else _address(data)
        yield Element(name, _address(found[uapi.NFTA_SET_ELEM_KEY]), value)


def chains(family: str, payloads: Iterable[bytes]) -> Iterable[Chain]:
    """Yield our chains in a dump of rules, without a mark where rules are missing or foreign."""
    comments: dict[str, list[str]] = defaultdict(list)
    for payload in payloads:
        found = attributes(payload, _NFGENMSG.size)
        if to_text(found.get(uapi.NFTA_RULE_TABLE, b"")) == names.NFT_TABLE:
            chain = to_text(found[uapi.NFTA_RULE_CHAIN])
            comments[chain].append(_comment(found.get(uapi.NFTA_RULE_USERDATA, b"")))
    for name, seen in comments.items():
        mark = seen[0].partition(" ")[0]
        complete = [f"{mark} {number} of {len(seen)}" for number in range(1, len(seen) + 1)]
        yield Chain(family, name, mark if seen == complete else "")


def _transaction(messages: Iterable[bytes]) -> list[bytes]:
    subsystem = uapi.NFNL_SUBSYS_NFTABLES
    return [
        _message(uapi.NFNL_MSG_BATCH_BEGIN, uapi.NLM_F_REQUEST, 0, subsystem),
        *messages,
        _message(uapi.NFNL_MSG_BATCH_END, uapi.NLM_F_REQUEST, 0, subsystem),
    ]


def _create(message: int, body: bytes) -> bytes:
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK | uapi.NLM_F_CREATE
    return _message(_type(message), flags, uapi.NFPROTO_INET, 0, body)


def _set_body(name: str, type_: int, size: int, *, is_map: bool) -> bytes:
    body = string(uapi.NFTA_SET_TABLE, names.NFT_TABLE) + string(uapi.NFTA_SET_NAME, name)
    body += big_endian(uapi.NFTA_SET_FLAGS, uapi.NFT_SET_MAP if is_map else 0)
    body += big_endian(uapi.NFTA_SET_KEY_TYPE, type_) + big_endian(uapi.NFTA_SET_KEY_LEN, size)
    if is_map:
        body += big_endian(uapi.NFTA_SET_DATA_TYPE, type_)
        body += big_endian(uapi.NFTA_SET_DATA_LEN, size)
    return body


def _element(operation: Operation) -> bytes:
    item = operation.item
    if not isinstance(item, Element):
        raise TypeError(item)
    member = nested(uapi.NFTA_SET_ELEM_KEY, _value(item.key))
    if item.value:
        member += nested(uapi.NFTA_SET_ELEM_DATA, _value(item.value))
    members = nested(uapi.NFTA_LIST_ELEM, member)
    body = _set(item.name) + nested(uapi.NFTA_SET_ELEM_LIST_ELEMENTS, members)
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    if operation.verb is Verb.REMOVE:
        return _message(_type(uapi.NFT_MSG_DELSETELEM), flags, uapi.NFPROTO_INET, 0, body)
    flags |= uapi.NLM_F_CREATE
    return _message(_type(uapi.NFT_MSG_NEWSETELEM), flags, uapi.NFPROTO_INET, 0, body)


def _dump(message: int, family: str, body: bytes) -> bytes:
    return _message(_type(message), uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP, _NFPROTO[family], 0, body)


def _message(kind: int, flags: int, family: int, resource: int, body: bytes = b"") -> bytes:
    head = _NFGENMSG.pack(family, 0, htons(resource))
    return HEADER.pack(HEADER.size + len(head) + len(body), kind, flags, 0, 0) + head + body


def _type(message: int) -> int:
    return uapi.NFNL_SUBSYS_NFTABLES << 8 | message


def _set(name: str) -> bytes:
    table = string(uapi.NFTA_SET_ELEM_LIST_TABLE, names.NFT_TABLE)
    return table + string(uapi.NFTA_SET_ELEM_LIST_SET, name)


def _value(address: str) -> bytes:
    packed = inet_pton(AF_INET6 if family_of(address) == IPV6 else AF_INET, address)
    return attribute(uapi.NFTA_DATA_VALUE, packed)


def _address(data: bytes) -> str:
    packed = attributes(data)[uapi.NFTA_DATA_VALUE]
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)  # noqa: PLR2004 - bytes


def _comment(userdata: bytes) -> str:
    """Decode a rule's comment as libnftnl stores it: type, length, text."""
    if len(userdata) < 2 or userdata[0] != _COMMENT:  # noqa: PLR2004
        return ""
    return to_text(userdata[2 : 2 + userdata[1]])
