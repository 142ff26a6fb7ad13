"""No address is granted or given back while the kernel has it, in every reachable state.

Two addresses, two pods, and an agent that crashes between any two steps and may lose its journal.
Building a pod may fail half-way, removing one may fail, or report success and remove nothing. What
a look at the kernel has read is old when it finishes (test_ledger_machine.py lets looks overlap).
The operator asks for an address, withdraws the request, or deletes the ENI. Cool-downs have no
length: the reservations alone must do. The ledger is the real one, by its public operations.
"""

# pyright: reportPrivateUsage=false

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from openeni_nodeagent.grants.eni_view import ENIView
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.ledger import Ledger

# A worker finds the states once.
pytestmark = [pytest.mark.xdist_group("one owner and the kernel"), pytest.mark.exhaustive]
WANTED, OTHER = "a", "b"
PODS = ("p", "q")
VIEW = ENIView("e", "pods", 1, frozenset({4}), (WANTED, OTHER))
VIEWS = (
    VIEW,
    replace(VIEW, generation=2, retiring=frozenset({WANTED})),
    replace(VIEW, generation=3, deleting=True),
)
Entries = frozenset[tuple[str, str]]  # (pod, address)


@dataclass(frozen=True)
class Look:
    """A look at the kernel in flight."""

    number: int
    found: frozenset[str] | None = None  # None: it has not read yet


@dataclass(frozen=True)
class Node:
    """One node: what outlives the agent, and the agent, if it runs."""

    kernel: Entries = frozenset()
    journal: Entries = frozenset()  # grants
    ended: frozenset[str] = frozenset()  # journalled
    view: int = 0  # index into VIEWS
    ledger: Ledger | None = None
    look: Look | None = None
    lost: bool = False  # the journal was lost, which happens once

    def key(self) -> tuple[Any, ...]:
        """Return what tells this state from others: numbers of looks count from the last one."""
        outside = (self.kernel, self.journal, self.ended, self.view, self.lost)
        if self.ledger is None:
            return outside
        held = self.ledger.reservations
        base = held._finished
        ages = frozenset((a, max(e.looks - base, -1)) for a, e in held._ended.items())
        retired = frozenset(self.ledger._retired.get("e", ()))
        found = self.look and (self.look.found,)
        return (*outside, ages, held._found, base == 0, held._begun - base, found, retired)


def address_of(entries: Entries) -> frozenset[str]:
    return frozenset(address for _, address in entries)


def grant(pod: str, address: str) -> Grant:
    return Grant(
        Attachment(pod, pod, "eth0"), "d", pod, "", "e", "pods", (address,), "Veth", 1450, 0, 30
    )


def clone(ledger: Ledger) -> Ledger:
    made = copy.copy(ledger)
    for name, value in vars(ledger).items():
        setattr(made, name, copy.copy(value))
    made._retired = {name: set(addresses) for name, addresses in ledger._retired.items()}
    made._order = copy.deepcopy(ledger._order)
    held = made.reservations
    held._ended = dict(held._ended)
    return made


def up(node: Node) -> tuple[Node, Ledger]:
    """Return the node with a ledger of its own that a step may change, and the ledger."""
    assert node.ledger is not None
    ledger = clone(node.ledger)
    return replace(node, ledger=ledger), ledger


def boot(node: Node, *, retired: frozenset[str]) -> Node:
    """Start from the journal; the API may show what an earlier process has acknowledged."""
    ledger = Ledger()
    for address in node.ended:
        ledger.cool_down(address, 0)
    for pod, address in sorted(node.journal):
        ledger.record(grant(pod, address))
    ledger.observe(replace(VIEWS[node.view], retired=retired), 0)
    return replace(node, ledger=ledger, look=None)


def ended(node: Node, pod: str, address: str) -> Node:
    node, ledger = up(node)
    ledger.end_grant(pod, "eth0", 0)
    return replace(node, journal=node.journal - {(pod, address)}, ended=node.ended | {address})


def steps_around(node: Node) -> Iterator[Node]:
    """Crashes, losses, and what the operator does."""
    if node.ledger is None:
        yield boot(node, retired=frozenset())
        yield boot(node, retired=frozenset({WANTED}))
        return
    down = replace(node, ledger=None, look=None)
    yield down
    if not node.lost:
        yield replace(down, journal=frozenset(), ended=frozenset(), lost=True)
    for view in {0: (1, 2), 1: (0, 2), 2: ()}[node.view]:
        seen, ledger = up(node)
        ledger.observe(VIEWS[view], 0)
        yield replace(seen, view=view)


