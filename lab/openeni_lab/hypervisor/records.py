"""The hypervisor's records, in files: machines, their NICs, ports, faults to inject.

There is no hypervisor daemon: Nova's process, Neutron's process and the lab read and write these
files. Each record is one JSON file named after its object and replaced atomically. Records that
must end with the lab's namespaces are in the lab's /run, the others in its folder. Standard
library only: Nova's and Neutron's own Python imports it.
"""

import fcntl
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import get_ident
from typing import Any, Final

from openeni_lab.hypervisor.antispoof import AddressPair, PortFacts, device_name

DEFAULT_MTU: Final = 1450  # what Neutron gives a VXLAN network
RUNNING: Final = Path("/run/openeni-lab/machines")  # inside the lab
FIRST_SLOT: Final = 3  # a cloud image names its first NIC ens3


@dataclass(frozen=True)
class MachineRecord:
    """A running machine that stands for a Nova server: `<name>.json` in `RUNNING`.

    `Hypervisor.power_on` writes it when the machine can take NICs, `Hypervisor.power_off` removes
    it. Paths are those inside the lab's namespaces.
    """

    name: str
    server_id: str
    kind: str  # "namespace" or "vm"
    netns: str = ""  # namespace: a path such as /proc/<pid>/ns/net
    mconsole: str = ""  # vm: the socket of the kernel's management console
    guest_host: str = ""  # vm: where the guest's init listens (client.GuestEndpoint)
    guest_port: int = 0
    guest_token: str = ""

    def __post_init__(self) -> None:
        if self.kind not in {"namespace", "vm"}:
            raise ValueError(f"machine {self.name}: kind is {self.kind!r}, not namespace or vm")

    @property
    def encoded(self) -> bytes:
        """Return it as `power-on` of `hypervisor.command` reads it."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class Nic:
    """A port plugged into a server, its machine running or not: `<state>/nics/<port id>.json`."""

    port_id: str
    server_id: str
    mac: str
    network: str
    mtu: int
    number: int  # the lowest free one of the server; `vec<number>` in a VM

    @property
    def device(self) -> str:
        """Return the name of the device on the bridge, in the lab's network namespace."""
        return device_name(self.port_id)

    @property
    def bridge(self) -> str:
        return bridge_name(self.network)

    @property
    def guest_name(self) -> str:
        """Return its name on a namespace node; a user-mode kernel calls it `vec<number>`."""
        return f"ens{FIRST_SLOT + self.number}"

    @property
    def vector(self) -> str:
        """Return the text after `vec<number>:` for a user-mode kernel, at boot and at hot-plug.

        Without gro=1, bulk TCP into the guest stalls ("Incoming GSO frames and GRO disabled").
        """
        return f"transport=tap,ifname={self.device},depth=128,gro=1,mac={self.mac},mtu={self.mtu}"


@dataclass(frozen=True)
class Faults:
    """Hot-plug faults to inject into a machine; none by default."""

    attach_seconds: float = 0.0
    lost_hotplug: bool = False  # report success, but the NIC never appears
    max_nics: int = 0  # 0: no limit
    address: str = ""  # CIDR that a DHCP client in the guest sets on the new NIC, with the link up
    nic_name: str = ""  # name that the guest gives to the new NIC


def bridge_name(network: str) -> str:
    return f"br-{network}"


class Records:
    """The records of one lab, below its state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._nics = state / "nics"
        self._ports = state / "ports"

    @contextmanager
    def locked(self, server_id: str) -> Generator[None]:
        """Serialise changes of a server's NICs between processes."""
        self._nics.mkdir(parents=True, exist_ok=True)
        with (self._nics / f"{server_id}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def machine(self, server_id: str) -> MachineRecord | None:
        """Return the running machine of a server, or None."""
        found = map(_read, RUNNING.glob("*.json"))
        records = (MachineRecord(**values) for values in found if values)
        return next((record for record in records if record.server_id == server_id), None)

    def machine_named(self, name: str) -> MachineRecord | None:
        values = _read(RUNNING / f"{name}.json")
        return MachineRecord(**values) if values else None

    def put_machine(self, record: MachineRecord) -> None:
        _write(RUNNING / f"{record.name}.json", asdict(record))

    def remove_machine(self, name: str) -> None:
        (RUNNING / f"{name}.json").unlink(missing_ok=True)

    def nic(self, port_id: str) -> Nic | None:
        values = _read(self._nics / f"{port_id}.json")
        return Nic(**values) if values else None

    def nics(self, server_id: str | None = None) -> list[Nic]:
        """Return the NICs of one server, or of all, sorted by number."""
        found = (Nic(**values) for values in map(_read, self._nics.glob("*.json")) if values)
        mine = (nic for nic in found if server_id in {None, nic.server_id})
        return sorted(mine, key=lambda nic: (nic.server_id, nic.number))

    def put_nic(self, nic: Nic) -> None:
        _write(self._nics / f"{nic.port_id}.json", asdict(nic))

    def remove_nic(self, port_id: str) -> None:
        (self._nics / f"{port_id}.json").unlink(missing_ok=True)

    def ports(self) -> list[PortFacts]:
        """Return every port that Neutron has reported and not deleted."""
        return [_port(values) for values in map(_read, self._ports.glob("*.json")) if values]

    def port(self, port_id: str) -> PortFacts | None:
        values = _read(self._ports / f"{port_id}.json")
        return _port(values) if values else None

    def put_port(self, port: PortFacts) -> None:
        _write(self._ports / f"{port.port_id}.json", asdict(port))

    def remove_port(self, port_id: str) -> None:
        (self._ports / f"{port_id}.json").unlink(missing_ok=True)

    def faults(self, machine: str) -> Faults:
        """Return the faults of a machine; `*` in the file is the default for all machines."""
        wanted = _read(self.state / "faults.json")
        return Faults(**wanted.get(machine, wanted.get("*", {})))

    def put_faults(self, faults: Mapping[str, Faults]) -> None:
        """Replace all faults; an empty mapping removes them."""
        _write(self.state / "faults.json", {name: asdict(f) for name, f in faults.items()})

    @property
    def arp_responder(self) -> bool:
        return (self.state / "arp-responder").exists()

    def put_arp_responder(self, *, on: bool) -> None:
        path = self.state / "arp-responder"
        path.touch() if on else path.unlink(missing_ok=True)


def _port(values: dict[str, Any]) -> PortFacts:
    values["pairs"] = tuple(AddressPair(**pair) for pair in values["pairs"])
    values["fixed_ips"] = tuple(values["fixed_ips"])
    return PortFacts(**values)


def _read(path: Path) -> dict[str, Any]:
    """Read a record; return {} if it does not exist."""
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return values


def _write(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a record atomically: readers take no lock. Only root can read it: it has tokens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
    draft.write_text(json.dumps(values, indent=1))
    draft.chmod(0o600)
    draft.replace(path)
