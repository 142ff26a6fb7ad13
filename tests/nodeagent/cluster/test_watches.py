"""The agent watches its own node's objects, and no more than it needs."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from openeni_crds import names
from openeni_kube.store import NotFoundError, Page
from openeni_kube.watches.informer import Informer
from openeni_nodeagent.cluster import watches
from openeni_nodeagent.cluster.objects import pod_with
from openeni_nodeagent.cluster.watches import Caches, Watches
from openeni_testing.agent import node_objects
from openeni_testing.objects import eni_body, podip_body, pool_body
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for


class OlderStore(MemoryStore):
    """A cluster before Kubernetes 1.33: without ServiceCIDR objects."""

    def list(self, kind: names.Kind, **selectors: Any) -> Page:
        if kind == names.SERVICE_CIDRS:
            raise NotFoundError(404, "the server could not find the requested resource")
        return super().list(kind, **selectors)


class Running:
    """Watches over a store, until the test ends."""

    def __init__(self, store: MemoryStore, *, cidrs: bool = False) -> None:
        self.store = store
        self.caches = Caches()
        self.watches = Watches(store, self.caches, node_objects.NODE, cidrs=cidrs)
        self.stopping = threading.Event()
        self.waiter = threading.Thread(target=self.watches.wait, args=(self.stopping,))

    def start(self) -> None:
        self.watches.start()
        self.waiter.start()

    def end(self) -> None:
        self.stopping.set()
        self.watches.stop()
        if self.waiter.ident:
            self.waiter.join(60)


@pytest.fixture
def ending() -> Iterator[list[Running]]:
    """Stop these watches when the test ends."""
    started: list[Running] = []
    yield started
    for one in started:
        one.end()


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore(bookmark_seconds=0.1)
    node_objects.make_node(made)
    return made


def running(ending: list[Running], store: MemoryStore, *, cidrs: bool = False) -> Running:
    made = Running(store, cidrs=cidrs)
    ending.append(made)
    made.start()
    return made


def test_the_caches_are_filled_with_this_nodes_objects_and_every_pool(
    ending: list[Running], store: MemoryStore
) -> None:
    mine = node_objects.make_pod(store, "mine")
    other = {"metadata": {"name": "other", "namespace": "default"}, "spec": {"nodeName": "n2"}}
    store.create(names.PODS, other)
    store.create(names.NODES, {"metadata": {"name": "n2"}})
    for name, node in (("a", node_objects.NODE), ("b", "n2")):
        store.create(names.ENIS, eni_body(name, node=node))
        store.create(names.PODIPS, podip_body(name, node=node))
        store.create(names.ENIPOOLS, pool_body(name))
    made = running(ending, store)
    made.waiter.join(60)
    assert not made.waiter.is_alive()
    caches = made.caches
    shown = [sorted(o.metadata.name for o in c.all()) for c in (caches.nodes, caches.pods)]
    assert shown == [[node_objects.NODE], ["mine"]]
    assert caches.pods.get(pod_with(mine, "default/mine")) is not None
    assert [o.metadata.name for o in caches.enis.all()] == ["a"]
    assert [o.metadata.name for o in caches.podips.all()] == ["a"]
    assert sorted(o.metadata.name for o in caches.pools.all()) == ["a", "b"]
    assert made.watches.pods_current()


def test_namespaces_are_watched_once_a_pool_asks_for_their_labels(
    ending: list[Running], store: MemoryStore
) -> None:
    store.create(names.NAMESPACES, {"metadata": {"name": "shop", "labels": {"team": "a"}}})
    store.create(names.ENIPOOLS, pool_body("plain"))
    made = running(ending, store)
    made.waiter.join(60)
    assert made.caches.namespaces.all() == ()
    for name in ("first", "second"):
        body = pool_body(name)
        body["spec"]["namespaceSelector"] = {"matchLabels": {"team": "a"}}
        store.create(names.ENIPOOLS, body)
    wait_for(lambda: made.caches.namespaces.get("shop"), "the namespace is known")
    wait_for(lambda: made.caches.pools.get("second"), "a second pool that asks is no harm")


def test_namespaces_are_watched_at_the_next_pod_where_there_was_no_thread_left(
    ending: list[Running], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Informer] = []
    start = Informer.start

    def refuse_once(self: Informer) -> None:
        if self.kind == names.NAMESPACES and not refused:
            refused.append(self)
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(Informer, "start", refuse_once)
    store.create(names.NAMESPACES, {"metadata": {"name": "default", "labels": {}}})
    made = running(ending, store)
    made.waiter.join(60)
    body = pool_body("pods")
    body["spec"]["namespaceSelector"] = {"matchLabels": {"team": "a"}}
    store.create(names.ENIPOOLS, body)
    wait_for(lambda: refused, "no thread is left")
    node_objects.make_pod(store, "one")
    wait_for(lambda: made.caches.namespaces.get("default"), "the namespace is known")
    wait_for(lambda: "namespaces" in made.watches.ages(), "it counts as started")


@pytest.mark.slow
def test_while_the_api_server_is_away_it_waits_until_it_is_back_or_the_agent_stops(
    ending: list[Running], store: MemoryStore
) -> None:
    store.set_outage(outage=True)
    waits, stops = running(ending, store), running(ending, store)
    stops.stopping.set()
    stops.waiter.join(60)
    assert not stops.waiter.is_alive()
    assert waits.waiter.is_alive()
    assert not waits.watches.pods_current()
    store.set_outage(outage=False)
    waits.waiter.join(60)
    assert not waits.waiter.is_alive()


def test_service_networks_are_waited_for_where_the_cluster_has_them(
    ending: list[Running], store: MemoryStore
) -> None:
    store.create(
        names.SERVICE_CIDRS,
        {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/12"]}},
    )
    made = running(ending, store, cidrs=True)
    made.waiter.join(60)
    (found,) = made.caches.cidrs.all()
    assert found.spec.cidrs == ("10.96.0.0/12",)


def test_without_service_cidr_objects_the_log_names_the_setting_and_the_agent_goes_on(
    ending: list[Running], caplog: pytest.LogCaptureFixture
) -> None:
    made = running(ending, OlderStore(bookmark_seconds=0.1), cidrs=True)
    made.waiter.join(60)
    assert not made.waiter.is_alive()
    assert "set OPENENI_SERVICE_CIDRS" in caplog.text


def test_the_cache_of_pods_is_current_only_while_its_watch_is_alive(
    ending: list[Running], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = running(ending, store)
    made.waiter.join(60)
    store.set_outage(outage=True)
    monkeypatch.setattr(watches, "WATCH_DEAD_SECONDS", 0.3)
    wait_for(lambda: not made.watches.pods_current(), "its silence is noticed")
    assert made.watches.pods_age() >= 0.3
    store.set_outage(outage=False)
    monkeypatch.undo()
    wait_for(made.watches.pods_current, "it is heard of again")


def test_the_api_server_is_unreachable_while_no_watch_reaches_it(
    ending: list[Running], store: MemoryStore
) -> None:
    made = running(ending, store)
    made.waiter.join(60)
    assert not made.watches.unreachable()
    store.set_outage(outage=True)
    wait_for(made.watches.unreachable, "every watch has noticed")
    store.set_outage(outage=False)
    wait_for(lambda: not made.watches.unreachable(), "one watch has reached it")
