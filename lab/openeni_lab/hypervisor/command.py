"""The lab's hypervisor: what Nova's virt driver and Neutron's ML2 driver call, and people may too.

There is no daemon. State is records in files (nics.py) and devices and rules in the kernel; every
call looks first, so each may be repeated. Standard library only, fast to start:
`python -S -m openeni_lab.hypervisor.command --state FOLDER plug SERVER PORT MAC NETWORK`.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from openeni_lab.hypervisor import antispoof
from openeni_lab.hypervisor.antispoof import PortFacts
from openeni_lab.hypervisor.plug import (
    PlugError,
    answer_for,
    attach,
    delete_device,
    detach,
    exists,
    make_tap,
    run,
)
from openeni_lab.hypervisor.records import (
    DEFAULT_MTU,
    Faults,
    MachineRecord,
    Nic,
    Records,
    bridge_name,
)

NO_FAULTS: Final = Faults()


class Hypervisor:
    """One lab's hypervisor and switch. Its caller runs in the lab's namespaces.

    Every method raises PlugError, one line, when the kernel or a guest refuses.
    """

    def __init__(self, state: Path) -> None:
        self.records = Records(state)

    def plug(
        self, server_id: str, port_id: str, mac: str, network: str, mtu: int = DEFAULT_MTU
    ) -> Nic:
        """Give a server a port's NIC; only recorded while the server's machine does not run.

        Completes what an earlier call that was killed has begun.
        """
        time.sleep(self._faults(self.records.machine(server_id)).attach_seconds)
        with self.records.locked(server_id):
            machine = self.records.machine(server_id)
            faults = self._faults(machine)
            known = self.records.nic(port_id)
            if known and known.server_id != server_id:
                raise PlugError(f"port {port_id} is plugged into server {known.server_id}")
            number = known.number if known else self._free_number(server_id, faults.max_nics)
            nic = known or Nic(port_id, server_id, mac, network, mtu, number)
            self.records.put_nic(nic)
            if machine and not faults.lost_hotplug:
                self._attach(machine, nic, faults, new=known is None)
        return nic

    def _faults(self, machine: MachineRecord | None) -> Faults:
        return self.records.faults(machine.name) if machine else NO_FAULTS

    def unplug(self, port_id: str) -> None:
        """Take a port's NIC away; quiet when nobody has it."""
        while nic := self.records.nic(port_id):
            with self.records.locked(nic.server_id):
                if self.records.nic(port_id) == nic:
                    detach(self.records, self.records.machine(nic.server_id), nic)
                    self.records.remove_nic(port_id)
                    return

    def unplug_all(self, server_id: str) -> None:
        """Take all NICs of a server away, as its deletion does."""
        for nic in self.records.nics(server_id):
            self.unplug(nic.port_id)

    def power_on(self, machine: MachineRecord) -> list[Nic]:
        """Record a running machine and give it the NICs that its server has so far.

        A namespace has them when this returns. For a vm the taps are there and its kernel's
        command line must get `vec<number>:<vector>` of each; later ones come by its console.
        """
        with self.records.locked(machine.server_id):
            self.records.put_machine(machine)
            nics = self.records.nics(machine.server_id)
            for nic in nics:
                if machine.kind == "namespace":
                    attach(self.records, machine, nic, NO_FAULTS, new=False)
                else:
                    make_tap(self.records, nic)
        return nics

    def power_off(self, name: str) -> None:
        """The machine does not run any more; its server keeps its NICs."""
        while machine := self.records.machine_named(name):
            with self.records.locked(machine.server_id):
                if self.records.machine_named(name) == machine:
                    for nic in self.records.nics(machine.server_id):
                        delete_device(nic)
                    self.records.remove_machine(name)
                    return

    def allow(self, port: PortFacts) -> None:
        """Let a port send from what Neutron says it owns, and from nothing else."""
        with self.records.locked("ports"):
            before = self.records.port(port.port_id)
            if before == port:
                return
            run(["nft", "-f", "-"], antispoof.allow(port))
            self.records.put_port(port)
            if self.records.arp_responder:
                self._neighbours(before, port)

    def forget(self, port_id: str) -> None:
        """Undo `allow`; quiet for a port that is not known."""
        with self.records.locked("ports"):
            before = self.records.port(port_id)
            if before is None:
                return
            run(["nft", "-f", "-"], antispoof.forget(port_id))
            self.records.remove_port(port_id)
            if self.records.arp_responder:
                self._neighbours(before, None)

    def restore(self) -> None:
        """Into a new table: what every recorded port may send, which Neutron will not say again."""
        with self.records.locked("ports"):
            ports = self.records.ports()
            run(["nft", "-f", "-"], antispoof.table() + "".join(map(antispoof.allow, ports)))
            if self.records.arp_responder:
                for port in ports:
                    self._neighbours(None, port)

    def dropped(self) -> dict[str, int]:
        """Packets dropped per port id, and as `drop-unknown` those of unknown devices."""
        return antispoof.parse_counters(run(antispoof.COUNTERS_COMMAND))

    def answer_arp(self, *, on: bool) -> None:
        """Answer ARP for every port's fixed IPv4 addresses in the switch, as ML2/OVN does."""
        self.records.put_arp_responder(on=on)
        for nic in self.records.nics():
            if exists(nic.device):
                answer_for(nic, on=on)
        for port in self.records.ports():
            self._neighbours(*((None, port) if on else (port, None)))

    def _free_number(self, server_id: str, limit: int) -> int:
        taken = {nic.number for nic in self.records.nics(server_id)}
        if limit and len(taken) >= limit:
            raise PlugError(f"server {server_id} has {len(taken)} NICs and can take no more")
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def _attach(self, machine: MachineRecord, nic: Nic, faults: Faults, *, new: bool) -> None:
        """Leave nothing of a NIC that cannot be given, but one that was given before."""
        try:
            attach(self.records, machine, nic, faults, new=new)
        except PlugError:
            if new:
                with contextlib.suppress(PlugError):
                    detach(self.records, machine, nic)
                delete_device(nic)
                self.records.remove_nic(nic.port_id)
            raise

    def _neighbours(self, before: PortFacts | None, after: PortFacts | None) -> None:
        old, new = _neighbour_entries(before), _neighbour_entries(after)
        made = (f"neighbour replace {entry} nud permanent" for entry in sorted(new | old))
        gone = (f"neighbour delete {entry}" for entry in sorted(old - new))
        run(["ip", "-batch", "-"], "\n".join([*made, *gone, ""]))


