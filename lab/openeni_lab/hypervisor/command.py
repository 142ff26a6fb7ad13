"""The lab's hypervisor, called by Nova's virt driver, by Neutron's ML2 driver and by people.

There is no daemon. Its state is in files (`records`) and in the kernel's devices and rules. Every
call compares before it changes anything and may be repeated. Standard library only, fast to start:
`python -S -m openeni_lab.hypervisor.command --state FOLDER plug SERVER PORT MAC NETWORK`.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
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
    """One lab's hypervisor and switch. The caller runs in the lab's namespaces.

    Every method raises PlugError when the kernel or a guest refuses.
    """

    def __init__(self, state: Path) -> None:
        self.records = Records(state)

    def plug(
        self, server_id: str, port_id: str, mac: str, network: str, mtu: int = DEFAULT_MTU
    ) -> Nic:
        """Plug a port's NIC into a server; only record it while the server's machine is off.

        Completes an earlier call that was killed.
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
        """Unplug a port's NIC; do nothing if it is not plugged."""
        while nic := self.records.nic(port_id):
            with self.records.locked(nic.server_id):
                if self.records.nic(port_id) == nic:
                    detach(self.records, self.records.machine(nic.server_id), nic)
                    self.records.remove_nic(port_id)
                    return

    def unplug_all(self, server_id: str) -> None:
        """Unplug all NICs of a server, as its deletion does."""
        for nic in self.records.nics(server_id):
            self.unplug(nic.port_id)

    def power_on(self, machine: MachineRecord) -> list[Nic]:
        """Record that a machine runs, and attach the NICs that its server has.

        A namespace has its NICs when this returns. A VM has taps, and the caller passes
        `vec<number>:<vector>` of each on the kernel's command line; its console plugs later NICs.
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
        """Record that a machine is off; its server keeps its NICs."""
        while machine := self.records.machine_named(name):
            with self.records.locked(machine.server_id):
                if self.records.machine_named(name) == machine:
                    for nic in self.records.nics(machine.server_id):
                        delete_device(nic)
                    self.records.remove_machine(name)
                    return

    def allow(self, port: PortFacts) -> None:
        """Allow a port to send from its own addresses and allowed pairs only."""
        with self.records.locked("ports"):
            before = self.records.port(port.port_id)
            if before == port:
                return
            run(["nft", "-f", "-"], antispoof.allow(port))
            self.records.put_port(port)
            if self.records.arp_responder:
                self._neighbours(before, port)

    def forget(self, port_id: str) -> None:
        """Undo `allow`; do nothing for an unknown port."""
        with self.records.locked("ports"):
            before = self.records.port(port_id)
            if before is None:
                return
            run(["nft", "-f", "-"], antispoof.forget(port_id))
            self.records.remove_port(port_id)
            if self.records.arp_responder:
                self._neighbours(before, None)

    def restore(self) -> None:
        """Fill a new table from the recorded ports: Neutron does not send them again."""
        with self.records.locked("ports"):
            ports = self.records.ports()
            run(["nft", "-f", "-"], antispoof.table() + "".join(map(antispoof.allow, ports)))
            if self.records.arp_responder:
                for port in ports:
                    self._neighbours(None, port)

    def dropped(self) -> dict[str, int]:
        """Return the packets dropped by port id; `drop-unknown` counts unknown devices."""
        return antispoof.parse_counters(run(antispoof.COUNTERS_COMMAND))

    def answer_arp(self, *, on: bool) -> None:
        """Answer ARP for every port's fixed IPv4 addresses in the switch, as ML2/OVN does."""
        self.records.put_arp_responder(on=on)
        for nic in self.records.nics():
            if exists(nic.device):
                answer_for(nic, on=on)
        for port in self.records.ports():
            if on:
                self._neighbours(None, port)
            else:
                self._neighbours(port, None)

    def _free_number(self, server_id: str, limit: int) -> int:
        taken = {nic.number for nic in self.records.nics(server_id)}
        if limit and len(taken) >= limit:
            raise PlugError(f"server {server_id} has {len(taken)} NICs and can take no more")
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def _attach(self, machine: MachineRecord, nic: Nic, faults: Faults, *, new: bool) -> None:
        """Attach a NIC; if that fails, remove it unless it was plugged before."""
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
        """Update the bridges' permanent neighbour entries, which the ARP responder answers from."""
        old, new = _neighbour_entries(before), _neighbour_entries(after)
        made = (f"neighbour replace {entry} nud permanent" for entry in sorted(new | old))
        gone = (f"neighbour delete {entry}" for entry in sorted(old - new))
        run(["ip", "-batch", "-"], "\n".join([*made, *gone, ""]))


