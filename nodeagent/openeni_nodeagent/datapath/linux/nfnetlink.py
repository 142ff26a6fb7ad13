"""Encode requests that create our nftables sets, and change members of sets and the flowtable.

A pod's ADD puts its address into a set; running `nft` for that would take as long as all the rest.
And the sets may not be created by `nft`: from 1.1.2 on it stores data in them that makes an older
`nft` crash on every listing, such as that of the node or of kube-proxy.
"""

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    htons,
    inet_ntop,
    inet_pton,
)
from typing import Final

from openeni_crds import names
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import (
    HEADER,
    attribute,
    big_endian,
    nested,
    string,
)
from openeni_nodeagent.datapath.model import Element, FlowtableLink, Operation, Verb
from openeni_nodeagent.datapath.nft_sets import (
    CATCH_ALL,
    FLOWTABLE,
    FLOWTABLE_PRIORITY,
    SETS,
    Field,
    NftSet,
    joined,
    split,
)

NF_FAMILIES: Final = {  # in which we have a table
    "inet": uapi.NFPROTO_INET,
    "netdev": uapi.NFPROTO_NETDEV,
    "arp": uapi.NFPROTO_ARP,
}
NFGENMSG: Final = struct.Struct("=BBH")
_PROTOCOLS: Final = {"tcp": IPPROTO_TCP, "udp": IPPROTO_UDP, "sctp": IPPROTO_SCTP}
_PROTOCOL_NAMES: Final = {number: name for name, number in _PROTOCOLS.items()}
_TYPE_BITS: Final = 6  # of nftables' datatype.h: of each type's number in that of several
_FAMILIES: Final = {Field.IPV4: AF_INET, Field.IPV6: AF_INET6}
_PORT: Final = struct.Struct("!H")
_LINK: Final = struct.Struct("=I")
BATCH_FRAME: Final = 1  # messages that begin, and that end, a transaction


def batch(operations: Sequence[Operation]) -> list[bytes]:
    """Return the messages of one transaction that changes members of sets and the flowtable."""
    return _transaction(map(_change, operations))


def create_tables(families: Iterable[str]) -> list[bytes]:
    """Return the messages of one transaction: our tables, of "inet" among others, and its sets.

    A table without flags is awake: a dormant one filters nothing, and takes no chain in the
    transaction that wakes it.
    """
    table = string(uapi.NFTA_TABLE_NAME, names.NFT_TABLE) + big_endian(uapi.NFTA_TABLE_FLAGS, 0)
    tables = [_create(uapi.NFT_MSG_NEWTABLE, table, NF_FAMILIES[family]) for family in families]
    bodies = [_set_body(name, made) for name, made in SETS.items()]
    return _transaction(
        [
            *tables,
            *(
                _create(uapi.NFT_MSG_NEWSET, body + big_endian(uapi.NFTA_SET_ID, place))
                for place, body in enumerate(bodies, start=1)
            ),
        ]
    )


def _transaction(messages: Iterable[bytes]) -> list[bytes]:
    subsystem = uapi.NFNL_SUBSYS_NFTABLES
    return [
        _message(uapi.NFNL_MSG_BATCH_BEGIN, uapi.NLM_F_REQUEST, 0, subsystem),
        *messages,
        _message(uapi.NFNL_MSG_BATCH_END, uapi.NLM_F_REQUEST, 0, subsystem),
    ]


def _create(message: int, body: bytes, family: int = uapi.NFPROTO_INET) -> bytes:
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK | uapi.NLM_F_CREATE
    return _message(_type(message), flags, family, 0, body)


def _set_body(name: str, made: NftSet) -> bytes:
    body = string(uapi.NFTA_SET_TABLE, names.NFT_TABLE) + string(uapi.NFTA_SET_NAME, name)
    body += big_endian(uapi.NFTA_SET_FLAGS, uapi.NFT_SET_MAP if made.value else 0)
    body += big_endian(uapi.NFTA_SET_KEY_TYPE, _type_number(made.key))
    body += big_endian(uapi.NFTA_SET_KEY_LEN, _size(made.key))
    if made.value:
        body += big_endian(uapi.NFTA_SET_DATA_TYPE, _type_number(made.value))
        body += big_endian(uapi.NFTA_SET_DATA_LEN, _size(made.value))
    return body


def _type_number(fields: Sequence[Field]) -> int:
    """Return the number of one type or of several; the kernel keeps it for readers alone."""
    number = 0
    for field in fields:
        number = number << _TYPE_BITS | field.value[0]
    return number


def _size(fields: Sequence[Field]) -> int:
    """Return the bytes of one field, or of several, each of which begins a 32-bit register."""
    sizes = [field.value[1] for field in fields]
    return sizes[0] if len(sizes) == 1 else sum(size + -size % 4 for size in sizes)


def pack(fields: Sequence[Field], text: str) -> bytes:
    """Encode a key or value."""
    packed = [_packed(*pair) for pair in zip(fields, split(text), strict=True)]
    return packed[0] if len(packed) == 1 else b"".join(one + bytes(-len(one) % 4) for one in packed)


