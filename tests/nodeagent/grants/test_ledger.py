"""The ledger's rules, one by one."""

from dataclasses import replace

import msgspec
import pytest

from openeni_nodeagent.grants.eni_view import ENIView, GrantCounts, RetireAnswers
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.ledger import AddressOwnedError, Ledger
from openeni_nodeagent.grants.reservations import NEVER, Reservations

A, B, C = "10.0.0.5", "10.0.0.6", "10.0.0.7"
SIX = "2001:db8::5"
ENI = ENIView("e", "pods", 1, frozenset({4}), (A, B, C), datapath_mode="Veth", mtu=1450)


def grant(container: str, *addresses: str, pod: str = "", eni: str = "e") -> Grant:
    attachment = Attachment(pod or f"uid-{container}", container, "eth0")
    return Grant(
        attachment, "default", "p", "/ns", eni, "pods", addresses, "Veth", 1450, at=0, cool_down=30
    )


def look(of: Ledger, *kernel: str, now: float = 0) -> None:
    """Look at a kernel that has these addresses."""
    of.finish_look(of.reservations.begin_look(), kernel, now)


def ledger(*views: ENIView) -> Ledger:
    made = Ledger()
    look(made)
    for view in views or (ENI,):
        made.observe(view, 0)
    return made


def end(of: Ledger, container: str, cooling_until: float) -> None:
    """End a grant, and see that the kernel has nothing of it."""
    of.end_grant(container, "eth0", cooling_until)
    look(of)


def take(of: Ledger, container: str, now: float = 0, pool: str = "pods") -> str:
    chosen = of.choose(pool, now)
    assert chosen is not None
    of.record(grant(container, *chosen.addresses, eni=chosen.eni.name))
    return chosen.addresses[0]


def test_each_address_is_granted_once() -> None:
    of = ledger()
    assert {take(of, "a"), take(of, "b"), take(of, "c")} == {A, B, C}
    assert of.choose("pods", 0) is None


def test_the_address_that_has_been_free_the_longest_is_next() -> None:
    of = ledger()
    for container in "abc":
        take(of, container)
    end(of, "b", 40)
    end(of, "a", 60)
    assert of.choose("pods", 39) is None
    assert take(of, "d", 100) == B
    assert take(of, "e", 100) == A


@pytest.mark.parametrize("enis", [1, 40])
def test_what_a_choice_asks_does_not_grow_with_the_addresses_or_enis(
    monkeypatch: pytest.MonkeyPatch, enis: int
) -> None:
    asked: list[str] = []
    is_reserved = Reservations.is_reserved

    def counted(self: Reservations, address: str) -> bool:
        asked.append(address)
        return is_reserved(self, address)

    monkeypatch.setattr(Reservations, "is_reserved", counted)
    addresses = tuple(f"10.0.{n // 250}.{n % 250 + 1}" for n in range(1000))
    parts = [addresses[first::enis] for first in range(enis)]
    of = ledger(*(replace(ENI, name=f"e{n}", addresses=part) for n, part in enumerate(parts)))
    taken = [take(of, str(n)) for n in range(600)]
    for n in range(400):
        of.end_grant(str(n), "eth0", n)
    look(of)
    for n in range(600, 1000):
        take(of, str(n))
    asked.clear()
    assert take(of, "after all others", 2000) == taken[0]
    assert len(asked) == 1


def test_an_unused_address_is_granted_before_one_that_has_cooled_down() -> None:
    of = ledger()
    first = take(of, "a")
    end(of, "a", 10)
    assert {take(of, "b", 50), take(of, "c", 50)} == {A, B, C} - {first}
    assert take(of, "d", 50) == first


def test_a_late_del_of_an_old_container_frees_nothing_of_the_new_one() -> None:
    of = ledger()
    of.record(grant("old", A, pod="uid"))
    of.record(grant("new", B, pod="uid"))
    end(of, "old", 30)
    end(of, "old", 30)
    assert of.find("new", "eth0") == grant("new", B, pod="uid")
    assert of.counts("e", 0) == GrantCounts(granted=1, cooling=1, available=1)


def test_an_address_with_an_owner_cannot_be_entered_for_another() -> None:
    of = ledger()
    of.record(grant("a", A))
    with pytest.raises(AddressOwnedError, match="another owner"):
        of.record(grant("b", A))


def test_a_newer_account_of_a_grant_replaces_the_older_one() -> None:
    of = ledger()
    of.record(grant("a", A))
    of.record(msgspec.structs.replace(grant("a", A), connected=True))
    assert [g.connected for g in of.grants()] == [True]


def test_nothing_is_granted_of_an_eni_that_is_unusable_or_deleting_or_another_pools() -> None:
    for view in (
        replace(ENI, usable=False),
        replace(ENI, deleting=True),
        replace(ENI, pool="others"),
        replace(ENI, families=frozenset()),
    ):
        assert ledger(view).choose("pods", 0) is None


def test_a_pod_gets_one_address_of_each_family_of_one_eni() -> None:
    four = replace(ENI, name="d", families=frozenset({4, 6}), addresses=(A, B))
    both = replace(ENI, name="e", families=frozenset({4, 6}), addresses=(C, SIX))
    chosen = ledger(four, both).choose("pods", 0)
    assert chosen is not None
    assert (chosen.eni.name, chosen.addresses) == ("e", (C, SIX))


