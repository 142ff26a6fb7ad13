"""Find and remove an ENI's slaves in a pod's namespace, whatever links the pod has made there.

It may have any number of slaves of its own, with the ENI's MAC: each takes the kernel a grace
period of RCU to delete. What it cannot make is a slave whose parent is in the node's namespace.
The agent's is another one while a plugin has the NIC in a third namespace: its index tells it.
"""

import errno
import struct
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Final

from openeni_nodeagent.datapath.linux import dumps, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute, number, payloads
from openeni_nodeagent.datapath.linux.kernel import addresses_of, apply
from openeni_nodeagent.datapath.linux.namespace import in_namespace, own_namespace
from openeni_nodeagent.datapath.linux.netlink import ENTRIES_IN_POD, DumpTooLongError, Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import IFINFOMSG
from openeni_nodeagent.datapath.model import IPVLAN, Link, Operation, Verb
from openeni_nodeagent.datapath_api import KernelRefusedError

_RTGENMSG: Final = bytes(4)  # struct rtgenmsg, padded
_NUMBER: Final = struct.Struct("=i")  # of a namespace, in another one
_ANY_NUMBER: Final = attribute(uapi.NETNSA_NSID, _NUMBER.pack(-1))


def remove_slaves(mac: str, index: int, namespace: int, kept: Collection[str]) -> None:
    """Remove the slaves of an ENI in a namespace, but those with an address that is kept.

    The one with the index that the agent has chosen goes, too, wherever its parent is. Raises
    KernelRefusedError and NamespaceGoneError.
    """
    with own_namespace() as node:
        in_namespace(namespace, partial(_remove_slaves, mac, index, node, kept))


def taken_by_slaves(
    mac: str, index: int, namespace: int, addresses: frozenset[str]
) -> frozenset[str]:
    """Return which of the addresses the slaves of an ENI in a namespace have.

    That is all, if who gives addresses to the slaves gives them more than are read. Where reading
    takes too long, which may be another one's doing, it is what was seen. Raises KernelRefusedError
    and NamespaceGoneError.
    """
    with own_namespace() as node:
        return in_namespace(namespace, partial(_taken, mac, index, node, addresses))


def _taken(mac: str, index: int, node: int, addresses: frozenset[str]) -> frozenset[str]:
    with suppress(DumpTooLongError):
        with Netlink(limit=ENTRIES_IN_POD, is_settled=False) as netlink:
            slaves = _slaves(mac, index, node, netlink)
        with Netlink(limit=ENTRIES_IN_POD, is_settled=False) as netlink:
            found = (addresses_of(netlink, slave) for slave in slaves)
            return addresses & frozenset().union(*found)
    return addresses


def _remove_slaves(mac: str, index: int, node: int, kept: Collection[str]) -> None:
    with Netlink(is_settled=False) as netlink:
        slaves = _slaves(mac, index, node, netlink)
        gone = [slave for slave in slaves if not kept or _addresses(slave).isdisjoint(kept)]
        apply([Operation(Verb.REMOVE, slave) for slave in gone], netlink)


def _slaves(mac: str, index: int, node: int, netlink: Netlink) -> Collection[Link]:
    on_node = _has_parent_in(_number_of(node))
    found = dumps.links(netlink, IPVLAN, lambda raw: _index(raw) == index or on_node(raw))
    return {slave.index: slave for slave in found if slave.mac == mac}.values()


def _number_of(namespace: int) -> bytes:
    """Return the number that a namespace has in the thread's, whose messages call it so."""
    its = _RTGENMSG + number(uapi.NETNSA_FD, namespace)
    with Netlink() as netlink:
        for refusal in netlink.execute([_request(uapi.RTM_NEWNSID, its + _ANY_NUMBER)]):
            if refusal.errno != errno.EEXIST:
                raise KernelRefusedError(f"numbering the node's namespace: {refusal}")
        (found,) = netlink.dump(_request(uapi.RTM_GETNSID, its))
    return payloads(found, HEADER.size + len(_RTGENMSG))[uapi.NETNSA_NSID]


def _request(kind: int, body: bytes) -> bytes:
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def _has_parent_in(its: bytes) -> Callable[[bytes], bool]:
    """Return what is True of the messages of links with a parent in the namespace of a number.

    ipvlan names that since Linux 5.10. A name may contain the same bytes: the second look is exact.
    """
    named = attribute(uapi.IFLA_LINK_NETNSID, its)
    begin = HEADER.size + IFINFOMSG.size
    return lambda raw: named in raw and payloads(raw, begin).get(uapi.IFLA_LINK_NETNSID) == its


def _index(raw: bytes) -> int:
    return int(IFINFOMSG.unpack_from(raw, HEADER.size)[2])


def _addresses(link: Link) -> frozenset[str]:
    """Return a link's addresses; none of so many that who gives them to it does not need it."""
    with suppress(DumpTooLongError), Netlink(limit=ENTRIES_IN_POD) as netlink:
        return addresses_of(netlink, link)
    return frozenset()
