"""A pod's program: it asks the kernel for links of its node. Standard library only.

It says that it is ready, reads the name of a link and the index of a NIC, which it could list
itself, and prints the errno of each request as JSON.
"""

import json
import socket
import struct
import sys

NODE = struct.pack("=i", 0)  # the number of the node's namespace: the first that the pod's has
IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO = 3, 5, 18
IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID = 37, 46
IFLA_INFO_KIND = 1
RTM_NEWLINK, RTM_DELLINK = 16, 17
REQUEST, ACK, EXCLUSIVE = 0x1, 0x4, 0x600


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def refused(kind: int, flags: int, *attributes: bytes) -> int:
    """Return the errno of a request on links, 0 for none."""
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + b"".join(attributes)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        number: int = struct.unpack_from("=i", netlink.recv(1 << 16), 16)[0]
    return -number


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    link, index = sys.stdin.readline().split()
    name = attribute(IFLA_IFNAME, link.encode() + b"\0")
    macvlan = attribute(IFLA_INFO_KIND, b"macvlan")
    asked = {
        "deleted its neighbour's link": refused(
            RTM_DELLINK, REQUEST | ACK, attribute(IFLA_TARGET_NETNSID, NODE), name
        ),
        "got a link on the node's NIC": refused(
            RTM_NEWLINK,
            REQUEST | ACK | EXCLUSIVE,
            attribute(IFLA_LINK_NETNSID, NODE),
            attribute(IFLA_LINK, struct.pack("=I", int(index))),
            attribute(IFLA_LINKINFO, macvlan),
        ),
    }
    json.dump(asked, sys.stdout)
