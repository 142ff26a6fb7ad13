"""One address has one owner in every reachable state of agent and operator.

Two addresses, one of them asked back and not any more, two pods, an agent and an operator that
crash whenever they like, views that lag, a status write that is lost, repeated or arrives after its
writer's death, and a change of the port that lands long after it was decided. A request for
addresses can be withdrawn, and the operator decides on a change only by what cannot: once the ENI
is being deleted, or once it has recorded that an address leaves the port. Then the port loses it by
a change of one revision, sent any number of times; Neutron can give the port the same address again
later; and what Neutron shows can be any revision that is not older than the recorded one. The
agent's side is the real ledger. Its kernel does at once what it is told here; what else it may do
is in test_one_owner_kernel.py.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import pytest

from openeni_nodeagent.grants.eni_view import ENIView
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.ledger import Ledger

# A worker finds the states once.
pytestmark = [pytest.mark.xdist_group("one owner"), pytest.mark.exhaustive]
WANTED, OTHER = "a", "b"
PODS = ("p", "q")
GENERATIONS = 4
REVISIONS = 3  # changes of the port, but for those of an ENI that is being deleted
COOLING_UNTIL = 1e9


@dataclass(frozen=True)
class StoredENI:
    """The ENI as the API server holds it."""

    generation: int = 1
    retiring: frozenset[str] = frozenset()
    deleting: bool = False
    addresses: frozenset[str] = frozenset({WANTED, OTHER})
    releasing: bool = False  # WANTED, recorded before its removal
    revision: int = 0  # of the port as it was last seen
    retired: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True)
class ModelState:
    api: StoredENI = StoredENI()
    history: tuple[frozenset[str], ...] = (frozenset({WANTED, OTHER}),)  # the port, by revision
    deletes: frozenset[str] = frozenset()  # decided removals that may land at any time
    puts: frozenset[tuple[bool, int]] = frozenset()  # with or without WANTED, of a revision
    seen: StoredENI | None = None  # the agent's view; None: it is down
    given_up: frozenset[str] = frozenset()
    grants: frozenset[tuple[str, str]] = frozenset()  # journalled: (pod, address)
    cooling: frozenset[str] = frozenset()  # journalled
    sent: frozenset[tuple[str, int]] | None = None  # a status write on its way

    @property
    def port(self) -> frozenset[str]:
        """What Neutron has now."""
        return self.history[-1]


def ledger_of(state: ModelState) -> Ledger:
    """The agent's ledger in this state, by its public operations alone."""
    assert state.seen is not None
    ledger = Ledger()
    for address in state.cooling:
        ledger.reservations.end(address, COOLING_UNTIL)
    ledger.finish_look(ledger.reservations.begin_look(), (), 0)
    for pod, address in sorted(state.grants):
        ledger.record(_grant(pod, address))
    ledger.observe(_view(state.seen, state.given_up), 0)
    return ledger


def _grant(pod: str, address: str) -> Grant:
    return Grant(
        Attachment(pod, pod, "eth0"), "d", pod, "", "e", "pods", (address,), "Veth", 1450, 0, 30
    )


def _view(seen: StoredENI, given_up: frozenset[str]) -> ENIView:
    return ENIView(
        "e",
        "pods",
        seen.generation,
        frozenset({4}),
        tuple(sorted(seen.addresses)),
        seen.retiring,
        given_up,
        deleting=seen.deleting,
    )


def given_up_in(ledger: Ledger) -> frozenset[str]:
    return frozenset(ledger.acknowledge("e", 0).retired)


def steps_of_agent(state: ModelState) -> Iterator[ModelState]:
    if state.seen is None:
        acknowledged = frozenset(a for a, _ in state.api.retired) & state.api.addresses
        fresh = replace(state, seen=state.api, given_up=acknowledged)
        yield replace(fresh, given_up=given_up_in(ledger_of(fresh)))
        return
    yield replace(state, seen=None, given_up=frozenset())  # crash
    later = ledger_of(state)
    later.observe(_view(state.api, frozenset()), 0)
    yield replace(state, seen=state.api, given_up=given_up_in(later))
    ledger = ledger_of(state)
    answers = ledger.acknowledge("e", 0)
    yield replace(
        state,
        given_up=frozenset(answers.retired),
        sent=frozenset((a, answers.generation) for a in answers.retired),
    )
    for pod in PODS:
        held = {a for p, a in state.grants if p == pod}
        chosen = ledger_of(state).choose("pods", 0) if not held else None
        if chosen is not None:
            yield replace(state, grants=state.grants | {(pod, chosen.addresses[0])})
        for address in held:
            yield replace(
                state, grants=state.grants - {(pod, address)}, cooling=state.cooling | {address}
            )
    for address in state.cooling:
        yield replace(state, cooling=state.cooling - {address})


