"""How long an ENI has been stalled follows from its conditions alone, and so does its fault."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openeni_crds.conditions import Condition, Reason, Status, Type, condition, merge
from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_operator.sizing.stalls import OWN_REASONS, STUCK_SECONDS, is_stuck, stalled_seconds
from openeni_testing.objects import eni_body


def at(minute: int) -> str:
    return f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z"


def an_eni(*conditions: Condition, created: int = 0) -> ENI:
    made = decode(eni_body("e"), ENI)
    metadata = replace(made.metadata, creation_timestamp=at(created))
    return replace(made, metadata=metadata, status=replace(made.status, conditions=conditions))


def since(minute: int, type_: Type, reason: Reason, *, status: bool = False) -> Condition:
    (found,) = merge((), [condition(type_, reason, status=status)], at(minute))
    return found


NEVER: Final[tuple[Condition, ...]] = (
    since(1, Type.PORT_READY, Reason.PORT_CREATED, status=True),
    since(0, Type.ATTACHED, Reason.CONFLICT),
    since(0, Type.READY, Reason.CONFLICT),
)


@pytest.mark.parametrize(
    ("conditions", "minutes"),
    [
        pytest.param((), 30, id="one that nobody has looked at"),
        pytest.param(NEVER, 29, id="since its port is there"),
        pytest.param(
            (*NEVER, since(25, Type.GUEST_PREPARED, Reason.PREPARED, status=True)),
            5,
            id="since its agent has come",
        ),
        pytest.param(
            (*NEVER, since(25, Type.UP_TO_DATE, Reason.UPDATING)), 29, id="settings are no step"
        ),
        pytest.param(
            (*NEVER[:2], since(25, Type.READY, Reason.CONFLICT)), 5, id="it was Ready till then"
        ),
        pytest.param((since(0, Type.READY, Reason.READY, status=True),), 0, id="one that is Ready"),
        pytest.param(
            (*NEVER, since(59, Type.LINK_READY, Reason.NIC_MISSING)), 29, id="a fast clock"
        ),
    ],
)
def test_the_time_is_that_since_the_last_step(
    conditions: tuple[Condition, ...], minutes: int
) -> None:
    assert stalled_seconds(an_eni(*conditions), at(30)) == 60 * minutes


def test_reasons_that_alternate_are_no_step() -> None:
    shown = NEVER
    for minute, reason in enumerate([Reason.THROTTLED, Reason.CONFLICT] * 10, start=2):
        changed = (condition(t, reason, status=False) for t in (Type.ATTACHED, Type.READY))
        shown = (NEVER[0], *merge(shown, changed, at(minute)))
    eni = an_eni(*shown)
    assert stalled_seconds(eni, at(22)) == 60 * 21
    assert is_stuck(eni, stalled_seconds(eni, at(22)))


@given(st.text())
def test_any_text_is_accepted_as_an_agents_time(text: str) -> None:
    linked = Condition(Type.LINK_READY, Status.FALSE, Reason.NIC_MISSING, last_transition_time=text)
    assert 0 <= stalled_seconds(an_eni(*NEVER, linked), at(30)) <= 60 * 30


@pytest.mark.parametrize("reason", Reason)
def test_only_reasons_of_its_own_make_it_stuck(reason: Reason) -> None:
    eni = an_eni(since(0, Type.READY, reason))
    assert is_stuck(eni, STUCK_SECONDS) == (reason in OWN_REASONS)
    assert not is_stuck(eni, STUCK_SECONDS - 1)
    assert not is_stuck(an_eni(), STUCK_SECONDS)
