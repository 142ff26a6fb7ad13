"""When a look may make an address available: not before, so that churn costs no looks."""

from dataclasses import replace

import pytest

from openeni_nodeagent.grants.eni_view import ENIView
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.ledger import Ledger
from openeni_nodeagent.grants.retained import Retained, Wanted

A, B = "10.0.0.5", "10.0.0.6"
ENI = ENIView("e", "pods", 1, frozenset({4}), (A, B))
NOW, COOLED = 100.0, 130.0
WANTED = Wanted(addresses=(A,))


def look(of: Ledger) -> None:
    of.finish_look(of.reservations.begin_look(), (), NOW)


@pytest.fixture
def ledger() -> Ledger:
    """Return a ledger with a grant of A."""
    made = Ledger()
    look(made)
    made.observe(ENI, NOW)
    attachment = Attachment("uid", "c", "eth0")
    made.record(
        Grant(attachment, "default", "p", "", "e", "pods", (A,), "Veth", 1450, at=0, cool_down=30)
    )
    return made


def test_of_a_pod_that_runs_no_look_is_due(ledger: Ledger) -> None:
    assert ledger.look_due(NOW) is None


def test_after_its_end_one_is_due_when_its_address_is_cooled(ledger: Ledger) -> None:
    ledger.end_grant("c", "eth0", COOLED)
    assert ledger.look_due(NOW) == COOLED
    assert ledger.choose("pods", COOLED, WANTED) is None  # not without the look
    look(ledger)
    assert ledger.look_due(NOW) is None
    assert ledger.choose("pods", COOLED, WANTED) is not None


@pytest.mark.parametrize(
    "view", [replace(ENI, retiring=frozenset({A})), replace(ENI, deleting=True)]
)
def test_an_address_that_is_to_leave_the_node_waits_for_no_cool_down(
    ledger: Ledger, view: ENIView
) -> None:
    ledger.observe(replace(view, generation=2), NOW)
    ledger.end_grant("c", "eth0", COOLED)
    assert ledger.look_due(NOW) == NOW


def test_an_address_that_is_kept_for_a_pod_waits_for_no_cool_down(ledger: Ledger) -> None:
    ledger.retained.keep("default/p", Retained("pods", (A,)))
    ledger.end_grant("c", "eth0", COOLED)
    assert ledger.look_due(NOW) == NOW


def test_another_address_that_is_to_leave_makes_no_look_due_earlier(ledger: Ledger) -> None:
    ledger.observe(replace(ENI, generation=2, retiring=frozenset({B})), NOW)
    ledger.end_grant("c", "eth0", COOLED)
    assert ledger.look_due(NOW) == COOLED
