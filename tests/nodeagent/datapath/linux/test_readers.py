"""What is remembered of the kernel's messages: what pods make of their links takes no memory."""

import struct
import tracemalloc

from openeni_nodeagent.datapath.linux import readers, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute, string
from openeni_nodeagent.datapath.linux.rtnetlink_encode import IFINFOMSG

MIB = 1 << 20
LINKS = 1_000
MACVLAN_MACADDR_DATA = 5  # linux/if_link.h


def long_link(index: int) -> bytes:
    """Return the message of a macvlan that takes packets of thousands of MACs."""
    data = attribute(MACVLAN_MACADDR_DATA, bytes(60_000))
    info = string(uapi.IFLA_INFO_KIND, "macvlan") + attribute(uapi.IFLA_INFO_DATA, data)
    body = IFINFOMSG.pack(0, 0, index, 0, 0) + string(uapi.IFLA_IFNAME, f"m{index}")
    body += attribute(uapi.IFLA_MTU, struct.pack("=I", 1450))
    body += attribute(uapi.IFLA_LINKINFO, info)
    return HEADER.pack(HEADER.size + len(body), uapi.RTM_NEWLINK, 0, 0, 0) + body


def test_long_messages_are_read_and_not_remembered() -> None:
    tracemalloc.start()
    try:
        found = [readers.LINK(long_link(index)) for index in range(LINKS)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [link.name for link in found if link] == [f"m{index}" for index in range(LINKS)]
    assert held < 8 * MIB
