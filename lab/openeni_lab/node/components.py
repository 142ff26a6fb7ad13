"""The components of a node, on either kind of machine: containerd, kubelet and kube-proxy.

They use the usual paths of a Kubernetes node, which openeni's chart expects. `machines` makes these
paths the node's own.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from openeni_lab import layout
from openeni_lab.images.archive import Image
from openeni_lab.kubernetes import dns
from openeni_lab.kubernetes.api import ApiError
from openeni_lab.kubernetes.certificates import write_secret
from openeni_lab.kubernetes.control_plane import FROM_NODES, KUBE_PROXY, ControlPlane, node_identity
from openeni_lab.kubernetes.images import PAUSE
from openeni_lab.machine import enclosure, service
from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.machine.service import Service
from openeni_lab.machine.steps import Step
from openeni_lab.node.machines import NodeHost, NodeMachine

CONTAINERD_SOCKET: Final = "/run/containerd/containerd.sock"
KUBELET_PORT: Final = 10250


@dataclass(frozen=True)
class Node:
    """One node of a lab. Its `images` are imported before the kubelet starts."""

    host: NodeHost
    kind: NodeMachine
    control_plane: ControlPlane
    images: Callable[[], Sequence[Image]]

    @property
    def name(self) -> str:
        return self.host.node.name

    @property
    def machine(self) -> Machine:
        return self.kind.client

    def steps(self) -> list[Step]:
        """Return the steps to a registered node. It becomes Ready once a CNI is installed."""
        return [
            Step(f"{self.name}: files", self._has_files, self._write_files, 0.1),
            service.watch(
                self.host.machine, self.name, self.host.log, self.kind.start, self.machine.alive
            ),
            Step(f"{self.name}: first NIC", self._has_address, self.kind.configure, 0.2),
            self._service(self._containerd()),
            self.images_step(),
            self._service(self._kubelet()),
            self._service(self._kube_proxy()),
        ]

    def images_step(self) -> Step:
        """Return the step that imports the images; otherwise the kubelet would try to pull them."""
        return Step(f"{self.name}: images", self._has_images, self._import_images, 5)

    def remove_images(self, prefix: str, kept: Collection[str]) -> None:
        """Remove images whose names begin so; containers that use one keep it until they end."""
        old = [name for name in self._image_names() if name.startswith(prefix) and name not in kept]
        if old:
            self.ctr("images", "remove", *old)

    def restart(self) -> list[Step]:
        """Stop the node and return the steps to start it: like a reboot, NICs and disk stay."""
        self.stop()
        return self.steps()

    def stop(self) -> None:
        """Stop its programs and its machine; its server keeps its NICs."""
        self.host.machine.stop(self.name)
        self.host.power_off()
        # The next kubelet would spend three seconds on each cgroup that a pod leaves.
        enclosure.remove_cgroups(self.host.lab, self.name)

    @property
    def _folder(self) -> Path:
        return self.host.folder

    @property
    def _logs(self) -> Path:
        return self._folder / "logs"

    def _service(self, what: Service) -> Step:
        return service.step(self.machine, what, self._logs, f"{self.name}: ")

    def _has_address(self) -> bool:
        """Return True if the server's fixed address is on its NIC."""
        try:
            addresses = self.machine.check(["ip", "-brief", "address"])
        except MachineError:
            return False
        return f" {self.host.node.address}/" in addresses

    def _has_files(self) -> bool:
        return (self._folder / "kube-proxy.kubeconfig").exists()

    def _write_files(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        authority, identity = self.control_plane.authority(), node_identity(self.host.node)
        serving = authority.issue(identity)
        write_secret(self._folder / "kubelet.crt", serving.certificate)
        write_secret(self._folder / "kubelet.key", serving.key)
        (self._folder / "ca.crt").write_bytes(authority.certificate)
        (self._folder / "containerd.toml").write_text(self._containerd_config())
        (self._folder / "kubelet.yaml").write_text(yaml.safe_dump(self._kubelet_config()))
        for name, who in (("kubelet", identity), ("kube-proxy", KUBE_PROXY)):
            file = self._folder / f"{name}.kubeconfig"
            self.control_plane.write_kubeconfig(file, who, FROM_NODES)

    def _containerd(self) -> Service:
        """Return containerd, with its shim and runc on the PATH."""
        folder = self.control_plane.program("containerd").parent
        path = f"{folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        argv = [str(folder / "containerd"), f"--config={self._folder / 'containerd.toml'}"]
        return Service("containerd", argv, self._containerd_answers, {"PATH": path}, 1)

    def _containerd_config(self) -> str:
        """Return its configuration."""
        runc = self.control_plane.program("runc")
        return f"""version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "{self.kind.snapshotter}"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
    use_internal_loopback = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "{runc}"
"""

    def ctr(self, *arguments: str) -> str:
        """Run containerd's client in the namespace of the kubelet's containers."""
        ctr = str(self.control_plane.program("ctr"))
        return self.machine.check([ctr, "-a", CONTAINERD_SOCKET, "-n", "k8s.io", *arguments])

    def _containerd_answers(self) -> bool:
        try:
            self.ctr("version")
        except MachineError:
            return False
        return True

    def _image_names(self) -> list[str]:
        return self.ctr("images", "list", "--quiet").split()

    def _has_images(self) -> bool:
        try:
            there = self._image_names()
        except MachineError:
            return False
        return all(image.name in there for image in self.images())

    def _import_images(self) -> None:
        there = self._image_names()
        # Packed layers would take as much of a VM's memory as the unpacked ones.
        options = ("--local", f"--snapshotter={self.kind.snapshotter}", "--discard-unpacked-layers")
        for image in self.images():
            if image.name not in there:
                self.ctr("images", "import", *options, str(image.path))

    def _kubelet(self) -> Service:
        argv = [
            str(self.control_plane.program("kubelet")),
            f"--config={self._folder / 'kubelet.yaml'}",
            f"--kubeconfig={self._folder / 'kubelet.kubeconfig'}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.host.node.address}",
            f"--node-labels=topology.kubernetes.io/zone={self.host.node.zone}",
        ]
        return Service("kubelet", argv, self._registered, seconds=2)

    def _kubelet_config(self) -> dict[str, Any]:
        """Return its configuration, without what needs a whole machine: QoS cgroups, evictions."""
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "0.0.0.0",
            "port": KUBELET_PORT,
            "healthzPort": 0,
            "tlsCertFile": str(self._folder / "kubelet.crt"),
            "tlsPrivateKeyFile": str(self._folder / "kubelet.key"),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._folder / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "providerID": f"openstack:///{self.host.server['id']}",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            # Someone waits in front of the lab: no five minutes for what was killed twice.
            "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "localStorageCapacityIsolation": False,
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "clusterDNS": [dns.ADDRESS],
            "clusterDomain": dns.DOMAIN,
            "resolvConf": "",
        }

    def _registered(self) -> bool:
        try:
            node = self.control_plane.api().get(f"/api/v1/nodes/{self.name}")
        except ApiError:
            return False
        addresses: list[dict[str, str]] = node["status"].get("addresses", []) if node else []
        return any(address["address"] == self.host.node.address for address in addresses)

    def _kube_proxy(self) -> Service:
        """Return kube-proxy; it leaves the connection tracking limits of the machine alone."""
        argv = [
            str(self.control_plane.program("kube-proxy")),
            f"--kubeconfig={self._folder / 'kube-proxy.kubeconfig'}",
            f"--hostname-override={self.name}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={layout.PODS_CIDR}",
            "--detect-local-mode=ClusterCIDR",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]
        return Service("kube-proxy", argv, seconds=0.1)
