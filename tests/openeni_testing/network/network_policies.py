"""The engine for NetworkPolicies in an installed lab, policies, and who reaches whom."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from openeni_lab.kubernetes.images import NETWORK_POLICIES, make_network_policies
from openeni_lab.machine import steps
from openeni_lab.product import chart
from openeni_lab.product.chart import NAMESPACE
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.programs import prepared
from openeni_lab.progress import LogProgress
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

Json = dict[str, Any]

PATH: Final = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
DAEMON_SET: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/openeni-network-policies"
INGRESS: Final = "only-from"
EGRESS: Final = "nothing-out"


def install(installed: InstalledLab) -> None:
    """Turn the sub-chart on, with the image that the lab has built; wait until it runs."""
    image = make_network_policies(prepared.read(["network-policies"]).built.bin("netpol"))
    with_engine = replace(
        installed.lab, more_images=(*installed.lab.more_images, image)
    ).nodes.values()
    steps.run(
        [steps.together("images", [[node.images_step()] for node in with_engine])], LogProgress()
    )
    name, _, tag = NETWORK_POLICIES.rpartition("/")[2].partition(":")
    engine = {
        "enabled": True,
        "image": {
            "registry": chart.REGISTRY,
            "repository": name,
            "tag": tag,
            "pullPolicy": "Never",
        },
    }
    layout = installed.lab.layout
    values = {**installed.values(), "networkPolicies": engine}
    chart.upgrade(installed.helm, layout.kubeconfig, layout.state / "cache" / "helm", values)

    def runs() -> bool:
        status = installed.api.request("GET", DAEMON_SET).get("status", {})
        return bool(status.get("numberAvailable", 0) == len(installed.nodes))

    wait_for(runs, "an engine runs on each node", lab.PATIENCE)


@dataclass(frozen=True)
class Pair:
    """A pod that asks another one for its page."""

    client: str  # its app
    pod: str
    address: str
    same_node: bool


def pairs(installed: InstalledLab, server: str, clients: Sequence[str]) -> tuple[Pair, ...]:
    """Return each pod of the clients with each pod of the server."""
    return tuple(
        Pair(app, pod.name, target.address, pod.node == target.node)
        for app in clients
        for pod in installed.reach.pods(app)
        for target in installed.reach.pods(server)
    )


def wait_for_reached(
    installed: InstalledLab, among: Sequence[Pair], expected: Collection[str]
) -> None:
    """Wait until exactly the pods of the expected apps reach the servers."""

    def agrees() -> bool:
        reached = {pair for pair in among if reaches(installed, pair)}
        return reached == {pair for pair in among if pair.client in expected}

    wait_for(agrees, f"exactly {sorted(expected)} reach the server", lab.PATIENCE)


def reaches(installed: InstalledLab, pair: Pair) -> bool:
    """Return True if the page arrives within a second."""
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {pair.address} 80"
    return "200 OK" in installed.reach.in_pod(pair.pod, ["sh", "-c", ask])


def only_from(server: str, client: str) -> Json:
    """Return a policy by which only the pods of one app reach those of another."""
    allowed = {"from": [{"podSelector": {"matchLabels": {"app": client}}}]}
    return _policy(INGRESS, server, {"policyTypes": ["Ingress"], "ingress": [allowed]})


def nothing_out(app: str) -> Json:
    """Return a policy by which pods of an app reach nothing."""
    return _policy(EGRESS, app, {"policyTypes": ["Egress"], "egress": []})


def _policy(name: str, app: str, spec: Json) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, **spec},
    }