def _neighbour_entries(port: PortFacts | None) -> set[str]:
    if port is None or not exists(bridge_name(port.network)):
        return set()
    where = f"lladdr {port.mac} dev {bridge_name(port.network)}"
    return {f"{address} {where}" for address in port.fixed_ips if ":" not in address}


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="openeni-lab hypervisor", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the lab's folder")
    does = parser.add_subparsers(dest="do", required=True)
    plug = does.add_parser("plug", help="give a server a port's NIC")
    for name in ("server", "port", "mac", "network"):
        plug.add_argument(name)
    plug.add_argument("--mtu", type=int, default=DEFAULT_MTU)
    does.add_parser("unplug", help="take it away").add_argument("port")
    allow = does.add_parser("allow", help="let a port send from these addresses")
    for name in ("port", "mac", "network"):
        allow.add_argument(name)
    allow.add_argument("address", nargs="*")
    does.add_parser("forget", help="undo allow").add_argument("port")
    does.add_parser("power-on", help="record a running machine").add_argument("machine")
    does.add_parser("power-off", help="the machine does not run any more").add_argument("machine")
    does.add_parser("restore", help="the anti-spoofing rules, from the records")
    does.add_parser("dropped", help="packets dropped as spoofed, by port")
    does.add_parser("arp-responder", help="as ML2/OVN").add_argument("word", choices=["on", "off"])
    return parser.parse_args(words)


def _power_on(hypervisor: Hypervisor, machine: str) -> list[dict[str, object]]:
    nics = hypervisor.power_on(MachineRecord(**json.loads(machine)))
    return [{**vars(nic), "vector": nic.vector} for nic in nics]


# What a command returns is printed as JSON.
COMMANDS: Final[Mapping[str, Callable[[Hypervisor, argparse.Namespace], object]]] = {
    "plug": lambda h, a: vars(h.plug(a.server, a.port, a.mac, a.network, a.mtu)),
    "unplug": lambda h, a: h.unplug(a.port),
    "allow": lambda h, a: h.allow(PortFacts(a.port, a.network, a.mac, tuple(a.address))),
    "forget": lambda h, a: h.forget(a.port),
    "power-on": lambda h, a: _power_on(h, a.machine),
    "power-off": lambda h, a: h.power_off(a.machine),
    "restore": lambda h, _: h.restore(),
    "dropped": lambda h, _: h.dropped(),
    "arp-responder": lambda h, a: h.answer_arp(on=a.word == "on"),
}


def main(words: Sequence[str]) -> int:
    """Exit status 1 and one line on standard error when the hypervisor refuses."""
    arguments = _arguments(words)
    try:
        result = COMMANDS[arguments.do](Hypervisor(arguments.state), arguments)
    except (PlugError, ValueError, TypeError) as error:
        print(f"openeni-lab hypervisor: {error}", file=sys.stderr)
        return 1
    if result is not None:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