def _neighbour_entries(port: PortFacts | None) -> set[str]:
    if port is None or not exists(bridge_name(port.network)):
        return set()
    where = f"lladdr {port.mac} dev {bridge_name(port.network)}"
    return {f"{address} {where}" for address in port.fixed_ips if ":" not in address}


Do = Callable[[Hypervisor, argparse.Namespace], object]


def _parser() -> argparse.ArgumentParser:
    """Return the command line; `do` of the result is the function that runs the command."""
    parser = argparse.ArgumentParser(prog="openeni-lab hypervisor", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the lab's folder")
    commands = parser.add_subparsers(required=True)

    def command(name: str, description: str, do: Do, *arguments: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=description)
        added.set_defaults(do=do)
        for argument in arguments:
            added.add_argument(argument)
        return added

    port = ("port", "mac", "network")
    plug = command("plug", "plug a port's NIC into a server", _plug, "server", *port)
    plug.add_argument("--mtu", type=int, default=DEFAULT_MTU)
    command("unplug", "unplug it", _unplug, "port")
    allow = command("allow", "allow a port to send from these addresses", _allow, *port)
    allow.add_argument("address", nargs="*")
    command("forget", "undo allow", _forget, "port")
    command("power-on", "record that a machine runs, which standard input describes", _power_on)
    command("power-off", "record that a machine is off", _power_off, "machine")
    command("restore", "write the anti-spoofing rules again", _restore)
    command("dropped", "count packets dropped as spoofed, by port", _dropped)
    responder = command("arp-responder", "answer ARP as ML2/OVN does", _arp_responder)
    responder.add_argument("word", choices=["on", "off"])
    return parser


def _plug(hypervisor: Hypervisor, given: argparse.Namespace) -> dict[str, object]:
    return vars(hypervisor.plug(given.server, given.port, given.mac, given.network, given.mtu))


def _unplug(hypervisor: Hypervisor, given: argparse.Namespace) -> None:
    hypervisor.unplug(given.port)


def _allow(hypervisor: Hypervisor, given: argparse.Namespace) -> None:
    hypervisor.allow(PortFacts(given.port, given.network, given.mac, tuple(given.address)))


def _forget(hypervisor: Hypervisor, given: argparse.Namespace) -> None:
    hypervisor.forget(given.port)


def _power_on(hypervisor: Hypervisor, _given: argparse.Namespace) -> list[dict[str, object]]:
    """Read the machine's record, whose token must not be on a command line."""
    nics = hypervisor.power_on(MachineRecord(**json.load(sys.stdin)))
    return [{**vars(nic), "vector": nic.vector} for nic in nics]


def _power_off(hypervisor: Hypervisor, given: argparse.Namespace) -> None:
    hypervisor.power_off(given.machine)


def _restore(hypervisor: Hypervisor, _given: argparse.Namespace) -> None:
    hypervisor.restore()


def _dropped(hypervisor: Hypervisor, _given: argparse.Namespace) -> dict[str, int]:
    return hypervisor.dropped()


def _arp_responder(hypervisor: Hypervisor, given: argparse.Namespace) -> None:
    hypervisor.answer_arp(on=given.word == "on")


def main(argv: Sequence[str]) -> int:
    """Run a command and print its result as JSON; return 1 after one line if it is refused."""
    given = _parser().parse_args(argv)
    try:
        result = given.do(Hypervisor(given.state), given)
    except (PlugError, ValueError, TypeError) as error:
        print(f"openeni-lab hypervisor: {error}", file=sys.stderr)
        return 1
    if result is not None:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
