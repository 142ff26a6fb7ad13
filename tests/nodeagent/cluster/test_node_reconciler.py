"""The agent's own Node: its kernel's abilities become labels, and nothing else is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import LABEL_IPVLAN, LABEL_VETH, NODES
from openeni_kube.result import Done, Retry
from openeni_nodeagent.cluster.node_reconciler import NodeReconciler
from openeni_nodeagent.datapath_api import NodeFacts
from openeni_nodeagent.grants import journal
from openeni_nodeagent.grants.journal import JournalError, JournalRecord
from openeni_nodeagent.settings import from_environment
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts
from openeni_testing.objects import remove

REFUSED = "the journal of grants cannot be written: No space left on device"


def reconciler(
    parts: AgentParts,
    *,
    unused: bool = False,
    on_facts: Callable[[NodeFacts], None] = lambda _: None,
) -> NodeReconciler:
    caches = parts.caches
    for body in parts.store.list(NODES).items:
        caches.nodes.put(body)
    return NodeReconciler(
        parts.store,
        parts.datapath,
        parts.grants,
        settings=from_environment({"NODE_NAME": node_objects.NODE}),
        nodes=caches.nodes,
        cidrs=caches.cidrs,
        is_unused=lambda: unused,
        on_facts=on_facts,
    )


def node_body(labels: dict[str, str] | None) -> Json:
    meta: Json = {"name": node_objects.NODE}
    if labels is not None:
        meta["labels"] = labels
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {}, "status": {}}


@pytest.mark.parametrize(
    "labels", [None, {}, {"zone": "a"}, {"zone": "a", LABEL_VETH: "false"}], ids=str
)
def test_the_nodes_labels_say_what_its_kernel_can(
    tmp_path: Path, labels: dict[str, str] | None
) -> None:
    parts = AgentParts(tmp_path)
    parts.store.create(NODES, node_body(labels))
    assert reconciler(parts).reconcile(node_objects.NODE) == Done()
    found = parts.store.get(NODES, node_objects.NODE)["metadata"]["labels"]
    assert found.keys() == {LABEL_VETH, LABEL_IPVLAN, *(labels or {})}
    assert found[LABEL_VETH] == "true"


@pytest.mark.parametrize("labels", [{"zone": "a"}, {"zone": "a", LABEL_VETH: "true"}], ids=str)
def test_a_node_that_openeni_does_not_use_has_no_labels_of_it(
    tmp_path: Path, labels: dict[str, str]
) -> None:
    parts = AgentParts(tmp_path)
    parts.store.create(NODES, node_body(labels))
    for _ in range(2):
        assert reconciler(parts, unused=True).reconcile(node_objects.NODE) == Done()
        found = parts.store.get(NODES, node_objects.NODE)["metadata"]["labels"]
        assert found == {"zone": "a"}


def test_right_labels_are_not_written_again(tmp_path: Path) -> None:
    parts = AgentParts(tmp_path)
    parts.store.create(NODES, node_body(None))
    assert reconciler(parts).reconcile(node_objects.NODE) == Done()
    before = parts.store.get(NODES, node_objects.NODE)
    assert reconciler(parts).reconcile(node_objects.NODE) == Done()
    assert parts.store.get(NODES, node_objects.NODE) == before


def test_a_node_that_is_registered_again_keeps_its_last_addresses(tmp_path: Path) -> None:
    """Until it has others; so does an agent that starts meanwhile."""
    addresses = ("10.99.0.11", "fd99::11")
    parts = AgentParts(tmp_path)
    node_objects.make_node(parts.store, addresses)
    assert reconciler(parts).reconcile(node_objects.NODE) == Done()
    remove(parts.store, NODES, node_objects.NODE)
    parts.store.create(NODES, node_body(None))
    for each in (parts, parts.restarted()):
        running = reconciler(each)
        assert running.reconcile(node_objects.NODE) == Done()
        facts = running.facts()
        assert facts is not None
        assert facts.addresses == addresses
    known = journal.read(tmp_path / "journal").node
    assert known is not None
    assert known.addresses == addresses


def test_a_full_journal_is_a_failure_of_one_line_and_keeps_no_facts_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pods' paths to services depend on them: /run may stay full."""

    def refuse(*_: JournalRecord) -> None:
        raise JournalError(REFUSED)

    parts = AgentParts(tmp_path)
    node_objects.make_node(parts.store)
    passed_on: list[NodeFacts] = []
    waiting = reconciler(parts, on_facts=passed_on.append)
    with monkeypatch.context() as full:
        full.setattr(parts.journal, "append", refuse)
        result = waiting.reconcile(node_objects.NODE)
    assert isinstance(result, Retry)
    assert result.error.endswith(REFUSED)
    assert passed_on == [waiting.facts()]
    assert journal.read(tmp_path / "journal").node is None
    assert waiting.reconcile(node_objects.NODE) == Done()
    assert journal.read(tmp_path / "journal").node == waiting.facts()
    assert len(passed_on) == 1


def test_an_outage_is_a_failure_that_names_the_node(tmp_path: Path) -> None:
    parts = AgentParts(tmp_path)
    parts.store.create(NODES, node_body(None))
    waiting = reconciler(parts)
    parts.store.set_outage(outage=True)
    result = waiting.reconcile(node_objects.NODE)
    assert isinstance(result, Retry)
    assert result.error.startswith(f"node {node_objects.NODE} cannot be labelled: ")
