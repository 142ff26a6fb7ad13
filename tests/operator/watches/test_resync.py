"""The resync: every object enqueued at its place, and what kopf's watches have missed repaired."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, NODES, Kind, eni_name
from openeni_kube.store import Page, StoreError, object_key
from openeni_operator import resync
from openeni_operator.cluster_state import ClusterState
from openeni_operator.keys import Key
from openeni_operator.resync import BATCHES, Resync, delay_of
from openeni_testing.objects import eni_body, pool_body
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for


class CountingStore(MemoryStore):
    """Counts what is read of the store, and calls `after_list` after each list of ENIPools."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.after_list: Callable[[], None] = lambda: None

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        self.calls["get"] += 1
        return super().get(kind, name, namespace)

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        self.calls["list"] += 1
        return super().list(kind, field_selector=field_selector, label_selector=label_selector)

    def list_versions(self, kind: Kind) -> dict[str, str]:
        self.calls["list_versions"] += 1
        items = super().list(kind).items
        if kind == ENIPOOLS:
            self.after_list()
        return {object_key(body): body["metadata"]["resourceVersion"] for body in items}


class ResyncUnderTest:
    """A resync whose cluster state no watch updates."""

    def __init__(self) -> None:
        self.store = CountingStore()
        self.state = ClusterState(lambda _: None)
        self.enqueued: dict[Key, float] = {}
        self.resync = Resync(self.store, self.state, 300, self.enqueued.__setitem__)

    def run(self) -> dict[str, int]:
        """Run one round and return how often each method of the store was called."""
        self.store.calls.clear()
        self.resync.run_once()
        return dict(self.store.calls)

    def pools(self) -> list[str]:
        return sorted(pool.name for pool in self.state.pools())


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> Iterator[ResyncUnderTest]:
    monkeypatch.setattr(resync, "WATCH_LAG", 0.01)
    monkeypatch.setattr(resync, "FIRST_ROUND", 3600)
    made = ResyncUnderTest()
    made.resync.start()
    yield made
    made.resync.stop()


def test_what_the_watch_has_missed_costs_a_list_and_one_get_each(tested: ResyncUnderTest) -> None:
    for n in range(100):
        tested.store.create(ENIPOOLS, pool_body(f"e{n}"))
    assert tested.run() == {"list_versions": 1, "get": 100}
    assert len(tested.pools()) == 100
    for n in range(10):
        tested.store.delete(ENIPOOLS, f"e{n}")
    assert tested.run() == {"list_versions": 1, "get": 10}
    assert len(tested.pools()) == 90
    assert tested.run() == {"list_versions": 1}


def test_two_rounds_in_a_row_with_differences_mean_a_dead_watch(tested: ResyncUnderTest) -> None:
    tested.store.create(ENIPOOLS, pool_body("kept"))
    tested.store.create(ENIPOOLS, pool_body("deleted"))
    tested.resync.fill()
    tested.run()
    assert tested.resync.healthy()
    tested.store.delete(ENIPOOLS, "deleted")
    tested.store.create(ENIPOOLS, pool_body("created"))
    tested.run()
    assert tested.pools() == ["created", "kept"]
    assert tested.resync.healthy(), "one round with differences is tolerated"
    paused = [{"op": "add", "path": "/spec/paused", "value": True}]
    tested.store.patch(ENIPOOLS, "kept", operations=paused)
    tested.run()
    kept = tested.state.pool("kept")
    assert kept is not None
    assert kept.spec.paused
    assert not tested.resync.healthy()
    tested.run()
    assert tested.resync.healthy(), "the watches work again"


def test_what_a_watch_event_settles_in_time_is_not_fetched(tested: ResyncUnderTest) -> None:
    gone = tested.store.create(ENIPOOLS, pool_body("gone"))
    tested.resync.fill()
    tested.store.delete(ENIPOOLS, "gone")
    made = tested.store.create(ENIPOOLS, pool_body("made"))

    def deliver() -> None:
        tested.state.put(ENIPOOLS, made)
        tested.state.delete(ENIPOOLS, gone)

    tested.store.after_list = deliver
    for _ in range(2):
        assert tested.run() == {"list_versions": 1}
    assert tested.pools() == ["made"]
    assert tested.resync.healthy()


def test_an_object_that_lived_between_list_and_get_only_was_not_missed(
    tested: ResyncUnderTest,
) -> None:
    tested.store.after_list = lambda: tested.store.delete(ENIPOOLS, "brief")
    for _ in range(2):
        tested.store.create(ENIPOOLS, pool_body("brief"))
        assert tested.run() == {"list_versions": 1, "get": 1}
    assert tested.pools() == []
    assert tested.resync.healthy()


def test_an_object_that_matches_no_schema_is_reported_and_no_dead_watch(
    tested: ResyncUnderTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = tested.store.create(ENIPOOLS, pool_body("odd"))
    made["spec"]["priority"] = "high"

    def get(*_: object) -> Json:
        return made

    monkeypatch.setattr(tested.store, "get", get)
    for _ in range(2):
        tested.run()
    assert tested.resync.healthy()
    assert "ENIPool odd is ignored" in caplog.text


def test_while_the_api_server_is_away_everything_is_enqueued_and_nothing_removed(
    tested: ResyncUnderTest,
) -> None:
    tested.store.create(ENIPOOLS, pool_body("e"))
    tested.resync.fill()
    tested.store.set_outage(True)
    for _ in range(2):
        with pytest.raises(StoreError):
            tested.run()
    assert Key(ENIPOOLS, "e") in tested.enqueued
    assert tested.pools() == ["e"]
    assert tested.resync.healthy()


def test_every_object_is_enqueued_at_its_own_place_in_the_interval(tested: ResyncUnderTest) -> None:
    tested.store.create(ENIPOOLS, pool_body("p"))
    for n in range(9):
        tested.state.put(ENIS, tested.store.create(ENIS, eni_body(f"e{n}")))
    tested.resync.fill()
    tested.run()
    first = dict(tested.enqueued)
    others = {"ENIPool/p", "PodIP/*", "OrphanSweep/default"}
    assert set(map(str, first)) == {*others, *(f"ENI/e{n}" for n in range(9))}
    assert len(set(first.values())) > len(first) / 2
    tested.enqueued.clear()
    tested.run()
    assert tested.enqueued == first


def test_the_places_are_spread_evenly_and_the_same_in_every_process() -> None:
    keys = [Key(ENIS, eni_name("pods", f"node-{n}", 0)) for n in range(2000)]
    keys += [Key(NODES, f"node-{n}") for n in range(2000)]
    tenths = Counter(int(delay_of(key, 10)) for key in keys)
    assert sorted(tenths) == list(range(10))
    assert max(tenths.values()) < 500
    assert len({delay_of(key, 300) for key in keys}) == BATCHES
    assert delay_of(Key(ENIS, "a"), 300) == 210.0


def test_the_first_round_is_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync, "FIRST_ROUND", 0.01)
    enqueued: list[Key] = []
    started = Resync(
        MemoryStore(), ClusterState(lambda _: None), 3600, lambda key, _: enqueued.append(key)
    )
    started.start()
    wait_for(lambda: enqueued, "a round")
    started.stop()
    assert started.healthy()