def test_with_two_families_the_scarcer_one_counts() -> None:
    view = replace(ENI, families=frozenset({4, 6}), addresses=(A, B, SIX))
    assert ledger(view).counts("e", 0) == GrantCounts(0, 0, 1)


def test_a_retiring_address_is_given_up_refused_or_left_to_cool_down() -> None:
    of = ledger(replace(ENI, addresses=(A, B, C)))
    of.record(grant("a", A))
    of.record(grant("b", B))
    end(of, "b", 30)
    of.observe(replace(ENI, generation=2, retiring=frozenset({A, B, C})), 10)
    assert of.acknowledge("e", 10) == RetireAnswers(2, retired=(C,), refused=(A,))
    assert of.acknowledge("e", 30) == RetireAnswers(2, retired=(B, C), refused=(A,))
    end(of, "a", 60)
    assert of.acknowledge("e", 60) == RetireAnswers(2, retired=(A, B, C))
    assert of.choose("pods", 99) is None


def test_an_address_that_is_no_longer_asked_for_is_granted_again() -> None:
    """The operator heeds answers of the present generation only, and may withdraw a request."""
    of = ledger()
    of.observe(replace(ENI, generation=2, retiring=frozenset({A, B})), 0)
    of.observe(replace(ENI, generation=3, retiring=frozenset({B})), 0)
    assert of.acknowledge("e", 0) == RetireAnswers(3, retired=(B,))
    assert {take(of, "x"), take(of, "y")} == {A, C}
    assert of.choose("pods", 0) is None


def test_a_deletion_is_not_withdrawn() -> None:
    of = ledger()
    of.observe(replace(ENI, generation=2, retiring=frozenset({A})), 0)
    of.observe(replace(ENI, generation=3, deleting=True), 0)
    assert of.acknowledge("e", 0) == RetireAnswers(3, retired=(A, B, C))
    assert of.choose("pods", 0) is None


def test_an_address_that_left_the_port_and_came_back_is_a_new_one() -> None:
    of = ledger()
    of.observe(replace(ENI, retiring=frozenset({A})), 0)
    of.observe(replace(ENI, addresses=(B, C)), 0)
    of.observe(replace(ENI, retired=frozenset({A})), 0)  # the API still shows our older word
    assert of.acknowledge("e", 0).retired == ()


def test_an_acknowledgement_of_a_previous_process_still_counts() -> None:
    of = ledger(replace(ENI, retired=frozenset({A, B}), retiring=frozenset({A})))
    assert of.acknowledge("e", 0).retired == (A,)
    assert {take(of, "b"), take(of, "c")} == {B, C}


def test_deleting_an_eni_waits_for_pods_and_cool_downs() -> None:
    of = ledger()
    of.record(grant("a", A))
    of.record(grant("b", B))
    end(of, "b", 1000)
    of.observe(replace(ENI, generation=5, deleting=True), 0)
    assert of.acknowledge("e", 0) == RetireAnswers(5, retired=(C,), refused=(A,))
    assert of.acknowledge("e", 1000) == RetireAnswers(5, retired=(B, C), refused=(A,))
    end(of, "a", 0)
    assert of.choose("pods", 2000) is None


def test_an_address_in_the_kernel_without_a_grant_is_not_granted() -> None:
    of = ledger()
    of.record(grant("a", A))
    look(of, A, B)
    assert of.reservations.unexplained() == {B}
    assert take(of, "c") == C
    assert of.choose("pods", 0) is None
    of.observe(replace(ENI, generation=2, retiring=frozenset({B})), 0)
    assert of.acknowledge("e", 0).refused == (B,)
    of.record(grant("b", B))  # adopted
    assert of.reservations.reserved() == frozenset()


def test_an_address_that_vanished_under_its_pod_stays_with_the_pod() -> None:
    of = ledger()
    of.record(grant("a", A))
    of.observe(replace(ENI, addresses=(B, C)), 0)
    assert of.find("a", "eth0") is not None
    assert of.counts("e", 0).granted == 1
    end(of, "a", 0)
    assert {take(of, "b"), take(of, "c")} == {B, C}


def test_an_address_of_two_networks_is_granted_once_on_a_node() -> None:
    of = ledger(replace(ENI, addresses=(A,)), replace(ENI, name="f", addresses=(A,)))
    take(of, "a")
    assert of.choose("pods", 0) is None


def test_addresses_that_ports_no_longer_have_are_forgotten() -> None:
    """Or every address that a node ever had would be looked through at each grant."""
    of = ledger()
    take(of, "a")
    of.observe(replace(ENI, addresses=(B, C)), 0)
    of.end_grant("a", "eth0", 30)
    look(of, now=29)
    assert of.reservations.cooled_at(A) == 30
    look(of, now=30)
    assert of.reservations.cooled_at(A) == NEVER


def test_grants_outlive_the_object_of_their_eni() -> None:
    of = ledger()
    take(of, "a")
    of.forget("e")
    assert of.choose("pods", 0) is None
    end(of, "a", 10)
