"""An address without a grant is granted again only once the kernel is known not to have it."""

from openeni_nodeagent.grants.reservations import NEVER, Reservations

A, B = "10.0.0.5", "10.0.0.6"


def looked(of: Reservations, *found: str) -> None:
    of.finish_look(of.begin_look(), found)


def started() -> Reservations:
    """A process that has looked at a kernel without pods."""
    of = Reservations()
    looked(of)
    return of


def test_before_the_first_look_every_address_is_reserved() -> None:
    of = Reservations()
    assert of.is_reserved(A)
    looked(of, B)
    assert (of.is_reserved(A), of.is_reserved(B)) == (False, True)


def test_an_address_is_reserved_until_a_look_that_began_after_its_end() -> None:
    of = started()
    began_before = of.begin_look()
    of.end(A, 0)
    assert of.is_reserved(A)
    of.finish_look(began_before, ())
    assert of.is_reserved(A)
    looked(of)
    assert not of.is_reserved(A)


def test_a_look_that_finds_it_reserves_it_whatever_was_reported() -> None:
    of = started()
    of.end(A, 0)
    looked(of, A)
    assert of.is_reserved(A)
    assert of.leftovers() == {A}
    assert of.unexplained() == frozenset()
    looked(of)
    assert not of.is_reserved(A)


def test_an_older_look_that_finishes_later_changes_nothing() -> None:
    of = started()
    slow = of.begin_look()
    looked(of)
    of.finish_look(slow, (A,))
    assert not of.is_reserved(A)
    of.end(A, 0)
    slow = of.begin_look()
    looked(of, A)
    of.finish_look(slow, ())
    assert of.is_reserved(A)


def test_what_no_known_grant_explains_is_told_apart() -> None:
    of = started()
    of.end(A, 0)
    looked(of, A, B)
    assert of.leftovers() == {A}
    assert of.unexplained() == {B}
    of.end(B, 9)  # removed, though its grant was never known
    assert of.leftovers() == {A, B}
    assert of.unexplained() == frozenset()


def test_a_grant_drops_the_reservation() -> None:
    of = started()
    of.end(A, 50)
    looked(of, A, B)
    for address in (A, B):
        of.grant(address)
    assert of.reserved() == frozenset()
    assert of.cooled_at(A) == NEVER


def test_what_restricts_nothing_any_more_is_forgotten_unless_it_is_on_a_port() -> None:
    of = started()
    for number in range(1000):
        of.end(f"10.1.{number // 250}.{number % 250}", 10)
    of.end(A, 10)
    of.end(B, 99)
    of.prune((), 20)
    assert len(of.cool_downs(20)) == 1002  # no look has shown that they are gone
    looked(of, "10.1.0.0")
    of.prune((A,), 20)
    assert of.cool_downs(20) == {B: 99, "10.1.0.0": 10}
    assert of.cooled_at(A) == 10  # so that it is granted after those that have rested longer
    assert of.cooled_at("10.1.0.1") == NEVER


def test_the_next_end_of_a_cool_down_is_known() -> None:
    of = started()
    assert of.next_cooled(0) is None
    of.end(A, 20)
    of.end(B, 10)
    assert of.next_cooled(5) == 10
    assert of.next_cooled(15) == 20