def steps_of_operator(state: ModelState) -> Iterator[ModelState]:
    api = state.api
    if api.generation < GENERATIONS:
        newer = replace(api, generation=api.generation + 1)
        changed = api.retiring ^ {WANTED}  # asks for it, or withdraws
        yield replace(state, api=replace(newer, retiring=changed))
        if not api.deleting:
            yield replace(state, api=replace(newer, deleting=True))
    for address in sorted(api.addresses):
        if api.deleting and (address, api.generation) in api.retired:
            yield replace(state, deletes=state.deletes | {address})
    for address in state.deletes:
        left = (*state.history[:-1], state.port - {address})
        yield replace(state, history=left, deletes=state.deletes - {address})
    yield from looks_of_operator(state)
    if not api.deleting:
        yield from changes_by_operator(state)


def looks_of_operator(state: ModelState) -> Iterator[ModelState]:
    """Neutron's databases show the port as it is, or as it was a while ago."""
    api = state.api
    for revision in range(api.revision, len(state.history)):
        shown = state.history[revision]
        releasing = api.releasing and WANTED in shown
        addresses = shown - {WANTED} if releasing else shown
        seen = replace(api, addresses=addresses, releasing=releasing, revision=revision)
        if seen != api:
            yield replace(state, api=seen)


def changes_by_operator(state: ModelState) -> Iterator[ModelState]:
    """The record fails unless the ENI is as it was when the answer was read: it is one step."""
    api, now = state.api, len(state.history) - 1
    asked = WANTED in api.retiring and WANTED in api.addresses
    if asked and (WANTED, api.generation) in api.retired:
        yield replace(state, api=replace(api, addresses=api.addresses - {WANTED}, releasing=True))
    if api.revision < REVISIONS:
        if api.releasing:
            yield replace(state, puts=state.puts | {(False, api.revision)})
        elif WANTED not in api.addresses:
            yield replace(state, puts=state.puts | {(True, api.revision)})
    for put in state.puts:
        adds, revision = put
        after = replace(state, puts=state.puts - {put})
        if revision == now:
            port = state.port | {WANTED} if adds else state.port - {WANTED}
            after = replace(after, history=(*state.history, port))
        yield after


def steps_of_network(state: ModelState) -> Iterator[ModelState]:
    if state.sent is not None:
        delivered = replace(state, api=replace(state.api, retired=state.sent))
        yield delivered  # and may be repeated
        yield replace(delivered, sent=None)
        yield replace(state, sent=None)


@cache
def reachable() -> tuple[ModelState, ...]:
    start = ModelState()
    known, waiting = {start: None}, deque([start])  # a dict keeps the order
    while waiting:
        state = waiting.popleft()
        for steps in (steps_of_agent, steps_of_operator, steps_of_network):
            for after in steps(state):
                if after not in known:
                    known[after] = None
                    waiting.append(after)
    return tuple(known)


def test_a_pods_address_is_always_on_the_port() -> None:
    looked_at = taken = refused = returned = 0
    for state in reachable():
        looked_at += 1
        held = [address for _, address in state.grants]
        assert set(held) <= state.port, state
        assert len(held) == len(set(held)), state
        taken += WANTED not in state.port
        refused += WANTED in state.api.retiring and WANTED in held
        returned += len(state.history) > 2 and WANTED in held
    assert looked_at > 1000
    assert returned > 100, "no pod ever gets an address that has left the port and come back"
    assert taken > 100
    assert refused > 100


def test_an_address_that_is_asked_for_is_retired_once_its_pod_is_gone() -> None:
    """After any bounded history: agent up, view fresh, pod gone and cooled down: it is retired."""
    for state in reachable():
        if WANTED not in state.api.retiring or WANTED not in state.api.addresses:
            continue
        quiet = replace(
            state,
            seen=state.api,
            grants=frozenset(g for g in state.grants if g[1] != WANTED),
            cooling=frozenset(),
        )
        assert WANTED in given_up_in(ledger_of(quiet))
