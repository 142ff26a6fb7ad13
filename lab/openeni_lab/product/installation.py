"""Install openeni in the lab: apply the chart's objects, run its containers as processes.

The operator runs in the lab's namespace and an agent on each node. They get the command, arguments
and environment that the chart renders, a service account token bound to their Node, and the files
that the chart mounts, at the same paths. Only the image is missing.
"""

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from openeni_lab import layout
from openeni_lab.cloud import access
from openeni_lab.kubernetes.api import Api
from openeni_lab.layout import Layout, NodeLayout
from openeni_lab.machine import service
from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.machine.service import Service
from openeni_lab.machine.steps import Step, together
from openeni_lab.product import chart
from openeni_lab.product.chart import NAMESPACE

Json = dict[str, Any]

CLOUDS_FILE: Final = "/run/secrets/openstack/clouds.yaml"
TOKEN_FOLDER: Final = "/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a place
TOKEN_SECONDS: Final = 7 * 86400
GRACE_SECONDS: Final = 30.0  # a pod's default terminationGracePeriodSeconds
EXECUTABLE: Final = "/usr/local/libexec/openeni"  # its path in the image
OPERATOR: Final = "operator"
AGENT: Final = "agent"
READY: Final = {  # the chart's probes as commands
    OPERATOR: ("curl", "--silent", "--fail", "--max-time", "5", "http://127.0.0.1:9441/readyz"),
    AGENT: (EXECUTABLE, "ready"),
}


@dataclass(frozen=True)
class Installation:
    """openeni in a lab whose control plane, cloud and nodes are up."""

    lab: Layout
    machine: Machine
    nodes: Mapping[str, Machine]
    helm: Path

    def steps(self) -> list[Step]:
        """Return the steps: the chart's objects, the operator, then the agents in parallel."""
        documents = chart.render(self.helm)
        applied: list[bool] = []

        def apply() -> None:
            self._apply(chart.objects(documents))
            applied.append(True)

        return [
            Step("openeni's kinds and rights", lambda: bool(applied), apply, 1),
            self.start(OPERATOR, self.lab.nodes[0], documents),
            together("agents", [[self.start(AGENT, n, documents)] for n in self.lab.nodes]),
        ]

    def restart(self, component: str, node: NodeLayout) -> list[Step]:
        """Stop the operator or a node's agent; return the step that starts it from current code."""
        self.machine_of(component, node).stop(component, GRACE_SECONDS)
        return [self.start(component, node)]

    def start(
        self, component: str, node: NodeLayout, documents: tuple[Json, ...] | None = None
    ) -> Step:
        """Return the step that starts a component as the kubelet of `node` would."""
        program = chart.program(documents or chart.render(self.helm), component, node.name)
        machine = self.machine_of(component, node)
        runs = service.step(
            machine,
            Service(
                component,
                program.argv,
                ready=lambda: answers(machine, READY[component]),
                env=self.environment(program.env),
                seconds=2,
                restart=True,  # as a kubelet does
            ),
            self.log_folder(component, node),
        )

        def do() -> None:
            if program.folders:
                machine.check(["mkdir", "-p", *program.folders])
            self._mount_token(machine, program.service_account, node)
            if component == OPERATOR:
                self.mount_clouds(machine)
            else:
                write(machine, EXECUTABLE, self._executable(node), mode="755")
            runs.do()

        return Step(f"{component} for {node.name}", runs.done, do, runs.seconds)

    def machine_of(self, component: str, node: NodeLayout) -> Machine:
        """Return the machine of a component: the operator's is the lab, an agent's its node."""
        return self.machine if component == OPERATOR else self.nodes[node.name]

    def log_folder(self, component: str, node: NodeLayout) -> Path:
        """Return the folder of a component's log."""
        return self.lab.logs if component == OPERATOR else self.lab.node_folder(node.name) / "logs"

    @staticmethod
    def environment(rendered: Mapping[str, str]) -> dict[str, str]:
        """Return the chart's variables, those that kubelet adds, and a PATH with Python."""
        return {
            **rendered,
            "KUBERNETES_SERVICE_HOST": layout.NODES_GATEWAY,
            "KUBERNETES_SERVICE_PORT": str(layout.API_SERVER_PORT),
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONUNBUFFERED": "1",
            "XDG_CACHE_HOME": "/run/openeni-cache",  # stevedore's, which would be root's home
        }

    def _apply(self, objects: tuple[Json, ...]) -> None:
        api = Api(self.lab.kubeconfig)
        api.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
        api.apply(objects)

    def _mount_token(self, machine: Machine, account: str, node: NodeLayout) -> None:
        api = Api(self.lab.kubeconfig)
        bound_to = api.get(f"/api/v1/nodes/{node.name}")
        if bound_to is None:
            raise chart.ChartError(
                f"{node.name} has not joined the cluster: no token for {account}"
            )
        token = api.token(NAMESPACE, account, bound_to | {"kind": "Node"}, TOKEN_SECONDS)
        authority = (self.lab.state / "kubernetes" / "ca.crt").read_text()
        for name, text in (("token", token), ("ca.crt", authority), ("namespace", NAMESPACE)):
            write(machine, f"{TOKEN_FOLDER}/{name}", text.encode())

    def mount_clouds(self, machine: Machine) -> None:
        """Write the contents of the Secret openeni-clouds: the operator's cloud, as `default`."""
        text = yaml.safe_dump({"clouds": {"default": access.operator_cloud(self.lab)}})
        write(machine, CLOUDS_FILE, text.encode())

    def _executable(self, node: NodeLayout) -> bytes:
        """Compile the CNI executable as the image does."""
        target = self.lab.node_folder(node.name) / "openeni"
        command = [sys.executable, "-m", "openeni_nodeagent.cni.build", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise chart.ChartError(done.stderr.strip())
        return target.read_bytes()


def installed(lab: Layout) -> bool:
    """Return True if the chart was applied to the lab's cluster."""
    return Api(lab.kubeconfig).get(f"/api/v1/namespaces/{NAMESPACE}") is not None


def answers(machine: Machine, argv: Sequence[str]) -> bool:
    """Return True if a command succeeds on a machine."""
    try:
        return machine.run(argv, timeout=20).code == 0
    except MachineError:
        return False


def write(machine: Machine, path: str, content: bytes, mode: str = "600") -> None:
    """Write a file on a machine atomically."""
    place = shlex.quote(path)
    make = f"umask 077; mkdir -p $(dirname {place}); cat > {place}.new; chmod {mode} {place}.new"
    machine.check(["sh", "-c", f"{make}; mv {place}.new {place}"], stdin=content, timeout=20)
