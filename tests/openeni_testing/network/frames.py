"""Ethernet frames made by hand, and a program that sends them from one namespace to another.

Run as a program inside a lab it takes {"sender", "receiver", "witness": [namespace path, device],
"frames": [hexadecimal]} on standard input and prints the frames that arrived; standard library
only. A frame that does not arrive is known by a last frame, the sentinel, that does: no clock.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
from ipaddress import ip_address
from typing import Any, Final

from openeni_lab import layout
from openeni_lab.machine.client import Machine

ALL_PROTOCOLS: Final = 3  # ETH_P_ALL
NEW_NETWORK: Final = 0x40000000
RARP: Final = 0x8035
GET_HARDWARE_ADDRESS: Final = 0x8927  # SIOCGIFHWADDR
SENTINEL_SECONDS: Final = 60  # until it must have arrived; what is slow is the machine
BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
UDP: Final = 17
ICMPV6: Final = 58


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ip(text: str) -> bytes:
    return ip_address(text).packed


def ethernet(source: str, kind: int, payload: bytes, target: str = BROADCAST) -> bytes:
    return (_mac(target) + _mac(source) + struct.pack("!H", kind) + payload).ljust(60, b"\0")


def arp(source: str, sender_mac: str, sender: str, target: str, *, reply: bool = False) -> bytes:
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2 if reply else 1)
    return ethernet(source, 0x0806, fixed + _mac(sender_mac) + _ip(sender) + bytes(6) + _ip(target))


def ipv4(
    source: str,
    sender: str,
    target: str,
    payload: bytes = b"",
    protocol: int = UDP,
    *,
    to: str = BROADCAST,
) -> bytes:
    size = 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, protocol, 0)
    head += _ip(sender) + _ip(target)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
    return ethernet(source, 0x0800, head[:10] + checksum + head[12:] + payload, to)


def udp(source_port: int, target_port: int) -> bytes:
    return struct.pack("!HHHH", source_port, target_port, 8, 0)


def ipv6(
    source: str,
    sender: str,
    target: str,
    payload: bytes,
    protocol: int = UDP,
    *,
    to: str = BROADCAST,
) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255)
    return ethernet(source, 0x86DD, head + _ip(sender) + _ip(target) + payload, to)


def icmpv6(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBH", kind, 0, 0) + body


def neighbour(kind: int, target: str) -> bytes:
    """Solicitation (135) or advertisement (136) for `target`."""
    return icmpv6(kind, bytes(4) + _ip(target))


def multicast_report() -> bytes:
    """An MLDv2 report (143), behind the router alert that it carries in a hop-by-hop header."""
    hop_by_hop = struct.pack("!BB", ICMPV6, 0) + bytes.fromhex("050200000100")
    return hop_by_hop + icmpv6(143, bytes(4))


def exchange(
    machine: Machine,
    sender: tuple[str, str],
    receiver: tuple[str, str],
    frames: list[bytes],
    *,
    witness: tuple[str, str] | None = None,
) -> list[bytes]:
    """Send frames from one (namespace path, device) to another in the lab; return what arrives.

    The sentinel is a RARP frame with its device's own MAC, which every port may send. It leaves by
    `witness`, another port of the same network, where the sender may send nothing.
    """
    plan = {
        "sender": sender,
        "receiver": receiver,
        "witness": witness or sender,
        "frames": [frame.hex() for frame in frames],
    }
    lab = layout.PACKAGES
    command = [sys.executable, "-S", __file__]
    answer = machine.check(command, env={"PYTHONPATH": lab}, stdin=json.dumps(plan).encode())
    return [bytes.fromhex(frame) for frame in json.loads(answer)]


def _listen(namespace: str, device: str) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY)
    if libc.setns(descriptor, NEW_NETWORK):
        raise OSError(ctypes.get_errno(), namespace)
    os.close(descriptor)
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    raw.bind((device, ALL_PROTOCOLS))
    return raw


def _sentinel(device: socket.socket, name: str) -> bytes:
    """A frame that no other run has sent."""
    request = struct.pack("16s16x", name.encode())
    own = fcntl.ioctl(device, GET_HARDWARE_ADDRESS, request)[18:24].hex(":")
    return ethernet(own, RARP, os.urandom(28))


def _main(plan: dict[str, Any]) -> list[str]:
    # On one processor every frame takes the same queues in the order in which it was sent
    # (net/core/dev.c: the backlog of veth is one a processor), so the sentinel comes last.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    receiver, sender = _listen(*plan["receiver"]), _listen(*plan["sender"])
    witness = _listen(*plan["witness"])
    receiver.settimeout(SENTINEL_SECONDS)
    sentinel = _sentinel(witness, plan["witness"][1])
    for frame in plan["frames"]:
        sender.send(bytes.fromhex(frame))
    witness.send(sentinel)
    arrived: list[str] = []
    while (frame := receiver.recv(2048)) != sentinel:
        arrived.append(frame.hex())
    return [frame for frame in arrived if frame in plan["frames"]]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main(json.load(sys.stdin))))
