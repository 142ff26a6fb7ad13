"""Attach a NIC to a machine and detach it: a veth for a namespace, a tap for a VM.

Only this module treats the two kinds of node differently. The device on the bridge has the same
name in both cases, so that network and anti-spoofing need not distinguish them. All commands run in
the lab's network namespace. Standard library only (Nova's process imports it).
"""

import json
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from openeni_lab.hypervisor.records import Faults, MachineRecord, Nic, Records
from openeni_lab.hypervisor.uml import ConsoleError, console
from openeni_lab.machine.client import GuestEndpoint, Machine, MachineError

COMMAND_SECONDS: Final = 30.0
BOOT_SECONDS: Final = 120.0  # until a started guest's console answers, on a slow machine


class PlugError(Exception):
    """A NIC could not be plugged or unplugged. The text is one line."""


def run(argv: Sequence[str], text: str = "") -> str:
    """Run a program in the lab's network namespace; raise PlugError with its error line."""
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PlugError(f"{argv[0]} did not end within {COMMAND_SECONDS:.0f} s") from error
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise PlugError(f"{' '.join(argv)}: {complaint[0]}")
    return done.stdout


def exists(device: str) -> bool:
    """Return True if the lab's network namespace has the device."""
    try:
        socket.if_nametoindex(device)
    except OSError:
        return False
    return True


def attach(
    records: Records, machine: MachineRecord, nic: Nic, faults: Faults, *, new: bool
) -> None:
    """Attach a NIC to a running machine: it appears with its MAC, down, without an address.

    Safe to repeat; completes an interrupted attempt. `new` says that there was none before.
    """
    if machine.kind == "namespace":
        _attach_veth(records, machine, nic, faults.nic_name or nic.guest_name)
    else:
        _attach_vector(records, machine, nic, new=new)
        if faults.nic_name:
            _rename(records, machine, nic, faults.nic_name)
    _join_bridge(records, nic)
    if faults.address:
        name = _name_in(_guest_links(records, machine), nic.mac)
        _in_guest(records, machine, ["ip", "address", "replace", faults.address, "dev", name])
        _in_guest(records, machine, ["ip", "link", "set", name, "up"])


def _rename(records: Records, machine: MachineRecord, nic: Nic, name: str) -> None:
    old = _name_in(_guest_links(records, machine), nic.mac)
    if old != name:
        _in_guest(records, machine, ["ip", "link", "set", old, "name", name])


def detach(records: Records, machine: MachineRecord | None, nic: Nic) -> None:
    """Detach a NIC as a hypervisor does, whether or not the guest still uses it."""
    if machine and machine.kind == "vm":
        _detach_vector(records, machine, nic)
    delete_device(nic)


def make_tap(records: Records, nic: Nic) -> None:
    """Create the tap of a VM's NIC. UML's console reports success even if the tap is missing."""
    if not exists(nic.device):
        run(["ip", "tuntap", "add", nic.device, "mode", "tap"])
    _join_bridge(records, nic)


def delete_device(nic: Nic) -> None:
    """Delete a NIC's device if it exists: a veth also ends with its peer's namespace."""
    if exists(nic.device):
        try:
            run(["ip", "link", "delete", nic.device])
        except PlugError:
            if exists(nic.device):
                raise


def _attach_veth(records: Records, machine: MachineRecord, nic: Nic, name: str) -> None:
    if exists(nic.device):
        if _find(_guest_links(records, machine), nic.mac):
            return
        delete_device(nic)  # its peer is in a namespace that is being removed
    mtu = ["mtu", str(nic.mtu)]
    ours = ["ip", "link", "add", nic.device, *mtu, "type", "veth"]
    run([*ours, "peer", "name", name, *mtu, "address", nic.mac, "netns", machine.netns])


def _join_bridge(records: Records, nic: Nic) -> None:
    if not exists(nic.bridge):
        raise PlugError(f"the lab has no bridge {nic.bridge} for the network {nic.network!r}")
    place = ["ip", "link", "set", nic.device, "mtu", str(nic.mtu), "master", nic.bridge, "up"]
    run(place)
    if records.arp_responder:
        answer_for(nic, on=True)


def answer_for(nic: Nic, *, on: bool) -> None:
    """Let the bridge answer ARP requests for addresses behind this device, or flood them again.

    The kernel answers for a neighbour entry of the bridge if the forwarding table has its MAC
    behind a port with proxy_arp_wifi, and does not flood the request to such ports
    (net/bridge/br_arp_nd_proxy.c). ML2/OVN's ARP responder behaves in the same way.
    """
    word = "on" if on else "off"
    run(["ip", "link", "set", nic.device, "type", "bridge_slave", "proxy_arp_wifi", word])
    if on:
        run(["bridge", "fdb", "replace", nic.mac, "dev", nic.device, "master", "static"])


def _attach_vector(records: Records, machine: MachineRecord, nic: Nic, *, new: bool) -> None:
    """Create the tap, then plug the NIC unless the guest has it; only the guest knows."""
    make_tap(records, nic)
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            if new or _find(_guest_links(records, machine), nic.mac) is None:
                console(Path(machine.mconsole), f"config vec{nic.number}:{nic.vector}")
        except (OSError, ConsoleError, PlugError) as error:
            if time.monotonic() > deadline:
                raise PlugError(f"{machine.name} did not take {nic.mac}: {error}") from error
            time.sleep(0.2)
        else:
            return


def _detach_vector(records: Records, machine: MachineRecord, nic: Nic) -> None:
    """Set the link down, then remove it: UML returns EBUSY while it is up (vector_kern.c)."""
    name = _find(_guest_links(records, machine), nic.mac)
    if name is None:
        return  # never appeared: a lost hot-plug
    _in_guest(records, machine, ["ip", "link", "set", name, "down"])
    try:
        console(Path(machine.mconsole), f"remove vec{nic.number}")
    except (OSError, ConsoleError) as error:
        raise PlugError(f"{machine.name} does not release {name} ({nic.mac}): {error}") from error


def _in_guest(records: Records, machine: MachineRecord, argv: Sequence[str]) -> str:
    if machine.kind == "namespace":
        return run(["nsenter", f"--net={machine.netns}", *argv])
    guest = GuestEndpoint(machine.guest_host, machine.guest_port, machine.guest_token)
    try:
        return Machine(records.state / "init.sock", guest).check(argv, timeout=COMMAND_SECONDS)
    except MachineError as error:
        raise PlugError(f"{machine.name}: {error}") from error


def _guest_links(records: Records, machine: MachineRecord) -> str:
    return _in_guest(records, machine, ["ip", "-json", "link"])


def _name_in(links: str, mac: str) -> str:
    name = _find(links, mac)
    if name is None:
        raise PlugError(f"the guest has no NIC {mac}")
    return name


def _find(links: str, mac: str) -> str | None:
    """Return the NIC with this MAC; ipvlan slaves have the same MAC and a parent (`link`)."""
    for link in json.loads(links):
        if link.get("address") == mac and ("link" not in link or "link_netnsid" in link):
            return str(link["ifname"])
    return None
