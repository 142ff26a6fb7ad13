"""Since when a node's agent is not ready, as its pods tell."""

from openeni_crds.meta import Json
from openeni_crds.names import LABEL_COMPONENT, PODS
from openeni_operator.node.agents import AgentPods
from openeni_testing.store.memory import MemoryStore

SYSTEM = "openeni-system"


class Watched:
    """AgentPods with a clock of its own, and the nodes that it has named."""

    def __init__(self) -> None:
        self.now = 100.0
        self.named: list[str] = []
        self.agents = AgentPods(SYSTEM, lambda: self.now, self.named.append)

    def silent(self, node: str = "n1") -> float | None:
        return self.agents.silent(node)


def pod(
    name: str, node: str = "n1", *, ready: bool = True, namespace: str = SYSTEM, ends: bool = False
) -> Json:
    metadata: Json = {"name": name, "namespace": namespace}
    if ends:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    condition = {"type": "Ready", "status": str(ready)}
    return {
        "metadata": metadata,
        "spec": {"nodeName": node},
        "status": {"conditions": [condition]},
    }


def test_nothing_is_known_before_any_agent_was_seen() -> None:
    watched = Watched()
    assert watched.silent() is None
    watched.agents.put(pod("a", namespace="of-somebody-else"))
    assert watched.silent() is None


def test_silence_begins_when_an_agent_is_no_longer_ready_and_ends_when_it_is() -> None:
    watched = Watched()
    watched.agents.put(pod("a"))
    watched.now += 50
    assert watched.silent() == 0
    watched.agents.put(pod("a", ready=False))
    watched.now += 7
    assert watched.silent() == 7
    watched.agents.put(pod("a"))
    assert watched.silent() == 0
    assert watched.named == ["n1"] * 5  # once for the first, twice for each change


def test_of_two_pods_during_an_update_one_that_is_ready_suffices() -> None:
    watched = Watched()
    watched.agents.put(pod("old"))
    watched.agents.put(pod("old", ends=True))
    watched.now += 3
    watched.agents.put(pod("new", ready=False))
    assert watched.silent() == 3
    watched.agents.put(pod("new"))
    watched.agents.remove(pod("old"))
    assert watched.silent() == 0


def test_a_node_without_an_agent_is_silent_since_it_was_looked_at() -> None:
    watched = Watched()
    watched.agents.put(pod("b", "n2"))
    first = watched.silent()
    watched.now += 20
    assert first is not None
    assert 0 < first < 1
    assert watched.silent() == 20
    watched.agents.put(pod("a"))
    watched.agents.remove(pod("a"))
    watched.now += 2
    assert watched.silent() == 2


def test_agents_that_are_ready_are_counted() -> None:
    agents = Watched().agents
    assert agents.ready_count() == 0
    agents.put(pod("a"))
    agents.put(pod("b", "n2", ready=False))
    agents.put(pod("c", "n3", namespace="of-somebody-else"))
    assert agents.ready_count() == 1
    agents.remove(pod("a"))
    assert agents.ready_count() == 0


def test_a_pod_of_another_product_is_no_agent() -> None:
    """Many charts call a component agent."""
    store, agents = MemoryStore(), Watched().agents
    body = pod("database-agent")
    body["metadata"]["labels"] = {"app.kubernetes.io/name": "database", LABEL_COMPONENT: "agent"}
    store.create(PODS, body)
    informer = agents.informer(store)
    informer.start()
    try:
        assert informer.synced.wait(10)
    finally:
        informer.stop()
    assert agents.silent("n1") is None
