"""One address, one owner, at every instant: every reachable state of both sides, looked at.

Two addresses, one of them asked back, two pods, an agent and an operator that crash whenever they
like, views that lag, a status write that is lost, repeated or arrives after its writer's death, and
a change of the port that lands long after it was decided. The agent's side is the real ledger.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import pytest

from openeni_nodeagent.grants.ledger import EniView, Grant, Holder, Ledger

pytestmark = pytest.mark.xdist_group("one owner")  # its states are found once a worker
WANTED, OTHER = "a", "b"
PODS = ("p", "q")
GENERATIONS = 4
RESTING = 1e9


@dataclass(frozen=True)
class Object:
    """The ENI as the API server holds it."""

    generation: int = 1
    retiring: frozenset[str] = frozenset()
    deleting: bool = False
    addresses: frozenset[str] = frozenset({WANTED, OTHER})
    retired: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True)
class World:
    api: Object = Object()
    port: frozenset[str] = frozenset({WANTED, OTHER})  # what Neutron has
    puts: frozenset[str] = frozenset()  # decided removals that may land at any time
    seen: Object | None = None  # the agent's view; None: it is down
    given_up: frozenset[str] = frozenset()
    grants: frozenset[tuple[str, str]] = frozenset()  # journalled: (pod, address)
    cooling: frozenset[str] = frozenset()  # journalled
    sent: frozenset[tuple[str, int]] | None = None  # a status write on its way


def ledger_of(world: World) -> Ledger:
    """The agent's ledger in this state, by its public operations alone."""
    assert world.seen is not None
    ledger = Ledger()
    ledger.rest(dict.fromkeys(world.cooling, RESTING))
    for pod, address in sorted(world.grants):
        ledger.record(_grant(pod, address))
    ledger.observe(_view(world.seen, world.given_up), 0)
    return ledger


def _grant(pod: str, address: str) -> Grant:
    return Grant(
        Holder(pod, pod, "eth0"), "d", pod, "", "e", "pods", (address,), "Veth", 1450, 0, 30
    )


def _view(seen: Object, given_up: frozenset[str]) -> EniView:
    return EniView(
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


def steps_of_agent(world: World) -> Iterator[World]:
    if world.seen is None:
        acknowledged = frozenset(a for a, _ in world.api.retired) & world.api.addresses
        fresh = replace(world, seen=world.api, given_up=acknowledged)
        yield replace(fresh, given_up=given_up_in(ledger_of(fresh)))
        return
    yield replace(world, seen=None, given_up=frozenset())  # crash
    later = ledger_of(world)
    later.observe(_view(world.api, frozenset()), 0)
    yield replace(world, seen=world.api, given_up=given_up_in(later))
    ledger = ledger_of(world)
    answers = ledger.acknowledge("e", 0)
    yield replace(
        world,
        given_up=frozenset(answers.retired),
        sent=frozenset((a, answers.generation) for a in answers.retired),
    )
    for pod in PODS:
        held = {a for p, a in world.grants if p == pod}
        chosen = ledger_of(world).choose("pods", 0) if not held else None
        if chosen is not None:
            yield replace(world, grants=world.grants | {(pod, chosen.addresses[0])})
        for address in held:
            yield replace(
                world, grants=world.grants - {(pod, address)}, cooling=world.cooling | {address}
            )
    for address in world.cooling:
        yield replace(world, cooling=world.cooling - {address})


def steps_of_operator(world: World) -> Iterator[World]:
    api = world.api
    if api.generation < GENERATIONS:
        newer = replace(api, generation=api.generation + 1)
        changed = api.retiring ^ {WANTED}  # asks for it, or withdraws
        yield replace(world, api=replace(newer, retiring=changed))
        if not api.deleting:
            yield replace(world, api=replace(newer, deleting=True))
    for address in sorted(api.addresses):
        asked = address in api.retiring or api.deleting
        if asked and (address, api.generation) in api.retired:
            yield replace(world, puts=world.puts | {address})
    for address in world.puts:
        yield replace(world, port=world.port - {address}, puts=world.puts - {address})
    if api.addresses != world.port:
        yield replace(world, api=replace(api, addresses=world.port))


def steps_of_network(world: World) -> Iterator[World]:
    if world.sent is not None:
        delivered = replace(world, api=replace(world.api, retired=world.sent))
        yield delivered  # and may be repeated
        yield replace(delivered, sent=None)
        yield replace(world, sent=None)


@cache
def reachable() -> tuple[World, ...]:
    start = World()
    known, waiting = {start: None}, deque([start])  # a dict keeps the order
    while waiting:
        world = waiting.popleft()
        for steps in (steps_of_agent, steps_of_operator, steps_of_network):
            for after in steps(world):
                if after not in known:
                    known[after] = None
                    waiting.append(after)
    return tuple(known)


def test_no_pod_ever_holds_an_address_that_the_port_has_not() -> None:
    looked_at = taken = refused = 0
    for world in reachable():
        looked_at += 1
        held = [address for _, address in world.grants]
        assert set(held) <= world.port, world
        assert len(held) == len(set(held)), world
        taken += WANTED not in world.port
        refused += WANTED in world.api.retiring and WANTED in held
    assert looked_at > 1000
    assert taken > 100
    assert refused > 100


def test_what_is_asked_back_can_always_be_had_once_its_pod_has_gone() -> None:
    """After any bounded history: agent up, view fresh, pod gone and rested: it is retired."""
    for world in reachable():
        if WANTED not in world.api.retiring or WANTED not in world.api.addresses:
            continue
        quiet = replace(
            world,
            seen=world.api,
            grants=frozenset(g for g in world.grants if g[1] != WANTED),
            cooling=frozenset(),
        )
        assert WANTED in given_up_in(ledger_of(quiet))
