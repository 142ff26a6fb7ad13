"""What the holder of an agent's token may try on Nodes: CVE-2025-5187 and its kin."""

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import LABEL_IPVLAN, LABEL_VETH, NODES
from openeni_kube.store import StoreError
from openeni_testing.admission.target import Attack, Target
from openeni_testing.admission.writes import REMOVE, node, put

pytestmark = pytest.mark.cluster

OWNER: Json = {"apiVersion": "v1", "kind": "ConfigMap", "name": "absent", "uid": "0"}
TAINT: Json = {"key": "mine", "effect": "NoExecute"}
VETH = "/metadata/labels/datapath.openeni.io~1veth"


def _apply(t: Target) -> object:
    """Take the fields by server-side apply, as another manager."""
    meta = {"name": t.mine.node, "ownerReferences": [OWNER]}
    return t.agent.apply(NODES, {"metadata": meta}, manager="kubelet")


def _unbound(t: Target) -> object:
    agent = t.cluster.account("openeni-agent")
    return agent.patch(NODES, t.mine.node, operations=put(VETH, "true"))


ATTACKS = (
    Attack(
        "ownerReference",
        "metadata.ownerReferences: of its Node",
        node("/metadata/ownerReferences", [OWNER]),
    ),
    Attack("ownerReference by apply", "metadata.ownerReferences: of its Node", _apply),
    Attack(
        "finalizer",
        "metadata.finalizers: of its Node",
        node("/metadata/finalizers", ["evil.example/forever"]),
    ),
    Attack(
        "annotation", "metadata.annotations: of its Node", node("/metadata/annotations", {"a": "b"})
    ),
    Attack(
        "label of a role",
        "metadata.labels: node-role.kubernetes.io/control-plane: of its Node",
        node("/metadata/labels/node-role.kubernetes.io~1control-plane", ""),
    ),
    Attack(
        "label of a zone",
        "metadata.labels: topology.kubernetes.io/zone: of its Node",
        node("/metadata/labels/topology.kubernetes.io~1zone", "az2"),
    ),
    Attack(
        "another label of the prefix",
        "metadata.labels: datapath.openeni.io/other: of its Node",
        node("/metadata/labels/datapath.openeni.io~1other", "true"),
    ),
    Attack(
        "value of a label",
        'metadata.labels: an agent sets its labels to "true" or "false"',
        node(VETH, "maybe"),
    ),
    Attack(
        "another's label removed",
        "metadata.labels: kubernetes.io/hostname: of its Node",
        node("/metadata/labels/kubernetes.io~1hostname", REMOVE),
    ),
    Attack("cordon", "spec.unschedulable: of its Node", node("/spec/unschedulable", value=True)),
    Attack("taint", "spec.taints: of its Node", node("/spec/taints", [TAINT])),
    Attack(
        "providerID",
        "spec.providerID: of its Node",
        node("/spec/providerID", "openstack:///stolen"),
    ),
    Attack("podCIDR", "spec.podCIDR", node("/spec/podCIDR", "10.0.0.0/24")),
    Attack(
        "another's Node",
        "metadata.name: an agent labels its own Node only",
        node(VETH, "true", side="other"),
    ),
    Attack("a token of no node", "the agent's token is bound to no node", _unbound),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_without_the_policies_it_succeeds(unguarded: Target, attack: Attack) -> None:
    attack.succeeds(unguarded)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_with_the_policies_it_is_refused(guarded: Target, attack: Attack) -> None:
    attack.is_refused(guarded)


def test_a_token_may_be_bound_to_the_node_itself(guarded: Target) -> None:
    """As the lab binds it, where an agent is no pod."""
    node = guarded.admin.get(NODES, guarded.mine.node)
    agent = guarded.cluster.account("openeni-agent", node)
    agent.patch(NODES, guarded.mine.node, operations=put(VETH, "true"))
    with pytest.raises(StoreError, match="an agent labels its own Node only"):
        agent.patch(NODES, guarded.other.node, operations=put(VETH, "true"))


def test_the_agents_labels_are_taken(guarded: Target) -> None:
    patch = [*put(VETH, "true"), *put("/metadata/labels/datapath.openeni.io~1ipvlan", "false")]
    labels = guarded.agent.patch(NODES, guarded.mine.node, operations=patch)["metadata"]["labels"]
    assert (labels[LABEL_VETH], labels[LABEL_IPVLAN]) == ("true", "false")
    removed = [{"op": "remove", "path": step["path"]} for step in patch]
    labels = guarded.agent.patch(NODES, guarded.mine.node, operations=removed)["metadata"]["labels"]
    assert not {LABEL_VETH, LABEL_IPVLAN} & labels.keys()
