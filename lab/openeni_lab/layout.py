"""Names, addresses and folders of one lab, each written once.

Everything that a lab has on the machine is named after it: one folder, one cgroup prefix. Built
programs and the database template outlive labs; they are in the cache, by version.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NODES_NETWORK: Final = "nodes"
PODS_NETWORK: Final = "pods"
NODES_CIDR: Final = "10.99.0.0/24"
NODES_GATEWAY: Final = "10.99.0.1"  # also where the nodes reach the API server
PODS_CIDR: Final = "10.98.0.0/22"
PODS_GATEWAY: Final = "10.98.0.1"
PODS_SUBNET_V6: Final = "pods-v6"  # beside the IPv4 subnet, which has the network's name
PODS_CIDR_V6: Final = "fd00:98::/64"
PODS_GATEWAY_V6: Final = "fd00:98::1"
OUTSIDE_CIDR: Final = "10.97.0.0/24"
OUTSIDE_GATEWAY: Final = "10.97.0.1"
OUTSIDE_ADDRESS: Final = "10.97.0.2"  # a host beyond the subnets
OUTSIDE_CIDR_V6: Final = "fd00:97::/64"
OUTSIDE_GATEWAY_V6: Final = "fd00:97::1"
OUTSIDE_ADDRESS_V6: Final = "fd00:97::2"
SERVICE_CIDR: Final = "10.96.0.0/16"
API_SERVER_PORT: Final = 6443
ETCD_PORT: Final = 2379

KEYSTONE_PORT: Final = 15000
NEUTRON_PORT: Final = 19696
NOVA_PORT: Final = 18774
PLACEMENT_PORT: Final = 18778
GLANCE_PORT: Final = 19292
MARIADB_PORT: Final = 13306

CLOUD_PROJECT: Final = "demo"  # the project that owns servers, networks and ENIs
MOST_NODES: Final = 20
ROOT: Final = Path("/var/lib/openeni-lab")  # a folder for each lab, and what `prepare` found
PACKAGES: Final = str(Path(__file__).parent.parent)  # the folder that holds openeni_lab
REPOSITORY: Final = Path(__file__).parents[2]
REMOTE_VM: Final = "remote"  # a VM on the pods network, known to no Kubernetes


def cache_folder() -> Path:
    """Return the folder of built programs and database templates."""
    given = os.environ.get("OPENENI_LAB_CACHE")
    if given:
        return Path(given).absolute()
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "openeni-lab"


@dataclass(frozen=True)
class NodeLayout:
    """One node of the lab: a Nova server and the machine that plays it."""

    name: str
    index: int  # 1, 2, ...

    @property
    def address(self) -> str:
        """Return its fixed IP on the network `nodes`, the node's InternalIP."""
        return f"10.99.0.{10 + self.index}"

    @property
    def compute_host(self) -> str:
        """Return its Nova compute host, the only one in its availability zone."""
        return f"host-{self.index}"

    @property
    def zone(self) -> str:
        return f"az{self.index}"


@dataclass(frozen=True)
class Layout:
    """The folders of one lab. `name` is at most 16 characters of [a-z0-9-]."""

    name: str = "default"
    node_count: int = 2
    root: Path = ROOT

    @property
    def state(self) -> Path:
        """Return the only folder that a lab writes to; socket paths must stay under 108 bytes."""
        return self.root / self.name

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def control(self) -> Path:
        """Return the unix socket of the lab's init."""
        return self.state / "init.sock"

    @property
    def kubeconfig(self) -> Path:
        """Return the users' kubeconfig, which uses the forwarder on the machine's loopback."""
        return self.state / "kubeconfig"

    @property
    def kubectl_cache(self) -> Path:
        """Return the discovery cache of the lab's kubectl (KUBECACHEDIR)."""
        return self.state / "cache" / "kubectl"

    @property
    def clouds_yaml(self) -> Path:
        """Return clouds.yaml: `admin`, `demo`, `openeni` (application credential); inside only."""
        return self.state / "clouds.yaml"

    @property
    def cgroup(self) -> str:
        """Return the name of the lab's cgroup below the root of every hierarchy."""
        return f"openeni-lab-{self.name}"

    @property
    def nodes(self) -> tuple[NodeLayout, ...]:
        return tuple(NodeLayout(f"n{i}", i) for i in range(1, self.node_count + 1))

    def node_folder(self, node: str) -> Path:
        """Return the folder of a node: control socket, kubelet's and containerd's data, logs."""
        return self.state / "nodes" / node
