"""A real etcd and kube-apiserver for tests, in a lab without nodes and cloud."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openeni_lab.kubernetes.control_plane import CONTROLLER_MANAGER, ControlPlane
from openeni_lab.machine import service, steps
from openeni_lab.machine.service import Service
from openeni_lab.programs import prepared
from openeni_lab.progress import LogProgress
from openeni_testing.lab.small_lab import SmallLab


@dataclass(frozen=True)
class ApiServer:
    """An API server: create it with `start`, and `remove` it without a trace."""

    lab: SmallLab
    control_plane: ControlPlane

    @classmethod
    def start(cls, root: Path, name: str = "api") -> "ApiServer":
        """Start one; two at a time need two names, since a lab is found by its name."""
        lab = SmallLab.start(root, name)
        program = prepared.read(["kubernetes"]).built.bin
        server = cls(lab, ControlPlane(lab.layout, lab.machine, program))
        server.run()
        return server

    @property
    def kubeconfig(self) -> Path:
        """Return a kubeconfig with every right, through the machine's loopback."""
        return self.lab.layout.kubeconfig

    def run(self) -> None:
        """Start what does not run, and wait until it is ready."""
        steps.run(self.control_plane.steps(controllers=False), LogProgress())

    @contextmanager
    def controllers(self, *names: str) -> Generator[None]:
        """Run these of Kubernetes' controllers and no other, each with its own account."""
        kubeconfig = self.control_plane.folder / f"{CONTROLLER_MANAGER}.kubeconfig"
        argv = [
            str(self.control_plane.program(CONTROLLER_MANAGER)),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--controllers={','.join(names)}",
            "--use-service-account-credentials",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ]
        program = Service(CONTROLLER_MANAGER, argv)
        run = service.step(self.lab.machine, program, self.lab.layout.logs)
        steps.run([run], LogProgress())
        yield
        self.lab.machine.stop(CONTROLLER_MANAGER)

    def stop(self) -> None:
        """Stop the API server but not etcd: open watches break, stored objects stay."""
        self.lab.machine.stop("kube-apiserver")

    def remove(self) -> None:
        self.lab.remove()
