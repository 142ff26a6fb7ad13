"""What the policies owe to the chart's values, to the product's names, and to CEL's budget."""

from typing import Any

import pytest

from openeni_crds import names
from openeni_crds.conditions import MOST_CONDITIONS, Type
from openeni_crds.meta import Json
from openeni_crds.names import ENIS, LABEL_VETH, MANAGER_AGENT, MANAGER_OPERATOR, NODES
from openeni_crds.status.eni import MOST_ADDRESSES, MOST_PODS
from openeni_kube.wire import object_path
from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_testing.admission import bodies
from openeni_testing.admission.cluster import MANAGER, POLICIES
from openeni_testing.admission.target import Target
from openeni_testing.admission.writes import put

pytestmark = pytest.mark.cluster


def _policies(**values: str) -> dict[str, Json]:
    helm = prepared.read(["helm"]).built.bin("helm")
    documents = chart.render(helm, {"admission": values})
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == POLICIES.name}


def _conditions(policy: Json) -> list[str]:
    return [c["expression"] for c in policy["spec"]["matchConditions"]]


@pytest.mark.parametrize(
    ("group", "expressions"),
    [
        ("ops", ['!("ops" in request.userInfo.?groups.orValue([]))']),
        ('o"ps', [r'!("o\"ps" in request.userInfo.?groups.orValue([]))']),
        ("", []),
    ],
)
def test_the_emergency_group_is_a_value(group: str, expressions: list[str]) -> None:
    writers = _policies(emergencyGroup=group)["openeni-writers"]
    assert [e for e in _conditions(writers) if "groups" in e] == expressions
    messages = [v["message"] for v in writers["spec"]["validations"]]
    assert all(("in an emergency" in message) == bool(group) for message in messages)


def test_every_policy_refuses_what_it_cannot_judge() -> None:
    for name, policy in _policies().items():
        assert policy["spec"]["failurePolicy"] == "Fail", name
        assert all(v["reason"] == "Forbidden" for v in policy["spec"]["validations"]), name


def test_the_policies_speak_of_the_products_own_names() -> None:
    text = str(_policies())
    for name in (
        *(names.FINALIZER_ENIPOOL, names.FINALIZER_ENI, names.FINALIZER_PODIP),
        *(names.LABEL_VETH, names.LABEL_IPVLAN, names.LABEL_POOL, names.LABEL_NODE_HASH),
    ):
        assert name in text
    for type_ in (
        *(Type.PORT_READY, Type.ATTACHED, Type.GUEST_PREPARED, Type.LINK_READY),
        Type.CNI_CONFIGURED,
        *(Type.ASSIGNED, Type.DATAPATH_READY, Type.ADDRESS_LOST, Type.READY),
    ):
        assert f'"{type_}"' in text


def test_the_largest_eni_is_within_the_budget(guarded: Target) -> None:
    """As many addresses, answers and conditions as the kind takes, all of them changed."""
    eni = guarded.mine.eni
    addresses = [f"fd00:0:0:1::{i + 1:x}" for i in range(MOST_ADDRESSES)]
    others = [bodies.condition(f"Example{i}") for i in range(MOST_CONDITIONS - 6)]
    port = bodies.port_report(())["port"] | {"addresses": addresses}
    theirs = [bodies.condition(t) for t in ("PortReady", "Attached", "Ready")]
    report: Json = {"port": port, "conditions": [*theirs, *others]}
    _apply(guarded.admin, eni, report, MANAGER)
    guarded.admin.patch(ENIS, guarded.mine.eni_name, operations=put("/spec/retiring", addresses))
    answers = [{"address": address, "generation": 1} for address in addresses]
    node = {"granted": MOST_PODS, "retired": answers, "refused": answers}
    mine = [bodies.condition(t) for t in ("CNIConfigured", "GuestPrepared", "LinkReady")]
    _apply(guarded.agent, eni, {"node": node, "conditions": mine}, MANAGER_AGENT)
    port["revision"] += 1
    _apply(guarded.operator, eni, {"port": port, "conditions": theirs}, MANAGER_OPERATOR)
    same = guarded.admin.get(ENIS, guarded.mine.eni_name)
    guarded.alice.request("PUT", object_path(ENIS, guarded.mine.eni_name), body=same)


def _apply(store: Any, eni: Json, part: Json, manager: str) -> None:
    store.apply(ENIS, bodies.status(eni, part), manager=manager, subresource="status")


def test_the_largest_node_is_within_the_budget(guarded: Target) -> None:
    """A kubelet reports 50 images of 5 names; annotations may have 256 KiB."""
    name = guarded.mine.node
    labels = {f"example.com/label-{i}": "x" * 63 for i in range(200)}
    kept = guarded.admin.get(NODES, name)["metadata"]["labels"]
    annotations = {f"example.com/a{i}": "x" * 2500 for i in range(100)}
    large = [*put("/metadata/labels", kept | labels), *put("/metadata/annotations", annotations)]
    guarded.admin.patch(NODES, name, operations=large)
    images = [
        {"names": [f"registry.example/{'x' * 200}/{i}:{n}" for n in range(5)], "sizeBytes": i}
        for i in range(50)
    ]
    guarded.admin.patch(NODES, name, operations=put("/status/images", images), subresource="status")
    label = f"/metadata/labels/{LABEL_VETH.replace('/', '~1')}"
    guarded.agent.patch(NODES, name, operations=put(label, "true"))
