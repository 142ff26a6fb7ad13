"""Addresses that the ledger keeps for pods by their names."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from msgspec import structs

from openeni_nodeagent.cni.call import StoppingError
from openeni_nodeagent.datapath_api import PodNetwork
from openeni_nodeagent.grants.eni_view import ENIView, GrantCounts
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.ledger import Ledger
from openeni_nodeagent.grants.requests import GrantRequest
from openeni_nodeagent.grants.retained import Retained, RetainedAddresses, Wanted
from openeni_testing.agent.parts import AgentParts
from openeni_testing.waiting import wait_for

A, B, C = "10.0.0.5", "10.0.0.6", "10.0.0.7"
ENI = ENIView("e", "pods", 1, frozenset({4}), (A, B, C), datapath_mode="Veth", mtu=1450)
WEB, DB = "default/web-0", "default/db-0"


def ledger(**kept: Retained) -> Ledger:
    """Return a ledger that has looked at the kernel; `web` and `db` are the pods' keys."""
    made = Ledger()
    made.finish_look(made.reservations.begin_look(), (), 0)
    for name, retained in kept.items():
        made.retained.keep(f"default/{name}-0", retained)
    made.observe(ENI, 0)
    return made


def chosen(of: Ledger, key: str, *addresses: str, now: float = 0) -> tuple[str, ...] | None:
    found = of.choose("pods", now, Wanted(key, addresses))
    return found.addresses if found else None


def grant(of: Ledger, container: str, *addresses: str, pod: str = "web-0") -> None:
    attachment = Attachment(container, container, "eth0")
    of.record(
        Grant(
            attachment, "default", pod, "", "e", "pods", addresses, "Veth", 1450, at=0, cool_down=30
        )
    )


def end(of: Ledger, container: str, cooling_until: float) -> None:
    of.end_grant(container, "eth0", cooling_until)
    of.finish_look(of.reservations.begin_look(), (), 0)


def test_a_lost_grant_that_was_found_again_ends_as_any_other() -> None:
    """What an informer has seen before may be told after it."""
    lost = Retained("pods", (A,), is_certain=False, is_lost=True)
    of = ledger(web=lost)
    assert (of.retained.lost(WEB, (A,)), chosen(of, DB, A)) == ((A,), None)
    attachment = Attachment("c", "c", "eth0")
    of.record(Grant(attachment, "default", "web-0", "", "e", "pods", (A,), "Veth", 1450, 0, 30))
    assert of.retained.lost(WEB, (A,)) == (A,)  # an ADD that may still fail
    connected = of.find("c", "eth0")
    assert connected is not None
    of.record(structs.replace(connected, connected=True))
    assert of.retained.lost(WEB, (A,)) == ()
    end(of, "c", 0)
    of.retained.keep(WEB, lost)
    assert (of.retained.lost(WEB, (A,)), chosen(of, DB, A)) == ((), (A,))


def test_an_address_is_its_keepers_alone() -> None:
    of = ledger(web=Retained("pods", (A,)))
    assert chosen(of, WEB, A) == (A,)
    assert chosen(of, DB, A) is None
    assert chosen(of, DB) in {(B,), (C,)}


def test_it_needs_no_cool_down_for_its_keeper_and_one_for_others() -> None:
    of = ledger(web=Retained("pods", (A,)))
    grant(of, "c1", A)
    end(of, "c1", 100)
    assert chosen(of, WEB, A, now=1) == (A,)
    of.retained.keep(WEB, None)
    assert chosen(of, DB, A, now=99) is None
    assert chosen(of, DB, A, now=100) == (A,)


def test_it_does_for_its_keeper_if_another_pod_had_it_last() -> None:
    """Somebody else was faster, before its PodIP came to this node."""
    of = ledger(web=Retained("pods", (A,)))
    grant(of, "c1", A, pod="p")
    end(of, "c1", 100)
    assert chosen(of, WEB, A, now=99) is None
    assert chosen(of, WEB, A, now=100) == (A,)


