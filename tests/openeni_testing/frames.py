"""Ethernet frames made by hand, and a program that sends them from one namespace to another.

Run as a program inside a lab it takes {"sender", "receiver": [namespace path, device], "frames":
[hexadecimal]} on standard input and prints the frames that arrived; standard library only.
"""

import ctypes
import json
import os
import socket
import struct
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from openeni_lab.machine import Machine

ALL_PROTOCOLS: Final = 3  # ETH_P_ALL
NEW_NETWORK: Final = 0x40000000
QUIET_SECONDS: Final = 0.2
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


def ipv4(source: str, sender: str, target: str, payload: bytes = b"", protocol: int = UDP) -> bytes:
    size = 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, protocol, 0)
    head += _ip(sender) + _ip(target)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
    return ethernet(source, 0x0800, head[:10] + checksum + head[12:] + payload)


def udp(source_port: int, target_port: int) -> bytes:
    return struct.pack("!HHHH", source_port, target_port, 8, 0)


def ipv6(source: str, sender: str, target: str, payload: bytes, protocol: int = UDP) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255)
    return ethernet(source, 0x86DD, head + _ip(sender) + _ip(target) + payload)


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
    machine: Machine, sender: tuple[str, str], receiver: tuple[str, str], frames: list[bytes]
) -> list[bytes]:
    """Send frames from one (namespace path, device) to another inside the lab; what arrived."""
    plan = {"sender": sender, "receiver": receiver, "frames": [frame.hex() for frame in frames]}
    lab = str(Path(sys.modules[Machine.__module__].__file__ or "").parent.parent)
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


def _main(plan: dict[str, Any]) -> list[str]:
    receiver, sender = _listen(*plan["receiver"]), _listen(*plan["sender"])
    receiver.settimeout(0.05)
    for frame in plan["frames"]:
        sender.send(bytes.fromhex(frame))
    arrived: list[str] = []
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        try:
            arrived.append(receiver.recv(2048).hex())
        except TimeoutError:
            continue
    return [frame for frame in arrived if frame in plan["frames"]]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main(json.load(sys.stdin))))
