"""What a pod sends that it should not, and a capture of what arrives elsewhere.

A capture ends with a sentinel: an honest datagram that the pod sends after its attack. On one
processor both take the same queues in the order in which they were sent (net/core/dev.c: the
backlog of veth is one for each processor), so no clock tells that nothing more arrives.
"""

import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from openeni_testing.network import frames
from openeni_testing.network.frames import ALL_PROTOCOLS, ICMPV6, UDP
from openeni_testing.network.netns import Namespace

MACs = tuple[str, str]  # of a frame's sender and receiver
Place = tuple[Namespace, str]  # a namespace and a device in it
ROUTER: Final = "fe80::bad"
ALL_NODES: Final = "ff02::1"
DISCARD: Final = 9  # the port of RFC 863
ICMP: Final = 1
TCP: Final = 6
FIN, SYN, ACK = 1, 2, 16  # of TCP's flags
# IP_TRANSPARENT of linux/in.h and IPV6_TRANSPARENT of linux/in6.h: any address as source
_TRANSPARENT: Final = {
    socket.AF_INET: (socket.SOL_IP, 19),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 75),
}
_SECONDS: Final = 30  # until the sentinel must have arrived; what is slow is the machine
_LONGEST: Final = 1 << 16
_IPV4, _IPV6, _VLAN, _PROVIDER_VLAN = 0x0800, 0x86DD, 0x8100, 0x88A8  # linux/if_ether.h


def captured(
    attacker: Namespace, attack: Callable[[], None], honest: str, *places: Place
) -> list[list[bytes]]:
    """Return the frames that pass each place during the attack.

    The sentinel, from the attacker to the address `honest`, must pass the first place.
    """
    sentinel = os.urandom(16)
    listeners = [_listener(*place) for place in places]
    try:
        attacker.run(on_one_processor)
        attack()
        attacker.run(send_datagram, honest, sentinel)
        first, *others = listeners
        first.settimeout(_SECONDS)
        return [_until(first, sentinel), *map(_rest, others)]
    finally:
        for listener in listeners:
            listener.close()


def received(
    attacker: Namespace,
    attack: Callable[[], None],
    honest: str,
    listener: Namespace,
    *,
    bound: str = "",
) -> list[str]:
    """Return the senders' addresses of the datagrams that `heard` returns."""
    return [address for address, _ in heard(attacker, attack, honest, listener, bound=bound)]


def heard(
    attacker: Namespace,
    attack: Callable[[], None],
    honest: str,
    listener: Namespace,
    *,
    bound: str = "",
) -> list[tuple[str, int]]:
    """Return from where the datagrams come that a socket of `listener` receives in the attack.

    It is bound to `honest`, where the sentinel goes, unless `bound` says otherwise.
    """
    family = socket.AF_INET6 if ":" in honest else socket.AF_INET
    sentinel = os.urandom(16)
    with listener.run(socket.socket, family, socket.SOCK_DGRAM) as sink:
        sink.bind((bound or honest, DISCARD))
        sink.settimeout(_SECONDS)
        attacker.run(on_one_processor)
        attack()
        attacker.run(send_datagram, honest, sentinel)
        seen: list[tuple[str, int]] = []
        while True:
            payload, sender = sink.recvfrom(_LONGEST)
            if payload == sentinel:
                return seen
            seen.append(sender[:2])


def send_datagram(target: str, payload: bytes, source: str = "", device: str = "") -> None:
    """Send a datagram from any source; with `device` to a link-local address there."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    scope = (0, socket.if_nametoindex(device)) if device else ()
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        if source:
            sender.setsockopt(*_TRANSPARENT[family], 1)
            sender.bind((source, 0))
        sender.sendto(payload, (target, DISCARD, *scope))


def send_frames(device: str, sent: Sequence[bytes], kind: int = 0) -> None:
    """Send frames as they are; an error says that the link has dropped one.

    With `kind` the kernel is told that they are of this type, whatever their headers say. Without,
    of their own: some kernels (tried: 6.1) send nothing by a slave in l3s or l3 otherwise.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        for frame in sent:
            with suppress(OSError):
                sender.sendto(frame, (device, kind or type_of(frame)))


def sending(namespace: Namespace, device: str, *sent: bytes) -> Callable[[], None]:
    """Return the attack that sends frames by a device of the namespace."""
    return lambda: namespace.run(send_frames, device, sent)


def on_one_processor() -> None:
    """Have the calling thread send everything by the queues of one processor."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def type_of(frame: bytes) -> int:
    """Return the Ethernet type in a frame, which is that of its VLAN tag if it has one."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    return int(kind)


