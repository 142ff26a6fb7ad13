"""Giving a NIC to a machine and taking it away: a veth for a namespace, a tap for a VM.

What differs between the two kinds of node is here and nowhere else. The bridge's end has the same
name and the same place in both, so network and anti-spoofing do not see the difference. All
commands run in the lab's network namespace. Standard library only (Nova's process imports it).
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
    """A NIC could not be given or taken; the text is one line."""


def run(argv: Sequence[str], text: str = "") -> str:
    """Run a program in the lab's network namespace; PlugError with its complaint if it fails."""
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
    """Whether the lab's network namespace has the device."""
    try:
        socket.if_nametoindex(device)
    except OSError:
        return False
    return True


def attach(
    records: Records, machine: MachineRecord, nic: Nic, faults: Faults, *, new: bool
) -> None:
    """Give a running machine a NIC; it appears in the guest with its MAC, down, without address.

    May be repeated, and completes what was begun. A `new` NIC is one that nobody tried to give.
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
    """Take it away as a hypervisor does: the guest is not asked whether it still uses it."""
    if machine and machine.kind == "vm":
        _detach_vector(records, machine, nic)
    delete_device(nic)


def make_tap(records: Records, nic: Nic) -> None:
    """The tap that a VM's NIC hangs on; a console command for one that is missing answers ok."""
    if not exists(nic.device):
        run(["ip", "tuntap", "add", nic.device, "mode", "tap"])
    _join_bridge(records, nic)


def delete_device(nic: Nic) -> None:
    """Quiet when it is gone: a veth also goes with the namespace of its other end."""
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
        delete_device(nic)  # its other end is in a namespace that is on its way out
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
    """Let the bridge answer ARP requests for addresses behind this device (or flood them again).

    The kernel answers for a neighbour entry of the bridge whose MAC its forwarding table places
    behind a port with proxy_arp_wifi, and then floods the request to no such port
    (net/bridge/br_arp_nd_proxy.c): what ML2/OVN's ARP responder does.
    """
    word = "on" if on else "off"
    run(["ip", "link", "set", nic.device, "type", "bridge_slave", "proxy_arp_wifi", word])
    if on:
        run(["bridge", "fdb", "replace", nic.mac, "dev", nic.device, "master", "static"])


def _attach_vector(records: Records, machine: MachineRecord, nic: Nic, *, new: bool) -> None:
    """Only the guest can say whether it has the NIC: its tap is made before its kernel is asked."""
    make_tap(records, nic)
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            if new or _find(_guest_links(records, machine), nic.mac) is None:
                console(Path(machine.mconsole), f"config vec{nic.number}:{nic.vector}")
        except (OSError, ConsoleError, PlugError) as error:
            if time.monotonic() > deadline:
                raise PlugError(f"{machine.name}, asked for {nic.mac}: {error}") from error
            time.sleep(0.2)
        else:
            return


def _detach_vector(records: Records, machine: MachineRecord, nic: Nic) -> None:
    """A PCI slot would make the guest let go of the NIC; here its init is asked to set it down."""
    name = _find(_guest_links(records, machine), nic.mac)
    if name is None:
        return  # never appeared: a lost hot-plug
    _in_guest(records, machine, ["ip", "link", "set", name, "down"])
    try:
        console(Path(machine.mconsole), f"remove vec{nic.number}")
    except (OSError, ConsoleError) as error:
        raise PlugError(f"{machine.name} does not let go of {name} ({nic.mac}): {error}") from error


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
    """The NIC with this MAC; ipvlan slaves share it and name their parent as `link`."""
    for link in json.loads(links):
        if link.get("address") == mac and ("link" not in link or "link_netnsid" in link):
            return str(link["ifname"])
    return None