def test_nor_does_that_of_the_family_for_which_its_keeper_names_none() -> None:
    """While all others of that family cool down."""
    six = ("fd::5", "fd::6")
    of = ledger(web=Retained("pods", (A, six[0])))
    of.observe(replace(ENI, families=frozenset({4, 6}), addresses=(A, B, *six)), 0)
    for container, *addresses in (("x", A, six[0]), ("y", B, six[1])):
        grant(of, container, *addresses)
        end(of, container, 30)
    assert chosen(of, WEB, A, now=1) == (A, six[0])
    assert chosen(of, DB, now=1) is None


def test_what_a_pod_asks_for_before_it_had_it_cools_down_first() -> None:
    of = ledger(db=Retained("pods", (A,), placed=False))
    grant(of, "c1", A)
    end(of, "c1", 100)
    assert chosen(of, DB, A, now=99) is None
    assert chosen(of, DB, A, now=100) == (A,)


def test_while_the_kernel_may_have_it_nobody_gets_it() -> None:
    of = ledger(web=Retained("pods", (A,)))
    grant(of, "c1", A)
    of.end_grant("c1", "eth0", 0)
    assert chosen(of, WEB, A) is None


def test_it_counts_as_granted_and_is_not_given_back() -> None:
    of = ledger(web=Retained("pods", (A,)))
    assert of.counts("e", 0) == GrantCounts(1, 0, 2)
    of.observe(replace(ENI, generation=2, retiring=frozenset({A, B})), 0)
    answers = of.acknowledge("e", 0)
    assert (answers.retired, answers.refused) == ((B,), (A,))


@pytest.mark.parametrize(
    ("view", "goes"), [({}, False), ({"broken": True}, True), ({"deleting": True}, True)]
)
def test_a_whole_eni_waits_for_a_pod_that_restarts_if_it_may_grant_it_its_address(
    view: dict[str, Any], goes: bool
) -> None:
    of = ledger(web=Retained("pods", (A,), is_certain=False, is_lost=True))
    of.observe(replace(ENI, generation=2, retiring=frozenset({A, B, C}), **view), 1)
    answers = of.acknowledge("e", 1)
    assert (A in answers.retired, A in answers.refused) == (goes, not goes)


@pytest.mark.parametrize("view", [{"retiring": frozenset({A, B, C})}, {"deleting": True}])
def test_a_whole_eni_takes_it_along(view: dict[str, Any]) -> None:
    of = ledger(web=Retained("pods", (A,)))
    of.observe(replace(ENI, generation=2, **view), 0)
    assert of.acknowledge("e", 0).retired == (A, B, C)
    assert chosen(of, WEB, A) is None


def test_one_that_is_to_leave_goes_without_a_cool_down_and_is_nobodys_until_then() -> None:
    of = ledger(web=Retained("pods", (A,), placed=False))
    grant(of, "c1", A)
    end(of, "c1", 100)
    of.observe(replace(ENI, generation=2, retiring=frozenset({A})), 1)
    assert of.acknowledge("e", 1).retired == (A,)
    assert chosen(of, WEB, A, now=200) is None
    assert chosen(of, DB, A, now=200) is None


def test_one_that_another_pod_had_last_leaves_once_it_has_cooled() -> None:
    of = ledger(web=Retained("pods", (A,), placed=False))
    grant(of, "c1", A, pod="p")
    end(of, "c1", 100)
    of.observe(replace(ENI, generation=2, retiring=frozenset({A})), 1)
    assert of.acknowledge("e", 99).retired == ()
    assert of.acknowledge("e", 100).retired == (A,)


def test_counts_never_exceed_what_the_port_has() -> None:
    six, seven = "fd00::5", "fd00::6"
    view = ENIView("e", "pods", 1, frozenset({4, 6}), (A, B, six, seven))
    of = ledger(web=Retained("pods", (A, six)))
    of.observe(view, 0)
    grant(of, "c1", B, seven)
    end(of, "c1", 100)
    assert of.counts("e", 0) == GrantCounts(1, 1, 0)
    of.retained.keep(DB, Retained("pods", (B,), placed=False))
    counts = of.counts("e", 0)
    assert counts.granted + counts.cooling + counts.available <= 2


