"""A network namespace in place of a node, and the hypervisor's commands that plug its NICs."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openeni_lab import layout
from openeni_lab.hypervisor.records import MachineRecord
from openeni_lab.layout import Layout
from openeni_lab.machine.client import Finished, Machine


@dataclass(frozen=True)
class HypervisorCommand:
    """`python -m openeni_lab.hypervisor.command` inside a lab."""

    layout: Layout
    machine: Machine

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> Finished:
        command = [sys.executable, "-S", "-m", "openeni_lab.hypervisor.command"]
        return self.machine.run(
            [*command, f"--state={self.layout.state}", *words],
            env={"PYTHONPATH": layout.PACKAGES, **(env or {})},
            stdin=stdin,
        )

    def __call__(self, *words: str, stdin: bytes = b"") -> Any:
        """Run a command that must succeed; return its decoded output."""
        finished = self.run(*words, stdin=stdin)
        assert not finished.code, finished.complaint
        return json.loads(finished.text) if finished.text else None


@dataclass(frozen=True)
class FakeNode:
    """A namespace called `name` in the lab, the machine of the server `server_id`."""

    name: str
    server_id: str
    machine: Machine
    hypervisor: HypervisorCommand

    @classmethod
    def make(cls, layout: Layout, machine: Machine, name: str, server_id: str = "") -> "FakeNode":
        machine.check(["ip", "netns", "add", name])
        return cls(name, server_id or f"server-{name}", machine, HypervisorCommand(layout, machine))

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.name}"

    def power_on(self) -> list[dict[str, Any]]:
        record = MachineRecord(self.name, self.server_id, "namespace", netns=self.netns)
        nics: list[dict[str, Any]] = self.hypervisor("power-on", stdin=record.encoded)
        return nics

    def power_off(self) -> None:
        self.hypervisor("power-off", self.name)

    def plug(self, port_id: str, mac: str, *addresses: str, network: str = "pods") -> None:
        """Allow a port and plug it, as Neutron and Nova do."""
        self.hypervisor("allow", port_id, mac, network, *addresses)
        self.hypervisor("plug", self.server_id, port_id, mac, network)

    def run(self, *argv: str) -> Finished:
        return self.machine.run(["ip", "netns", "exec", self.name, *argv])

    def check(self, *argv: str) -> str:
        return self.machine.check(["ip", "netns", "exec", self.name, *argv])

    def nic(self, mac: str) -> dict[str, Any] | None:
        """Return the NIC with this MAC as `ip -json address` shows it, or None."""
        links: list[dict[str, Any]] = json.loads(self.check("ip", "-json", "address"))
        return next((link for link in links if link.get("address") == mac), None)

    def bring_up(self, mac: str, address: str) -> str:
        """Add an address with its prefix to the NIC with this MAC, set it up, return its name."""
        nic = self.nic(mac)
        assert nic, f"no NIC {mac} on {self.name}"
        name = str(nic["ifname"])
        self.check("ip", "address", "add", address, "dev", name, "nodad")
        self.check("ip", "link", "set", name, "up")
        return name
