"""A real etcd and kube-apiserver for tests, in a lab without nodes and cloud."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.kubernetes.control_plane import CONTROLLER_MANAGER, ControlPlane
from openeni_lab.machine import service, steps
from openeni_lab.machine.service import Service
from openeni_lab.programs import prepared
from openeni_lab.progress import LogProgress
from openeni_testing.lab.small_lab import SmallLab

STOP_SECONDS: Final = 1.0  # an API server waits for its watches to end


@dataclass(frozen=True)
class ApiServer:
    """An API server: create it with `start`, and `remove` it without a trace."""

    lab: SmallLab
    control_plane: ControlPlane

    @classmethod
    def start(cls, root: Path) -> "ApiServer":
        lab = SmallLab.start(root, "api")
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

    def back_up(self, folder: Path) -> None:
        """Copy what etcd has; the control plane is away meanwhile."""
        with self._stopped() as data:
            shutil.copytree(data, folder)

    def restore(self, folder: Path) -> None:
        """Bring back what etcd had, versions and all."""
        with self._stopped() as data:
            shutil.rmtree(data)
            shutil.copytree(folder, data)

    @contextmanager
    def _stopped(self) -> Generator[Path]:
        """Stop the control plane, at once, during the block; yield the folder of etcd's data."""
        for name in ("kube-apiserver", "etcd"):
            self.lab.machine.stop(name, STOP_SECONDS)
        yield self.lab.layout.state / "etcd"
        self.run()

    def remove(self) -> None:
        self.lab.remove()
