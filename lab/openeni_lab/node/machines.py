"""The two kinds of machine a node can be: namespaces of this kernel, or a kernel of its own.

Only making, ending and the first NIC differ; what runs on a node (`node`) does not know its kind.
"""

import json
import secrets
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from openeni_lab import layout
from openeni_lab.cloud import access
from openeni_lab.hypervisor import uml
from openeni_lab.hypervisor.network import host_commands
from openeni_lab.hypervisor.records import MachineRecord
from openeni_lab.kubernetes.certificates import write_secret
from openeni_lab.layout import Layout, NodeLayout
from openeni_lab.machine import sysctl
from openeni_lab.machine.client import GuestEndpoint, Machine
from openeni_lab.machine.enclosure import init_command, init_environment
from openeni_lab.machine.isolation import SYSTEM_FOLDERS

GUEST_PORT: Final = 2222  # of a guest's init, on the node's address
NODES_PREFIX: Final = layout.NODES_CIDR.partition("/")[2]

# As on every Kubernetes node; and no interface speaks IPv6 unasked (its cloud would drop it).
SYSCTLS: Final = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv6.conf.default.disable_ipv6=1",
)

# What outlives a restart of the node, as a disk does.
PERSISTENT: Final = (
    "/etc/cni",
    "/opt/cni",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/openeni",
    "/var/log/pods",
    "/var/log/containers",
)


class NodeMachine(Protocol):
    """A node's machine: `client` speaks to its init once `start` was called."""

    @property
    def client(self) -> Machine: ...

    def start(self) -> None:
        """Make it, with every NIC that its server has; returns before its init answers."""
        ...

    def configure(self) -> None:
        """Once its init answers: give the first NIC the server's fixed address."""
        ...


@dataclass(frozen=True)
class NodeHost:
    """What both kinds are made in: a lab, its init, and the node's place in it."""

    lab: Layout
    machine: Machine
    node: NodeLayout

    @property
    def folder(self) -> Path:
        return self.lab.node_folder(self.node.name)

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "machine.log"

    @property
    def server(self) -> dict[str, str]:
        """The node's Nova server: `id`, and `mac` and `address` of its first NIC."""
        return access.servers(self.lab)[self.node.name]

    def power_on(self, **how: str | int) -> list[dict[str, Any]]:
        """Tell the hypervisor that the machine runs; its NICs so far."""
        record = MachineRecord(self.node.name, self.server["id"], **how)  # type: ignore[arg-type]
        nics: list[dict[str, Any]] = json.loads(
            self.hypervisor("power-on", json.dumps(vars(record)))
        )
        return nics

    def power_off(self) -> None:
        self.hypervisor("power-off", self.node.name)

    def hypervisor(self, *words: str) -> str:
        command = [sys.executable, "-S", "-m", "openeni_lab.hypervisor.command"]
        return self.machine.check(
            [*command, f"--state={self.lab.state}", *words], env=init_environment()
        )

    def first_nic(self, name: str) -> bytes:
        """For `ip -batch` on the node: what a cloud's image does with its metadata."""
        address = f"{self.node.address}/{NODES_PREFIX}"
        return "\n".join([*host_commands(name, address, layout.NODES_GATEWAY), ""]).encode()


class NamespaceMachine:
    """Namespaces and cgroups of its own on the machine's kernel, and a root copied on write."""

    def __init__(self, host: NodeHost) -> None:
        self._host = host
        self.client = Machine(host.folder / "init.sock")

    def start(self) -> None:
        host, lab = self._host, self._host.lab
        host.folder.mkdir(parents=True, exist_ok=True)
        command = init_command(
            f"--control={host.folder / 'init.sock'}",
            f"--cgroup={lab.cgroup}/{host.node.name}",
            f"--hostname={host.node.name}",
            f"--root={host.folder}",
            *(f"--persistent={path}" for path in PERSISTENT),
            *(f"--shared={path}" for path in shared_folders()),
        )
        host.machine.start(host.node.name, command, env=init_environment(), log=host.log)

    def configure(self) -> None:
        """Its network namespace is that of the process that guards it in the lab."""
        self.client.check(sysctl.set_command(*SYSCTLS))
        pid = self._host.machine.list()[self._host.node.name].pid
        self._host.power_on(kind="namespace", netns=f"/proc/{pid}/ns/net")
        links = json.loads(self.client.check(["ip", "-json", "link"]))
        first = next(li["ifname"] for li in links if li["address"] == self._host.server["mac"])
        self.client.check(["ip", "-batch", "-"], stdin=self._host.first_nic(first))


class VMMachine:
    """A user-mode kernel with ipvlan; its files end with it, its logs are the host's."""

    def __init__(self, host: NodeHost, kernel: Path, preload: Path, memory_mib: int = 1024) -> None:
        self._host = host
        self._kernel, self._preload, self._memory = kernel, preload, memory_mib

    @property
    def client(self) -> Machine:
        """Through the lab's init: the guest is reached from inside the lab's network alone."""
        guest = GuestEndpoint(self._host.node.address, GUEST_PORT, self._token().read_text())
        return Machine(self._host.lab.control, guest)

    def _token(self) -> Path:
        """Every request to its init carries it: pods can reach that port."""
        file = self._host.folder / "token"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_secret(file, secrets.token_hex(16).encode())
        return file

    def start(self) -> None:
        host = self._host
        host.log.parent.mkdir(parents=True, exist_ok=True)
        nics = host.power_on(
            kind="vm",
            mconsole=str(self._guest().mconsole),
            guest_host=host.node.address,
            guest_port=GUEST_PORT,
            guest_token=self._token().read_text(),
        )
        first = next(nic["number"] for nic in nics if nic["mac"] == host.server["mac"])
        batch = host.folder / "first-nic"
        batch.write_bytes(host.first_nic(f"vec{first}"))
        guest = self._guest(tuple(f"vec{nic['number']}:{nic['vector']}" for nic in nics))
        listen = init_command(
            f"--listen={host.node.address}:{GUEST_PORT}", f"--token={self._token()}"
        )
        settings = shlex.join(sysctl.set_command(*SYSCTLS))
        before = f"hostname {host.node.name}; {settings}; ip -batch {batch}"
        words = ["sh", "-c", f'{before}; exec "$@"', "sh", *listen]
        guest.prepare(words, init_environment(), Path("/"))
        host.machine.start(
            host.node.name, guest.argv, env=guest.environment | {"TMPDIR": ""}, log=host.log
        )

    def configure(self) -> None:
        """Its first NIC is configured before its init listens on that."""

    def _guest(self, nics: tuple[str, ...] = ()) -> uml.GuestKernel:
        return uml.GuestKernel(
            folder=self._host.folder / "vm",
            kernel=self._kernel,
            preload=self._preload,
            memory_mib=self._memory,
            nics=nics,
            shared=self._host.log.parent,
        )


def shared_folders() -> list[Path]:
    """What a node must see as it changes: this code, this Python, the programs that were built.

    And where this Python is from, unless that is a system folder, which every node has.
    """
    places = [layout.REPOSITORY, Path(sys.prefix), layout.cache_folder()]
    origin = Path(sys.base_prefix).resolve()
    if not any(origin.is_relative_to(folder) for folder in SYSTEM_FOLDERS):
        places.append(origin)
    return [place for place in places if place.is_dir()]