def steps_of_pods(node: Node) -> Iterator[Node]:
    if node.ledger is None:
        return
    for pod in PODS:
        held = next((a for p, a in node.journal if p == pod), None)
        if held is None:
            chosen = node.ledger.choose("pods", 0)
            if chosen is not None:
                granted, ledger = up(node)
                (address,) = chosen.addresses
                ledger.record(grant(pod, address))
                journal, over = node.journal | {(pod, address)}, node.ended - {address}
                yield replace(granted, journal=journal, ended=over)
            continue
        built = replace(node, kernel=node.kernel | {(pod, held)})
        cleared = replace(node, kernel=node.kernel - {(pod, held)})
        yield built  # by ADD; whether it is answered makes no difference
        yield cleared  # by DEL or a failed ADD, which ends before it is journalled
        yield ended(cleared, pod, held)
        yield ended(built, pod, held)  # a failed ADD whose clean-up removed nothing
        yield ended(node, pod, held)  # the same of a DEL


def steps_of_looks(node: Node) -> Iterator[Node]:
    if node.ledger is None:
        return
    after, ledger = up(node)
    if node.look is None:
        yield replace(after, look=Look(ledger.reservations.begin_look()))
    elif node.look.found is None:
        yield replace(node, look=replace(node.look, found=address_of(node.kernel)))
    else:
        ledger.finish_look(node.look.number, node.look.found, 0)
        yield replace(after, look=None)


def steps_of_repair(node: Node) -> Iterator[Node]:
    if node.ledger is None:
        return
    held = node.ledger.reservations
    for address in held.leftovers():
        yield replace(node, kernel=frozenset(e for e in node.kernel if e[1] != address))
    for address in held.unexplained():
        known, ledger = up(node)
        ledger.cool_down(address, 0)
        yield replace(known, ended=node.ended | {address})
        owners = {p for p, a in node.kernel if a == address}
        for pod in owners - {p for p, _ in node.journal}:
            adopted, ledger = up(node)
            ledger.record(grant(pod, address))
            yield replace(adopted, journal=node.journal | {(pod, address)})


@dataclass
class Explored:
    nodes: list[Node] = field(default_factory=list[Node])


EXPLORED = Explored()


def reachable() -> list[Node]:
    if EXPLORED.nodes:
        return EXPLORED.nodes
    start = Node()
    known, waiting = {start.key()}, deque([start])
    while waiting:
        node = waiting.popleft()
        EXPLORED.nodes.append(node)
        for steps in (steps_around, steps_of_pods, steps_of_looks, steps_of_repair):
            for after in steps(node):
                if (key := after.key()) not in known:
                    known.add(key)
                    waiting.append(after)
    return EXPLORED.nodes


def test_an_address_in_the_kernel_is_its_owners_alone() -> None:
    looked_at = contested = left = 0
    for node in reachable():
        looked_at += 1
        owners = dict[str, set[str]]()
        for pod, address in node.kernel | node.journal:
            owners.setdefault(address, set()).add(pod)
        assert all(len(pods) == 1 for pods in owners.values()), node
        left += bool(node.kernel - node.journal)
        contested += node.ledger is not None and node.ledger.choose("pods", 0) is None
    assert looked_at > 1000
    assert left > 100
    assert contested > 100


def test_an_address_is_given_back_only_once_the_kernel_does_not_have_it() -> None:
    given_back = 0
    for node in reachable():
        if node.ledger is None:
            continue
        retired = set(clone(node.ledger).acknowledge("e", 0).retired)
        assert not retired & address_of(node.kernel | node.journal), node
        given_back += bool(retired)
    assert given_back > 100


def test_an_address_that_nobody_has_is_free_again_after_one_look() -> None:
    for node in reachable():
        if node.ledger is None or node.view == VIEWS.index(VIEWS[2]):
            continue
        ledger = clone(node.ledger)
        ledger.finish_look(ledger.reservations.begin_look(), address_of(node.journal), 0)
        taken = address_of(node.journal) | VIEWS[node.view].retiring
        chosen = ledger.choose("pods", 0)
        assert (chosen is None) == (taken >= {WANTED, OTHER}), node
