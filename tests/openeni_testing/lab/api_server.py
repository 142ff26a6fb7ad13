"""A real etcd and kube-apiserver of the tests' own, in a lab without nodes and without a cloud."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openeni_lab.kubernetes.control_plane import CONTROLLER_MANAGER, ControlPlane
from openeni_lab.machine import service, steps
from openeni_lab.programs import prepared
from openeni_lab.progress import Lines
from openeni_testing.lab.small_lab import SmallLab


@dataclass(frozen=True)
class ApiServer:
    """Make one with `start`, and `remove` it: nothing of it is left then."""

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
        """With every right, from the machine's loopback."""
        return self.lab.layout.kubeconfig

    def run(self) -> None:
        """Start what does not run, and wait until it is ready."""
        steps.run(self.control_plane.steps(controllers=False), Lines())

    @contextmanager
    def controllers(self, *names: str) -> Generator[None]:
        """Run these of Kubernetes' controllers and no other, each with its own account."""
        plane = self.control_plane
        enabled = f"--controllers={','.join(names)}"
        program = plane._controller(
            CONTROLLER_MANAGER, enabled, "--use-service-account-credentials"
        )
        run = service.step(self.lab.machine, program, self.lab.layout.logs)
        steps.run([run], Lines())
        yield
        self.lab.machine.stop(CONTROLLER_MANAGER)

    def stop(self) -> None:
        """End the API server, not etcd: open watches break, what is stored stays."""
        self.lab.machine.stop("kube-apiserver")

    def remove(self) -> None:
        self.lab.remove()
