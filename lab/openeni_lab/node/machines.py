"""The two kinds of machine of a node: namespaces on this kernel, or a kernel of its own.

Only their start and their first NIC differ. The components of a node do not depend on its kind.
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
from openeni_lab.hypervisor.network import HostAddress, LabNetwork, host_commands
from openeni_lab.hypervisor.records import MachineRecord
from openeni_lab.kubernetes.certificates import write_secret
from openeni_lab.layout import Layout, NodeLayout
from openeni_lab.machine import sysctl
from openeni_lab.machine.client import GuestEndpoint, Machine
from openeni_lab.machine.enclosure import init_command, init_environment
from openeni_lab.machine.isolation import SYSTEM_FOLDERS, mount_points

GUEST_PORT: Final = 2222  # a guest's init listens here, on the node's address
NODES_PREFIX: Final = layout.NODES_CIDR.partition("/")[2]

# Forwarding, as on every Kubernetes node. IPv6 is off, since the cloud would drop it.
SYSCTLS: Final = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv6.conf.default.disable_ipv6=1",
)

# Kept over a restart of the node, like a disk.
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
    """A node's machine; `client` is the client of its init, valid after `start`."""

    @property
    def client(self) -> Machine: ...

    @property
    def snapshotter(self) -> str:
        """Return containerd's: overlayfs stores an image once, native for each container."""
        ...

    def start(self) -> None:
        """Start the machine with every NIC of its server; return before its init answers."""
        ...

    def configure(self) -> None:
        """Set the server's fixed address on the first NIC; called once the init answers."""
        ...


@dataclass(frozen=True)
class NodeHost:
    """The lab's side of a node's machine: the lab, its init, and the node's Nova server."""

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
        """Return the node's Nova server: `id`, and `mac` and `address` of its first NIC."""
        return access.servers(self.lab)[self.node.name]

    def power_on(self, **how: str | int) -> list[dict[str, Any]]:
        """Report to the hypervisor that the machine runs; return its NICs."""
        record = MachineRecord(self.node.name, self.server["id"], **how)  # type: ignore[arg-type]
        nics: list[dict[str, Any]] = json.loads(self.hypervisor("power-on", stdin=record.encoded))
        return nics

    def power_off(self) -> None:
        self.hypervisor("power-off", self.node.name)

    def hypervisor(self, *arguments: str, stdin: bytes = b"") -> str:
        return LabNetwork(self.lab, self.machine).hypervisor(*arguments, stdin=stdin)

    def first_nic(self, name: str) -> bytes:
        """Return lines for `ip -batch` on the node; cloud-init does this from metadata."""
        address = HostAddress(f"{self.node.address}/{NODES_PREFIX}", layout.NODES_GATEWAY)
        return "\n".join([*host_commands(name, [address]), ""]).encode()


class NamespaceMachine:
    """A machine of namespaces and cgroups on this kernel, with a root copied on write."""

    def __init__(self, host: NodeHost) -> None:
        self._host = host
        self.client = Machine(host.folder / "init.sock")

    @property
    def snapshotter(self) -> str:
        """Return overlayfs, unless containerd's folder is on an overlay, as in a container."""
        within = (k for p, k in mount_points() if self._host.folder.is_relative_to(p))
        return "native" if list(within)[-1] == "overlay" else "overlayfs"

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
        """Attach the NICs and configure the first one."""
        self.client.check(sysctl.set_command(*SYSCTLS))
        # The guard of its init stays in the lab's PID namespace and is in the node's network.
        pid = self._host.machine.list()[self._host.node.name].pid
        self._host.power_on(kind="namespace", netns=f"/proc/{pid}/ns/net")
        links = json.loads(self.client.check(["ip", "-json", "link"]))
        first = next(li["ifname"] for li in links if li["address"] == self._host.server["mac"])
        self.client.check(["ip", "-batch", "-"], stdin=self._host.first_nic(first))


class VMMachine:
    """A user-mode kernel with ipvlan. Its files are lost when it ends; its logs are the lab's."""

    snapshotter = "overlayfs"  # containerd's folder is a tmpfs

    def __init__(self, host: NodeHost, kernel: Path, preload: Path, memory_mib: int = 1024) -> None:
        self._host = host
        self._kernel, self._preload, self._memory = kernel, preload, memory_mib

    @property
    def client(self) -> Machine:
        """Return a client through the lab's init: the guest is reachable only in the lab."""
        guest = GuestEndpoint(self._host.node.address, GUEST_PORT, self._token().read_text())
        return Machine(self._host.lab.control, guest)

    def _token(self) -> Path:
        """Return the file of the token that its init requires, since pods can reach its port."""
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
        argv = ["sh", "-c", f'{before}; exec "$@"', "sh", *listen]
        guest.prepare(argv, init_environment(), Path("/"))
        host.machine.start(
            host.node.name, guest.argv, env=guest.environment | {"TMPDIR": ""}, log=host.log
        )

    def configure(self) -> None:
        """Do nothing: `start` has configured the first NIC, on which the init listens."""

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
    """Return the folders of the machine that nodes share: this code, Python, built programs.

    The base installation of this Python is one of them, unless it is in a system folder, which
    every node has.
    """
    places = [layout.REPOSITORY, Path(sys.prefix), layout.cache_folder()]
    origin = Path(sys.base_prefix).resolve()
    if not any(origin.is_relative_to(folder) for folder in SYSTEM_FOLDERS):
        places.append(origin)
    return [place for place in places if place.is_dir()]
