"""One operator leads at a time, whatever is slow, stopped or cut off."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.meta import Json
from openeni_crds.names import LEASES, Kind
from openeni_kube.store import Store, UnreachableError
from openeni_operator.process.leadership import BOUND, NAME, RENEW_SECONDS, Leadership
from openeni_operator.process.lease import DURATION, Lease, SeenLease, look, seconds_until_free
from openeni_testing.store.memory import MemoryStore

NAMESPACE: Final = "openeni-system"


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class SlowStore:
    """A store whose calls take their time before and after they have an effect."""

    store: MemoryStore
    pause: Callable[[], None]
    cut_off: bool = False
    answers_lost: bool = False

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        return self._slowly(lambda: self.store.get(kind, name, namespace))

    def create(self, kind: Kind, body: Json) -> Json:
        return self._slowly(lambda: self.store.create(kind, body))

    def patch(self, kind: Kind, name: str, namespace: str = "", **words: Any) -> Json:
        return self._slowly(lambda: self.store.patch(kind, name, namespace, **words))

    def _slowly(self, do: Callable[[], Json]) -> Json:
        self.pause()
        if self.cut_off:
            raise UnreachableError(0, "cut off")
        answer = do()
        self.pause()
        if self.answers_lost:
            raise UnreachableError(0, "the answer is lost")
        return answer


@dataclass
class Operators:
    """Two operators on one API server; while one waits for an answer, the other may act."""

    pauses: list[tuple[float, bool]]  # how long a call takes, and whether the other acts meanwhile
    clock: Clock = field(default_factory=Clock)
    memory: MemoryStore = field(default_factory=MemoryStore)
    acting: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.stores = {name: SlowStore(self.memory, self._pause) for name in ("a", "b")}
        self.leaderships = {name: self._start(name) for name in ("a", "b")}

    def _start(self, name: str) -> Leadership:
        store: Any = self.stores[name]
        return Leadership(store, NAMESPACE, name, clock=self.clock)

    def restart(self, name: str) -> None:
        self.leaderships[name] = self._start(name)

    def act(self, name: str) -> None:
        """Have an operator try to lead, unless it waits for an answer already."""
        if name in self.acting:
            return
        self.acting.append(name)
        try:
            self.leaderships[name].try_to_lead()
        except UnreachableError:
            pass
        finally:
            self.acting.remove(name)
        self.check()

    def _pause(self) -> None:
        seconds, other_acts = self.pauses.pop() if self.pauses else (0.0, False)
        self.pass_time(seconds / 2)
        if other_acts:
            self.act("b" if self.acting[-1] == "a" else "a")
        self.pass_time(seconds / 2)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.check()

    def check(self) -> None:
        holding = [name for name, one in self.leaderships.items() if one.holds()]
        assert len(holding) <= 1


SECONDS = st.floats(0, 2 * DURATION)
NAMES = st.sampled_from(["a", "b"])
STEPS = st.one_of(
    st.tuples(st.just("act"), NAMES, st.just(0.0)),
    st.tuples(st.sampled_from(["cut off", "lose answers", "restart"]), NAMES, st.just(0.0)),
    st.tuples(st.just("pass"), NAMES, SECONDS),
)


@given(st.lists(st.tuples(SECONDS, st.booleans()), max_size=30), st.lists(STEPS, max_size=40))
def test_two_never_hold_the_lease_at_once(
    pauses: list[tuple[float, bool]], steps: list[tuple[str, str, float]]
) -> None:
    world = Operators(pauses)
    for what, name, seconds in steps:
        store = world.stores[name]
        match what:
            case "act":
                world.act(name)
            case "cut off":
                store.cut_off = not store.cut_off
            case "lose answers":
                store.answers_lost = not store.answers_lost
            case "restart":
                world.restart(name)
            case _:
                world.pass_time(seconds)
    # Left alone and connected, one of them leads soon.
    for store in world.stores.values():
        store.cut_off = store.answers_lost = False
    for _ in range(int((DURATION + RENEW_SECONDS) / RENEW_SECONDS) + 1):
        world.act("a")
        world.act("b")
        world.pass_time(RENEW_SECONDS)
    assert [one.holds() for one in world.leaderships.values()].count(True) == 1


@pytest.fixture
def world() -> Operators:
    return Operators([])


def test_the_leader_leads_on_and_the_other_takes_over_once_it_is_silent(world: Operators) -> None:
    first, second = world.leaderships["a"], world.leaderships["b"]
    assert first.try_to_lead() == 0
    for _ in range(20):
        assert 0 < second.try_to_lead() <= RENEW_SECONDS
        assert second.leader == "a"
        world.pass_time(RENEW_SECONDS)
        assert first.try_to_lead() == 0
    assert second.try_to_lead() > 0
    world.pass_time(DURATION)
    assert not first.holds()
    assert second.try_to_lead() == 0
    assert first.try_to_lead() > 0
    assert first.leader == "b"
    assert world.memory.get(LEASES, NAME, NAMESPACE)["spec"]["leaseTransitions"] == 1


def test_the_time_that_an_answer_takes_is_no_silence_of_the_leader() -> None:
    world = Operators([(DURATION + 2.0, True)])
    world.act("b")  # meanwhile the other begins to lead
    world.act("b")
    assert world.leaderships["a"].holds()


def test_a_released_lease_is_taken_at_once(world: Operators) -> None:
    first, second = world.leaderships["a"], world.leaderships["b"]
    first.try_to_lead()
    assert second.try_to_lead() > 0
    first.release()
    assert not first.holds()
    assert second.try_to_lead() == 0


def test_a_restarted_leader_leads_again_at_once(world: Operators) -> None:
    world.leaderships["a"].try_to_lead()
    world.restart("a")
    assert world.leaderships["a"].try_to_lead() == 0


def test_without_an_answer_the_fence_closes_and_opens_again_with_the_next(
    world: Operators,
) -> None:
    leader = world.leaderships["a"]
    leader.try_to_lead()
    world.stores["a"].cut_off = True
    with pytest.raises(UnreachableError):
        leader.try_to_lead()
    assert leader.holds()
    world.pass_time(BOUND)
    assert not leader.holds()
    world.stores["a"].cut_off = False
    assert leader.try_to_lead() == 0
    assert leader.holds()


def test_the_fence_counts_from_the_beginning_of_the_renewal() -> None:
    world = Operators([(BOUND / 2, False)])
    leader = world.leaderships["a"]
    leader.try_to_lead()
    assert leader.holds()
    world.pass_time(BOUND / 2)
    assert not leader.holds()


def test_a_lease_that_changes_is_never_free() -> None:
    seen = None
    for version in range(10):
        seen = look(seen, Lease(str(version), "a", DURATION, 0), version * DURATION)
        assert seconds_until_free(seen, "b", version * DURATION) == DURATION
    assert seen == SeenLease(Lease("9", "a", DURATION, 0), 9 * DURATION)


@pytest.mark.cluster
def test_a_lease_that_somebody_emptied_is_free(real_store: Store) -> None:
    body: Json = {"metadata": {"name": NAME, "namespace": "default"}, "spec": {}}
    real_store.create(LEASES, {"apiVersion": LEASES.api_version, "kind": LEASES.name} | body)
    first, second = (Leadership(real_store, "default", name) for name in ("a", "b"))
    assert first.try_to_lead() == 0
    assert first.try_to_lead() == 0
    assert second.try_to_lead() > 0
    first.release()
    assert second.try_to_lead() == 0
    real_store.delete(LEASES, NAME, "default")
