"""The control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, as steps.

All of it runs in the lab's namespaces. Every component has its own certificate and only the rights
that Kubernetes' bootstrap roles grant its user. etcd listens on the lab's loopback.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from openeni_lab import layout
from openeni_lab.kubernetes import kubeconfig
from openeni_lab.kubernetes.api import Api, ApiError
from openeni_lab.kubernetes.certificates import Authority, Identity, private_key, write_secret
from openeni_lab.layout import Layout, NodeLayout
from openeni_lab.machine import service
from openeni_lab.machine.client import Machine
from openeni_lab.machine.service import Service
from openeni_lab.machine.steps import Step

ProgramPath = Callable[[str], Path]

INSIDE: Final = f"https://127.0.0.1:{layout.API_SERVER_PORT}"
FROM_NODES: Final = f"https://{layout.NODES_GATEWAY}:{layout.API_SERVER_PORT}"
ETCD: Final = f"http://127.0.0.1:{layout.ETCD_PORT}"
ETCD_PEER: Final = f"http://127.0.0.1:{layout.ETCD_PORT + 1}"
FIRST_SERVICE_ADDRESS: Final = str(ip_network(layout.SERVICE_CIDR)[1])
ISSUER: Final = "https://kubernetes.default.svc"
CONTROLLER_MANAGER: Final = "kube-controller-manager"
SCHEDULER: Final = "kube-scheduler"

ADMIN: Final = Identity("openeni-lab-admin", ("system:masters",))
API_SERVER: Final = Identity(
    "kube-apiserver",
    ("system:masters",),  # also its client certificate for kubelets
    (
        "127.0.0.1",
        layout.NODES_GATEWAY,
        FIRST_SERVICE_ADDRESS,
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ),
)


@dataclass(frozen=True)
class ControlPlane:
    """The control plane of one lab; `program` returns the path of a program of Kubernetes."""

    lab: Layout
    machine: Machine
    program: ProgramPath

    @property
    def folder(self) -> Path:
        """Return the folder of the components' certificates, keys and kubeconfig files."""
        return self.lab.state / "kubernetes"

    def steps(self, *, controllers: bool = True) -> list[Step]:
        """Return the steps to a ready API server, and with `controllers` to settled controllers."""
        if not controllers:
            return self._started([self._etcd(), self._api_server()])
        return [*self.started(), self.settled()]

    def started(self) -> list[Step]:
        """Return the steps that start everything but do not wait for the controllers' work."""
        controllers = [self._controller_manager(), self._controller(SCHEDULER)]
        return self._started([self._etcd(), self._api_server(), *controllers])

    def settled(self) -> Step:
        """Wait until the controllers made the default account: no pod can be created without it."""
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        return Step("controllers", lambda: self._has(account), lambda: None, 5)

    def _has(self, path: str) -> bool:
        try:
            return self.api().get(path) is not None
        except (ApiError, OSError):
            return False

    def _started(self, services: Sequence[Service]) -> list[Step]:
        kept = Step("certificates", self._has_files, self._make_files, 0.3)
        return [kept, *(service.step(self.machine, s, self.lab.logs) for s in services)]

    def api(self) -> Api:
        """Return a client with every right, for use outside the lab."""
        return Api(self.lab.kubeconfig)

    def authority(self) -> Authority:
        return Authority(self.folder)

    def write_kubeconfig(self, path: Path, identity: Identity, server: str = INSIDE) -> None:
        """Write a kubeconfig for use inside the lab; on nodes, `server` is FROM_NODES."""
        authority = self.authority()
        client = authority.issue(identity)
        kubeconfig.write(path, kubeconfig.Access(server, authority.certificate, client))

    def _has_files(self) -> bool:
        """Return True if the last file exists and has the port of the init that runs now."""
        if not self.lab.kubeconfig.exists():
            return False
        return kubeconfig.read(self.lab.kubeconfig).server == self._forwarded()

    def _make_files(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        authority = self.authority()
        signing_key = self.folder / "service-accounts.key"
        if not signing_key.exists():
            write_secret(signing_key, private_key())
        serving = authority.issue(API_SERVER)
        write_secret(self.folder / "api-server.crt", serving.certificate)
        write_secret(self.folder / "api-server.key", serving.key)
        for name in (CONTROLLER_MANAGER, SCHEDULER):
            self.write_kubeconfig(self._kubeconfig(name), Identity(f"system:{name}"))
        self.write_kubeconfig(self.folder / "admin.kubeconfig", ADMIN)
        self.write_kubeconfig(self.lab.kubeconfig, ADMIN, self._forwarded())

    def _forwarded(self) -> str:
        return f"https://127.0.0.1:{self.machine.about()['forwarder']}"

    def _kubeconfig(self, name: str) -> Path:
        return self.folder / f"{name}.kubeconfig"

    def _etcd(self) -> Service:
        """Return etcd, without fsync: a lab does not survive a crash of the machine anyway."""
        argv = [
            str(self.program("etcd")),
            f"--data-dir={self.lab.state / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            f"--listen-peer-urls={ETCD_PEER}",
            "--log-level=warn",
        ]
        return Service("etcd", argv, seconds=0.1)

    def _api_server(self) -> Service:
        folder, authority = self.folder, self.folder / "ca.crt"
        certificate, key = folder / "api-server.crt", folder / "api-server.key"
        argv = [
            str(self.program("kube-apiserver")),
            f"--etcd-servers={ETCD}",
            "--bind-address=0.0.0.0",
            f"--secure-port={layout.API_SERVER_PORT}",
            f"--advertise-address={layout.NODES_GATEWAY}",
            f"--service-cluster-ip-range={layout.SERVICE_CIDR}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={authority}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={folder / 'service-accounts.key'}",
            f"--service-account-signing-key-file={folder / 'service-accounts.key'}",
            f"--kubelet-certificate-authority={authority}",
            f"--kubelet-client-certificate={certificate}",
            f"--kubelet-client-key={key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged",
            "--shutdown-delay-duration=0s",
        ]
        return Service("kube-apiserver", argv, ready=self._ready, seconds=4)

    def _ready(self) -> bool:
        return self.api().ready()

    def _controller_manager(self) -> Service:
        return self._controller(
            CONTROLLER_MANAGER,
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.folder / 'service-accounts.key'}",
            f"--root-ca-file={self.folder / 'ca.crt'}",
            f"--flex-volume-plugin-dir={self.lab.state / 'flexvolume'}",  # created by it
        )

    def _controller(self, name: str, *flags: str) -> Service:
        argv = [
            str(self.program(name)),
            f"--kubeconfig={self._kubeconfig(name)}",
            f"--authentication-kubeconfig={self._kubeconfig(name)}",
            f"--authorization-kubeconfig={self._kubeconfig(name)}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            *flags,
        ]
        return Service(name, argv, seconds=0.1)


def node_identity(node: NodeLayout) -> Identity:
    """Return the kubelet's identity, as a client of the API server and as a server."""
    return Identity(
        f"system:node:{node.name}", ("system:nodes",), (node.name, node.address, "127.0.0.1")
    )


KUBE_PROXY: Final = Identity("system:kube-proxy")