def test_of_several_keepers_the_one_that_had_it_comes_first_then_the_oldest() -> None:
    kept = RetainedAddresses(lambda _: True)
    asked = Retained("pods", (A,), placed=False, granted=False)
    kept.keep("a", replace(asked, since="2026-01-02T00:00:00Z"))
    kept.keep("b", replace(asked, since="2026-01-01T00:00:00Z"))
    assert kept.keeper(A) == "b"
    for placed in (True, False):
        kept.keep("c", Retained("pods", (A,), placed=placed, since="2026-01-03T00:00:00Z"))
        assert (kept.keeper(A), kept.is_placed(A)) == ("c", placed)
    kept.keep("c", None)
    kept.keep("b", None)
    assert (kept.keeper(A), kept.leaves(A)) == ("a", False), "its pod has never had it"
    assert kept.of("a", "another pool") == ()


def acquire(
    parts: AgentParts, container: str, looks: list[bool] | None = None, **wish: Any
) -> Thread:
    """Have a request of the pod `web-0` wait in a thread of its own; `looks` grows as it looks."""
    request = GrantRequest(
        Attachment(container, container, "eth0"), "default", "web-0", "", "pods", 30, 0.0, **wish
    )

    def wait() -> None:
        with suppress(StoppingError):
            parts.grants.acquire(request, float("inf"), look)

    def look() -> bool:
        seen.append(True)
        return True

    seen = [] if looks is None else looks
    thread = Thread(target=wait)
    thread.start()
    return thread


def test_one_that_waits_for_a_certain_address_holds_up_no_other(tmp_path: Path) -> None:
    parts = AgentParts(tmp_path)
    parts.create_objects()
    waiting = acquire(parts, "w1", requested=("10.98.9.9",))
    wait_for(lambda: len(parts.grants.waits()) == 1, "it waits")
    assert parts.grant("other", "c1").addresses
    parts.grants.stop()
    waiting.join(60)
    assert parts.grants.find("w1", "eth0") is None


@pytest.mark.parametrize("comes", [True, False])
def test_one_whose_address_is_on_another_node_waits_until_it_comes_or_is_lost(
    tmp_path: Path,
    comes: bool,
) -> None:
    parts = AgentParts(tmp_path)
    parts.create_objects()
    looks: list[bool] = []
    waiting = acquire(parts, "w1", looks, awaited=True)
    wait_for(lambda: len(parts.grants.waits()) == 1, "it waits though addresses are free")
    there = "10.98.0.7" if comes else "10.98.9.9"
    parts.grants.retain(WEB, Retained("pods", (there,)))
    if not comes:
        before = len(looks)
        wait_for(lambda: len(looks) > before, "it has seen that its address is to come")
        assert parts.grants.find("w1", "eth0") is None
        parts.grants.retain(WEB, None)
    waiting.join(60)
    found = parts.grants.find("w1", "eth0")
    assert found is not None
    assert (found.addresses == (there,)) == comes


def test_what_a_pod_gives_up_for_another_address_cools_down_from_then_on(tmp_path: Path) -> None:
    """Its own is on a NIC that came late: it is nobody's before its PodIP goes, and after."""
    parts = AgentParts(tmp_path)
    parts.create_objects()
    own, key = "10.98.9.9", "default/web"
    parts.grants.retain(key, Retained("pods", (own,), is_certain=False, is_lost=True))
    planned = parts.grant("web", "c1", connect=False)
    assert parts.grants.lost(key, (own,)) == (own,)
    parts.grants.mark_connected(planned, PodNetwork("oec1", "", "", (), (), {}))
    assert parts.journal.state.cooling_until.keys() == {own}
    assert parts.grants.lost(key, (own,)) == ()


def test_a_grant_that_was_found_again_cools_down_no_address(tmp_path: Path) -> None:
    """The next start would delete its pod's flows."""
    parts = AgentParts(tmp_path)
    parts.create_objects()
    grant = parts.grant("web", "c1")
    parts.journal.close()
    (tmp_path / "journal").unlink()
    again = parts.restarted()
    again.grants.retain(
        "default/web", Retained("pods", grant.addresses, is_lost=True, is_certain=False)
    )
    again.grants.adopt(grant)
    assert again.journal.state.cooling_until == {}
