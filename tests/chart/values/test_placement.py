"""Which nodes get an agent, by the word of Kubernetes' own DaemonSet controller."""

from typing import Any

import pytest

from openeni_lab.kubernetes.api import Api
from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_testing.lab.api_server import ApiServer
from openeni_testing.objects import unique
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.cluster

Json = dict[str, Any]


def agents_of(name: str) -> Json:
    """Return the chart's DaemonSet in a namespace of this name, for nodes with this label."""
    helm = prepared.read(["helm"]).built.bin("helm")
    documents = chart.render(helm, {"agent": {"nodeSelector": {"openeni-test": name}}})
    (found,) = (d for d in documents if d["kind"] == "DaemonSet")
    found["metadata"]["namespace"] = name
    return found


def node(name: str, **labels: str) -> Json:
    """Return a Node with these labels and the test's."""
    own = {"openeni-test": name, "kubernetes.io/os": labels.pop("os", "linux"), **labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": unique(name), "labels": own}}


def test_linux_nodes_get_an_agent_but_for_those_of_virtual_kubelet(
    control_plane: ApiServer,
) -> None:
    api, name = Api(control_plane.kubeconfig), unique("placement")
    served = [node(name), node(name, type="worker")]
    nodes = [*served, node(name, type="virtual-kubelet"), node(name, os="windows")]
    agents = agents_of(name)
    place = api.path_of(agents)
    # Without the agents' account there are no pods that somebody would have to remove.
    api.apply([*nodes, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    api.apply([agents])

    def status() -> Json:
        found: Json = (api.get(place) or {})["status"]
        return found

    try:
        with control_plane.controllers("daemonset-controller"):
            wait_for(lambda: status().get("observedGeneration"), "the controller has looked")
        assert status()["desiredNumberScheduled"] == len(served)
    finally:
        for path in (place, *map(api.path_of, nodes)):
            api.delete(path)
