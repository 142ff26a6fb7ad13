"""The operator's informers: what they enqueue, what they remove, and the start that awaits them."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODS
from openeni_kube.result import Done, Result
from openeni_kube.watches.informer import STALLED_SECONDS, Informer
from openeni_kube.workers import Workers
from openeni_operator import controllers
from openeni_operator.cluster_state import WATCHED_KINDS, Change, ClusterState
from openeni_operator.controllers import INFORMER_KINDS, Controllers, build_informers, cloud_reads
from openeni_operator.keys import Key
from openeni_operator.missing_nodes import MissingNodes
from openeni_operator.node.agents import AgentPods
from openeni_operator.process.relists import Relists
from openeni_operator.process.reloads import Reloads
from openeni_operator.resync import KOPF_KINDS, Resync
from openeni_operator.watch_mapping import keys_for
from openeni_testing.objects import condition, eni_body, pool_body
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

NO_RELOADS = Reloads(tuple, print)
NO_AGENTS = AgentPods("", time.monotonic, print)


def test_each_kind_of_the_cluster_state_has_one_source() -> None:
    assert sorted(KOPF_KINDS + INFORMER_KINDS) == sorted(WATCHED_KINDS)


class Informed:
    """A cluster state that informers keep current, and the keys that its changes have enqueued."""

    def __init__(self) -> None:
        self.store = MemoryStore(bookmark_seconds=0.1)
        self.enqueued: list[set[str]] = []
        self.state = ClusterState(self._on_change)
        self.informers = build_informers(self.store, self.state)

    def _on_change(self, change: Change[Any]) -> None:
        self.enqueued.append({str(key) for key in keys_for(change, self.state)})

    def wait_for_changes(self, count: int) -> None:
        wait_for(lambda: len(self.enqueued) >= count, f"{count} changes")


@pytest.fixture
def informed() -> Iterator[Informed]:
    made = Informed()
    yield made
    for informer in made.informers:
        informer.stop()


def add_node(store: MemoryStore, name: str) -> Json:
    return store.create(NODES, {"metadata": {"name": name}, "status": {}})


def add_pod(store: MemoryStore, name: str, node: str) -> Json:
    pod = {"metadata": {"name": name, "namespace": "default"}, "spec": {"nodeName": node}}
    return store.create(PODS, pod)


def start(informed: Informed) -> None:
    for informer in informed.informers:
        informer.start()
    for informer in informed.informers:
        assert informer.synced.wait(60)


def test_heartbeats_of_a_kubelet_enqueue_nothing(informed: Informed) -> None:
    informed.state.put(ENIPOOLS, informed.store.create(ENIPOOLS, pool_body("p")))
    add_node(informed.store, "n1")
    start(informed)
    del informed.enqueued[:]
    for n in range(3):
        status = {"conditions": [condition("Ready") | {"lastHeartbeatTime": str(n)}]}
        images = status | {"images": [{"names": [f"image-{n}"]}], "allocatable": {"cpu": str(n)}}
        report = [{"op": "add", "path": "/status", "value": images}]
        informed.store.patch(NODES, "n1", operations=report, subresource="status")
        note = [{"op": "add", "path": "/metadata/annotations", "value": {"seen": str(n)}}]
        informed.store.patch(NODES, "n1", operations=note)
    label = [{"op": "add", "path": "/metadata/labels", "value": {"rack": "7"}}]
    informed.store.patch(NODES, "n1", operations=label)
    informed.wait_for_changes(1)
    assert informed.enqueued == [{"ENIPool/p", "Node/n1"}], "of the label alone"


def test_only_pods_that_wait_are_known(informed: Informed) -> None:
    add_pod(informed.store, "unbound", "")
    add_pod(informed.store, "early", "n1")
    start(informed)
    add_pod(informed.store, "late", "n1")
    informed.wait_for_changes(2)
    assert len(informed.state.waiting_pods()) == 2
    running = [{"op": "add", "path": "/status/phase", "value": "Running"}]
    informed.store.patch(PODS, "late", "default", operations=running, subresource="status")
    informed.wait_for_changes(3)
    assert list(informed.state.versions(PODS)) == ["default/early"]


def test_a_node_deleted_in_a_gap_is_removed_though_its_last_change_was_missed(
    informed: Informed,
) -> None:
    add_node(informed.store, "n1")
    start(informed)
    label = [{"op": "add", "path": "/metadata/labels", "value": {"rack": "7"}}]
    with informed.store.unwatched():
        informed.state.put(NODES, informed.store.patch(NODES, "n1", operations=label))
        informed.store.delete(NODES, "n1")
        informed.store.compact()
    wait_for(lambda: informed.state.node("n1") is None, "the node is removed")


def test_enis_deleted_in_a_gap_are_removed(informed: Informed) -> None:
    for name in ("kept", "gone"):
        informed.store.create(ENIS, eni_body(name))
    start(informed)
    assert {eni.name for eni in informed.state.enis()} == {"kept", "gone"}
    with informed.store.unwatched():
        informed.store.delete(ENIS, "gone")
        informed.store.create(ENIS, eni_body("late"))
        informed.store.compact()
    wait_for(lambda: informed.state.eni("late"), "the watch goes on")
    assert {eni.name for eni in informed.state.enis()} == {"kept", "late"}


def test_an_eni_that_matches_no_schema_is_reported_and_ignored(
    informed: Informed, caplog: pytest.LogCaptureFixture
) -> None:
    """CRDs of another version than the operator's may store it."""
    (informer,) = (i for i in informed.informers if i.kind == ENIS)
    odd = eni_body("odd")
    odd["spec"]["mtu"] = "large"
    informer._changed(odd)  # pyright: ignore[reportPrivateUsage]
    assert informed.state.enis() == []
    (message,) = caplog.messages
    assert message.startswith("ENI odd is ignored, it does not match its schema")