def unpack(fields: Sequence[Field], data: bytes) -> str:
    """Decode a key or value."""
    found, offset = list[str](), 0
    for field in fields:
        size = field.value[1]
        found.append(_text(field, data[offset : offset + size]))
        offset += size + -size % 4
    return joined(*found)


def _packed(field: Field, text: str) -> bytes:
    match field:
        case Field.PORT:
            return _PORT.pack(int(text))
        case Field.LINK:
            return _LINK.pack(int(text))
        case Field.PROTOCOL:
            return bytes([_PROTOCOLS[text] if text in _PROTOCOLS else int(text)])
        case Field.IPV4 | Field.IPV6:
            return inet_pton(_FAMILIES[field], text)


def _text(field: Field, data: bytes) -> str:
    match field:
        case Field.PORT:
            return str(_PORT.unpack(data)[0])
        case Field.LINK:
            return str(_LINK.unpack(data)[0])
        case Field.PROTOCOL:
            return _PROTOCOL_NAMES.get(data[0], str(data[0]))
        case Field.IPV4 | Field.IPV6:
            return _address(inet_ntop(_FAMILIES[field], data))


def _address(text: str) -> str:
    """Return an address as `ipaddress` writes it: some of IPv6 have no part like IPv4 there."""
    return str(ip_address(text)) if ":" in text and "." in text else text


def _change(operation: Operation) -> bytes:
    removes = operation.verb is Verb.REMOVE
    match operation.item:
        case Element() as member:
            return _element(member, removes=removes)
        case FlowtableLink() as link:
            return _flowtable_link(link, removes=removes)
        case item:
            raise TypeError(item)


def _flowtable_link(link: FlowtableLink, *, removes: bool) -> bytes:
    """Encode a request that adds a link to the flowtable, or removes it.

    The first link creates the flowtable. The kernel ignores one that is there already
    (nft_flowtable_update). With the counter, conntrack counts bytes where it is told to.
    """
    device = nested(uapi.NFTA_FLOWTABLE_HOOK_DEVS, string(uapi.NFTA_DEVICE_NAME, link.device))
    hook = big_endian(uapi.NFTA_FLOWTABLE_HOOK_NUM, uapi.NF_NETDEV_INGRESS)
    hook += big_endian(uapi.NFTA_FLOWTABLE_HOOK_PRIORITY, FLOWTABLE_PRIORITY)
    body = string(uapi.NFTA_FLOWTABLE_TABLE, names.NFT_TABLE)
    body += string(uapi.NFTA_FLOWTABLE_NAME, FLOWTABLE)
    body += nested(uapi.NFTA_FLOWTABLE_HOOK, hook + device)
    if not removes:
        counting = big_endian(uapi.NFTA_FLOWTABLE_FLAGS, uapi.NFT_FLOWTABLE_COUNTER)
        return _create(uapi.NFT_MSG_NEWFLOWTABLE, body + counting)
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    return _message(_type(uapi.NFT_MSG_DELFLOWTABLE), flags, uapi.NFPROTO_INET, 0, body)


def _element(item: Element, *, removes: bool) -> bytes:
    made = SETS[item.name]
    if item.key == CATCH_ALL:
        member = big_endian(uapi.NFTA_SET_ELEM_FLAGS, uapi.NFT_SET_ELEM_CATCHALL)
    else:
        member = nested(uapi.NFTA_SET_ELEM_KEY, _value(made.key, item.key))
    if item.value:
        member += nested(uapi.NFTA_SET_ELEM_DATA, _value(made.value, item.value))
    members = nested(uapi.NFTA_LIST_ELEM, member)
    body = _set(item.name) + nested(uapi.NFTA_SET_ELEM_LIST_ELEMENTS, members)
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    if removes:
        return _message(_type(uapi.NFT_MSG_DELSETELEM), flags, uapi.NFPROTO_INET, 0, body)
    flags |= uapi.NLM_F_CREATE
    return _message(_type(uapi.NFT_MSG_NEWSETELEM), flags, uapi.NFPROTO_INET, 0, body)


def _message(kind: int, flags: int, family: int, resource: int, body: bytes = b"") -> bytes:
    head = NFGENMSG.pack(family, 0, htons(resource))
    return HEADER.pack(HEADER.size + len(head) + len(body), kind, flags, 0, 0) + head + body


def _type(message: int) -> int:
    return uapi.NFNL_SUBSYS_NFTABLES << 8 | message


def _set(name: str) -> bytes:
    table = string(uapi.NFTA_SET_ELEM_LIST_TABLE, names.NFT_TABLE)
    return table + string(uapi.NFTA_SET_ELEM_LIST_SET, name)


def _value(fields: Sequence[Field], text: str) -> bytes:
    return attribute(uapi.NFTA_DATA_VALUE, pack(fields, text))
