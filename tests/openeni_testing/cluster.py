"""A real control plane for tests of the API: etcd and kube-apiserver, in an enclosure of their own.

Import the fixtures in a conftest.py (or use `cluster()`): `control_plane` is shared by the session,
`controllers` is another one that also has kube-controller-manager and kube-scheduler.
"""

import os
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from openeni_lab import enclosure
from openeni_lab.api import Api
from openeni_lab.builds import ensure
from openeni_lab.kubernetes import ControlPlane
from openeni_lab.layout import Layout
from openeni_lab.machine import Machine
from openeni_lab.progress import Lines
from openeni_lab.steps import run

KUBECTL_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """A running API server, reached through the machine's loopback."""

    plane: ControlPlane
    kubectl_program: Path

    @property
    def kubeconfig(self) -> Path:
        """Cluster administrator's."""
        return self.plane.lab.kubeconfig

    @property
    def api(self) -> Api:
        return self.plane.api()

    @property
    def machine(self) -> Machine:
        """Where its programs run: stop and start them by name there."""
        return self.plane.machine

    def kubectl(self, words: Sequence[str], stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run kubectl with every right; look at `returncode`."""
        return subprocess.run(
            [str(self.kubectl_program), *words],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=KUBECTL_SECONDS,
            check=False,
        )


@contextmanager
def cluster(name: str, root: Path, *, controllers: bool = False) -> Generator[Cluster]:
    """A control plane whose files are below `root`; nothing of it is left afterwards."""
    built = ensure(["kubernetes", "kubectl"], Lines())
    lab = Layout(f"{name}-{os.getpid()}", root=root)
    machine = Machine(lab.control)
    plane = ControlPlane(lab, machine, built.bin)
    try:
        with enclosure.only_one(lab) as lock:
            run([enclosure.step(lab, lock)], Lines())
            machine.check(["ip", "link", "set", "lo", "up"])
            run(plane.steps(controllers=controllers), Lines())
        yield Cluster(plane, built.bin("kubectl"))
    finally:
        with enclosure.only_one(lab):
            enclosure.remove(lab)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    with cluster("api", tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def controllers(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    with cluster("kcm", tmp_path_factory.mktemp("lab"), controllers=True) as running:
        yield running