def test_a_get_of_a_node_does_not_bring_back_what_the_informer_has_removed(
    informed: Informed,
) -> None:
    body = add_node(informed.store, "n1")
    start(informed)
    informed.state.delete(NODES, body)  # by a watch event that overtook the answer
    missing = MissingNodes(informed.state, informed.store, lambda: 0.0)
    assert missing.missing_for("n1") is None
    assert informed.state.node("n1") is None


def test_nothing_is_reconciled_before_every_object_is_known(
    informed: Informed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(controllers, "SYNC_SECONDS", 0.05)
    store, state = informed.store, informed.state
    add_node(store, "n1")
    store.create(ENIPOOLS, pool_body("p"))
    store.create(ENIS, eni_body("e"))
    known: dict[str, tuple[int, int, int]] = {}

    def look(key: Key) -> Result:
        known[str(key)] = (len(state.nodes()), len(state.pools()), len(state.enis()))
        return Done()

    workers = Workers("worker", look)
    resync, reads = Resync(store, state, 3600, workers.add), cloud_reads(300, time.monotonic)
    tested = Controllers(
        state, resync, NO_RELOADS, workers, informed.informers, reads, NO_AGENTS, Relists()
    )
    store.set_outage(True)
    syncing = threading.Thread(target=tested.sync, daemon=True)
    syncing.start()
    late = "waiting to start: the enis have not been listed in 0.05 s, still trying"
    wait_for(lambda: late in caplog.messages, "the delay is logged")
    store.set_outage(False)
    syncing.join(60)
    assert not syncing.is_alive()
    tested.start()
    keys = ("Node/n1", "ENIPool/p", "ENI/e", "PodIP/*", "OrphanSweep/default")
    wait_for(lambda: len(known) == len(keys), "every key is reconciled")
    assert known == dict.fromkeys(keys, (1, 1, 1))
    assert tested.stop(60)


def test_an_informer_that_stalls_fails_the_check() -> None:
    now = [0.0]
    store, state = MemoryStore(), ClusterState(lambda _: None)
    workers = Workers[Key]("worker", lambda _: Done())
    informer = Informer(store, NODES, on_change=print, on_delete=print, clock=lambda: now[0])
    resync, reads = Resync(store, state, 300, workers.add), cloud_reads(300, time.monotonic)
    tested = Controllers(
        state, resync, NO_RELOADS, workers, (informer,), reads, NO_AGENTS, Relists()
    )
    assert tested.informers_alive()
    now[0] = STALLED_SECONDS + 1
    assert not tested.informers_alive()
