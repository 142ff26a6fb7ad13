"""The queues of waiting requests: first come, first served, and nobody keeps others out."""

import pytest

from openeni_nodeagent.cni.server import MOST_ADDS
from openeni_nodeagent.grants.requests import MAX_WAITING
from openeni_nodeagent.grants.waiting import CERTAIN, Ticket, WaitingRequests


def entered(of: WaitingRequests, pool: str) -> Ticket:
    ticket = of.enter(pool)
    assert ticket is not None
    return ticket


def test_of_each_pool_the_first_is_next() -> None:
    of = WaitingRequests(10)
    first, second, other = (entered(of, pool) for pool in ("a", "a", "b"))
    assert [of.is_next(t.queue, t) for t in (first, second, other)] == [True, False, True]
    assert not of.is_next("a", None)
    assert of.is_next("c", None)
    of.leave(first)
    assert of.is_next("a", second)
    for ticket in (second, other):
        of.leave(ticket)
    assert len(of) == 0
    assert of.is_next("a", None)


def test_a_full_queue_refuses_more_of_the_pool_that_has_filled_it() -> None:
    of = WaitingRequests(3)
    tickets = [entered(of, "empty") for _ in range(3)]
    assert of.enter("empty") is None
    assert not any(ticket.displaced for ticket in tickets)


def test_a_full_queue_lets_another_pool_in_and_displaces_the_youngest() -> None:
    of = WaitingRequests(4)
    tickets = [entered(of, "empty") for _ in range(4)]
    others = [entered(of, "other"), entered(of, "other")]
    assert [ticket.displaced for ticket in tickets] == [False, False, True, True]
    assert of.enter("other") is None  # both have as many
    assert of.enter("empty") is None
    assert len(of) == 4
    for ticket in (*tickets, *others):  # each leaves, as its call ends
        of.leave(ticket)
    assert len(of) == 0


def test_the_server_lets_more_adds_in_than_may_wait() -> None:
    assert MAX_WAITING < MOST_ADDS


def test_pods_that_wait_for_certain_addresses_keep_no_others_out() -> None:
    of = WaitingRequests(3)
    certain = [of.enter(f"a web-{n}", CERTAIN) for n in range(3)]
    assert of.enter("a web-3", CERTAIN) is None
    other = of.enter("a")
    assert other is not None
    assert of.is_next("a", other)
    assert [t.displaced for t in certain if t] == [False, False, True]
    assert len(of) == 3


@pytest.mark.parametrize("group", [CERTAIN, "a"])
def test_a_namespace_keeps_no_other_out(group: str) -> None:
    of = WaitingRequests(4)
    many = [of.enter(f"a {n}", group, "many") for n in range(4)]
    assert of.enter("a many-4", group, "many") is None
    few = [of.enter(f"a few-{n}", group, "few") for n in range(2)]
    assert all(few)
    assert of.enter("a few-2", group, "few") is None  # both have as many
    assert [t.displaced for t in many if t] == [False, False, True, True]
    assert of.enter("a one", group, "one") is not None
    assert len(of) == 4


def test_a_pool_comes_before_its_namespaces_and_in_it_the_one_with_the_most_makes_room() -> None:
    of = WaitingRequests(4)
    waits = [of.enter("a", None, namespace) for namespace in ("x", "y", "y", "z")]
    assert of.enter("b", None, "y") is not None
    assert [t.displaced for t in waits if t] == [False, False, True, False]


def test_many_pools_with_one_each_are_full() -> None:
    of = WaitingRequests(2)
    assert all([of.enter("a"), of.enter("b")])
    assert of.enter("c") is None


def test_who_has_waited_longest_is_not_displaced_for_a_smaller_pool() -> None:
    """Not even if each pod of the larger one is of a namespace of its own."""
    waiting = WaitingRequests(4)
    tickets = [waiting.enter("one", "one", f"namespace-{number}") for number in range(4)]
    assert waiting.enter("two", "two", "other")
    assert [ticket.displaced for ticket in tickets if ticket] == [False, False, False, True]
