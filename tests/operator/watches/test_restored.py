"""etcd is restored from a backup: versions go back, and the operator's cache goes along."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from openeni_crds.conditions import Type
from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODS, SELECTOR_AGENTS, Kind, port_name
from openeni_kube.store import Page
from openeni_operator.cluster_state import WATCHED_KINDS, Change, ClusterState
from openeni_operator.controllers import INFORMER_KINDS, build_informers
from openeni_operator.process.relists import Relists
from openeni_operator.settings import OrphanMode, Settings
from openeni_testing.controller.checks import assert_converged, change_spec, pool_condition
from openeni_testing.controller.process import CLUSTER_ID
from openeni_testing.controller.running import running_operator
from openeni_testing.controller.simulation import Simulation
from openeni_testing.objects import eni_body, pool_body
from openeni_testing.store.memory import MemoryStore
from openeni_testing.store.restorable import RestorableStore
from openeni_testing.waiting import wait_for


def node(name: str, zone: str) -> Json:
    labels = {"topology.kubernetes.io/zone": zone}
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": {}}


def move(store: MemoryStore, name: str, zone: str) -> None:
    label = "/metadata/labels/topology.kubernetes.io~1zone"
    store.patch(NODES, name, operations=[{"op": "add", "path": label, "value": zone}])


def label(store: MemoryStore, name: str) -> Json:
    labels = {"op": "add", "path": "/metadata/labels", "value": {"new": "yes"}}
    return store.patch(ENIS, name, operations=[labels])


def is_logged(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


def is_current(store: MemoryStore, state: ClusterState, kind: Kind) -> bool:
    return state.versions(kind) == versions(store, kind)


def versions(store: MemoryStore, kind: Kind) -> dict[str, int]:
    return {key: int(version) for key, version in store.list_versions(kind).items()}


@pytest.mark.parametrize("made_up", [0, 100])
def test_the_cluster_state_goes_back_with_the_api_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, made_up: int
) -> None:
    """What was created since is gone, what was deleted is back, what was changed is as it was.

    An API server writes by itself when it starts, and may be at a newer version than before. What
    the operator wrote last no watch has shown: it has just the answers.
    """
    store = RestorableStore(bookmark_seconds=0.1)
    for name in ("changed", "deleted", "same"):
        store.create(NODES, node(name, "a"))
    store.create(ENIPOOLS, pool_body("pods"))
    store.create(ENIS, eni_body("kept"))
    with running_operator(store, tmp_path / "clouds.yaml") as operator:
        state = operator.state
        wait_for(lambda: len(state.nodes()) == 3, "it has seen all nodes")
        backup = store.backup()
        move(store, "changed", "b")
        store.delete(NODES, "deleted")
        store.create(NODES, node("created", "b"))
        wait_for(lambda: zone(state, "changed") == "b", "it sees that")
        with store.unwatched():
            state.put(ENIS, store.create(ENIS, eni_body("created")))
            state.put(ENIS, label(store, "kept"))
            store.set_outage(outage=True)
        for kind in WATCHED_KINDS:
            noticed = f"{kind.plural}: watch failed, trying again"
            wait_for(partial(is_logged, caplog, noticed), noticed)
        store.restore(backup, made_up=made_up)
        store.set_outage(outage=False)
        wait_for(lambda: zone(state, "changed") == "a", "it sees the old nodes")
        move(store, "same", "c")
        wait_for(lambda: zone(state, "same") == "c", "it sees what follows")
        for kind in WATCHED_KINDS:
            wait_for(partial(is_current, store, state, kind), kind.plural)
        assert operator.informers_alive()
        assert operator.relists.take(), "kopf is to list pools again"


class WrittenDuringAList(RestorableStore):
    """A store in which something happens after the next list of ENIs is read, before its answer."""

    during: Callable[[], None] | None = None

    def list(self, kind: Kind, **selectors: Any) -> Page:
        page = super().list(kind, **selectors)
        if kind == ENIS and (during := self.during) is not None:
            self.during = None
            during()
        return page


def test_own_writes_since_the_restoration_are_kept_though_a_list_lacks_them() -> None:
    store, seen = WrittenDuringAList(bookmark_seconds=3600), list[str]()

    def note(change: Change[Any]) -> None:
        seen.append(change.after.name if change.after else "nothing any more")

    state = ClusterState(note)
    store.create(ENIS, eni_body("kept"))
    informer = build_informers(store, state)[INFORMER_KINDS.index(ENIS)]
    informer.start()
    assert informer.synced.wait(60)

    def write() -> None:
        state.put(ENIS, store.create(ENIS, eni_body("mine")))
        state.put(ENIS, label(store, "kept"))

    store.during = write
    wait_for(lambda: seen == ["kept"], "the list is in")
    informer.relist()
    wait_for(lambda: state.eni("mine"), "it lists")
    store.create(ENIS, eni_body("later"))
    wait_for(lambda: state.eni("later"), "the list is in, and the watch after it")
    informer.stop()
    assert is_current(store, state, ENIS)
    assert "nothing any more" not in seen
    assert seen.count("kept") == 2


def test_agents_are_known_anew_when_another_informer_has_found_the_restoration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, settings = RestorableStore(bookmark_seconds=0.1), Settings(namespace="openeni")
    store.create(NODES, node("changed", "a"))
    add_agent(store, "kept")
    with running_operator(store, tmp_path / "clouds.yaml", settings=settings) as operator:
        wait_for(lambda: operator.agents.ready_count() == 1, "it has seen the agent")
        backup = store.backup()
        move(store, "changed", "b")
        wait_for(lambda: zone(operator.state, "changed") == "b", "it sees that")
        add_agent(store, "lost")
        wait_for(lambda: operator.agents.ready_count() == 2, "it has seen the other agent")
        set_ready(store, "kept", "False")  # the newest object that their informer has seen
        wait_for(lambda: operator.agents.silent("kept"), "it sees that")
        store.set_outage(outage=True)
        noticed = "pods: watch failed, trying again"  # both informers of pods
        wait_for(lambda: caplog.text.count(noticed) == 2, noticed)
        wait_for(partial(is_logged, caplog, "nodes: watch failed"), "that of nodes notices, too")
        with store.unwatched():
            store.restore(backup)
            store.set_outage(outage=False)
            for ready in ("False", "True") * 10:  # others make up for the lost versions
                set_ready(store, "kept", ready)
        wait_for(lambda: operator.agents.silent("lost"), "the lost one is forgotten")
        assert operator.agents.silent("kept") == 0


def add_agent(store: MemoryStore, name: str) -> None:
    pairs = (pair.partition("=") for pair in SELECTOR_AGENTS.split(","))
    labels = {name: value for name, _, value in pairs}
    metadata = {"name": name, "namespace": "openeni", "labels": labels}
    store.create(PODS, {"metadata": metadata, "spec": {"nodeName": name, "containers": []}})
    set_ready(store, name, "True")


def set_ready(store: MemoryStore, name: str, ready: str) -> None:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
    whole = [{"op": "add", "path": "/status", "value": status}]
    store.patch(PODS, name, "openeni", operations=whole, subresource="status")


def zone(state: ClusterState, name: str) -> str:
    found = state.node(name)
    return found.zone if found else ""


@pytest.mark.parametrize("late", [False, True], ids=["running", "starting"])
def test_a_run_of_kopf_is_ended_once_for_each_request(*, late: bool) -> None:
    relists, ended = Relists(), list[str]()
    if late:
        relists.request()
    relists.begin(lambda: ended.append("run"))
    if not late:
        relists.request()
    assert ended == ["run"]
    assert relists.take()
    assert not relists.take()
    relists.begin(lambda: ended.append("run"))
    assert ended == ["run"]


@pytest.mark.parametrize("restarted", [False, True])
def test_ports_converge_after_a_restored_backup(*, restarted: bool) -> None:
    """What came back has one port and no more; ports of ENIs that are lost are named, or deleted.

    One that is attached is a person's to take off: pods may use it.
    """
    sim = Simulation(nodes=3, orphans=OrphanMode.DELETE)
    sim.add_pool()
    sim.settle(120)
    assert_converged(sim, 3)
    backup = sim.api.backup()
    change_spec(sim, ports={"tags": ["new"]})
    sim.api.delete(ENIS, next(eni.name for eni in sim.enis()))
    sim.api.delete(NODES, "n2")
    sim.add_node("n4")
    sim.agents.add("n4")
    sim.settle(200)
    late = sim.api.get(NODES, "n4")
    assert all("new" in port.tags for port in sim.cloud.ports.values())
    sim.api.restore(backup)
    if restarted:
        sim.restart()
    for kind in WATCHED_KINDS:
        sim.process.state.rewind(kind)
    sim.settle(60)
    late["metadata"] = {"name": "n4", "labels": late["metadata"]["labels"]}  # its kubelet is back
    sim.api.create(NODES, late)
    sim.settle(2 * 3600)
    assert len(sim.ready()) == len(sim.enis()) == 4
    own = [port_name(CLUSTER_ID, eni.metadata.uid) for eni in sim.enis()]
    names = Counter(port.name for port in sim.cloud.ports.values())
    assert [names[name] for name in own] == [1] * 4
    report = pool_condition(sim, Type.PORTS_OWNED).message
    left = [port for port in sim.cloud.ports.values() if port.name not in own]
    assert [port.id in report for port in left] == [True] * len(left)
    assert all(port.device_id for port in left)