def addresses_of(frame: bytes) -> tuple[str, str]:
    """Return source and target of a frame with an IP packet, under a VLAN tag or not; else ""."""
    offset, kind = 14, type_of(frame)
    if kind in (_VLAN, _PROVIDER_VLAN):
        offset, (kind,) = 18, struct.unpack_from("!H", frame, 16)
    start, size = {_IPV4: (12, 4), _IPV6: (8, 16)}.get(kind, (0, 0))
    if not size:
        return "", ""
    at = offset + start
    source, target = frame[at : at + size], frame[at + size : at + 2 * size]
    return str(ip_address(source)), str(ip_address(target))


def icmpv6(source: str, target: str, kind: int, body: bytes, macs: MACs) -> bytes:
    """Return a frame with an ICMPv6 message: `body` is what follows its checksum."""
    message = _checksummed(source, target, ICMPV6, struct.pack("!BBH", kind, 0, 0) + body, 2)
    return frames.ipv6(macs[0], source, target, message, ICMPV6, to=macs[1])


def icmp_redirect(source: str, target: str, gateway: str, macs: MACs) -> bytes:
    """Return a frame with an ICMP redirect of what `target` sends to the outside."""
    original = frames.ipv4(macs[0], target, "192.0.2.2", frames.udp(DISCARD, DISCARD))[14:42]
    body = struct.pack("!BBH", 5, 1, 0) + ip_address(gateway).packed + original
    message = body[:2] + checksum(body) + body[4:]
    return frames.ipv4(macs[0], source, target, message, ICMP, to=macs[1])


def datagram(
    source: str, target: str, macs: MACs, ports: tuple[int, int] = (DISCARD, DISCARD)
) -> bytes:
    """Return a frame with a UDP datagram, in the family of its addresses."""
    head, payload = frames.udp(*ports), b"openeni"
    message = head[:4] + struct.pack("!H", len(head) + len(payload)) + head[6:] + payload
    if ":" not in source:
        return frames.ipv4(macs[0], source, target, message, to=macs[1])
    message = _checksummed(source, target, UDP, message, 6)
    return frames.ipv6(macs[0], source, target, message, to=macs[1])


def datagram_without_length(source: str, target: str, macs: MACs, ports: tuple[int, int]) -> bytes:
    """Return one over IPv6 whose length is 0: the kernel takes it, conntrack calls it invalid."""
    message = frames.udp(*ports)[:4] + bytes(4) + b"openeni"
    return frames.ipv6(
        macs[0], source, target, _checksummed(source, target, UDP, message, 6), to=macs[1]
    )


def segment(
    source: str, target: str, ports: tuple[int, int], flags: int, *, right: bool = True
) -> bytes:
    """Return a TCP segment without data or options; its checksum is right or wrong."""
    tcp = struct.pack("!HHIIBBHHH", *ports, 1000, 2000, 0x50, flags, 65535, 0, 0)
    tcp = _checksummed(source, target, TCP, tcp, 16)
    return tcp if right else tcp[:16] + bytes(byte ^ 0x55 for byte in tcp[16:18]) + tcp[18:]


def tagged(frame: bytes, vlan: int, kind: int = _VLAN) -> bytes:
    """Return the frame with a VLAN tag."""
    return frame[:12] + struct.pack("!HH", kind, vlan) + frame[12:]


def router_advertisement(macs: MACs) -> bytes:
    """Return one that offers a default route of high preference and a prefix for addresses."""
    link_layer = struct.pack("!BB", 1, 1) + bytes.fromhex(macs[0].replace(":", ""))
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 86400, 0)
    prefix += ip_address("2001:db8:bad::").packed
    body = struct.pack("!BBHII", 64, 0x08, 1800, 0, 0) + link_layer + prefix
    return icmpv6(ROUTER, ALL_NODES, 134, body, macs)


def checksum(data: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def _checksummed(source: str, target: str, protocol: int, message: bytes, at: int) -> bytes:
    """Return the message of an IPv6 packet with its checksum at this offset."""
    addresses = ip_address(source).packed + ip_address(target).packed
    total = checksum(addresses + struct.pack("!II", len(message), protocol) + message)
    return message[:at] + total + message[at + 2 :]


def _listener(namespace: Namespace, device: str) -> socket.socket:
    raw = namespace.run(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.bind((device, ALL_PROTOCOLS))
    return raw


def _until(listener: socket.socket, sentinel: bytes) -> list[bytes]:
    seen: list[bytes] = []
    while sentinel not in (frame := listener.recv(_LONGEST)):
        seen.append(frame)
    return seen


def _rest(listener: socket.socket) -> list[bytes]:
    listener.setblocking(False)
    seen: list[bytes] = []
    while True:
        try:
            seen.append(listener.recv(_LONGEST))
        except BlockingIOError:
            return seen
