"""Admission: bounded rates without a thread that waits, in order, and no call that must fail."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.cloud.admission import (
    MIN_READ_BURST,
    OVERDRAFT,
    Admission,
    Admitted,
    Call,
    CallLimits,
    NotYet,
    limits_at,
)
from openeni_operator.cloud.errors import (
    ResourceNotFoundError,
    ThrottledError,
)
from openeni_testing.cloud.desk import CREATE, LIMITS, READ, Desk, attach


def test_three_hundred_attachments_go_one_a_second_in_order_and_each_asks_twice() -> None:
    desk, made, questions = Desk(), list[tuple[float, int]](), 0
    due = [(0.0, n) for n in range(300)]
    while due:
        due.sort()
        desk.now, n = due.pop(0)
        questions += 1
        verdict = desk.make(attach(n))
        if isinstance(verdict, NotYet):
            due.append((desk.now + verdict.seconds, n))
        else:
            made.append((desk.now, n))
    assert [n for _, n in made] == list(range(300))
    burst = LIMITS.attaches_in_flight
    assert all(at == pytest.approx(max(0, i - burst + 1)) for i, (at, _) in enumerate(made))
    assert questions <= 2 * 300


def test_an_early_question_neither_costs_nor_loses_the_place() -> None:
    desk = Desk()
    for n in range(LIMITS.attaches_in_flight):
        assert isinstance(desk.make(attach(n)), Admitted)
    first = desk.make(attach(100))
    assert isinstance(first, NotYet)
    for _ in range(50):
        desk.now += first.seconds / 100
        assert isinstance(desk.make(attach(100)), NotYet)
    desk.now = first.seconds
    assert isinstance(desk.make(attach(100)), Admitted)


def test_a_call_that_finds_no_slot_asks_later_and_slots_are_never_exceeded() -> None:
    desk = Desk(Admission(replace(LIMITS, attaches=1000, attaches_in_flight=2)))
    held = [attach(1), attach(2)]
    for call in held:
        assert isinstance(desk.admission.admit(call, 0), Admitted)
    verdict = desk.make(attach(3))
    assert isinstance(verdict, NotYet)
    desk.now = verdict.seconds
    assert isinstance(desk.make(attach(3)), NotYet)
    desk.admission.finish(held[0], None, 0, desk.now)
    desk.now += 10
    assert isinstance(desk.make(attach(3)), Admitted)


@given(st.lists(st.floats(0, 0.5), max_size=200), st.floats(1, 20))
def test_reads_are_bounded_in_every_window_even_if_no_reconcile_waits(
    gaps: list[float], rate: float
) -> None:
    admission, now, made = Admission(replace(LIMITS, reads=rate)), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if isinstance(admission.admit(READ, now), Admitted):
            admission.finish(READ, ResourceNotFoundError("none"), now, now)
            made.append(now)
    for i, first in enumerate(made):
        for j in range(i, len(made)):
            most = max(rate, MIN_READ_BURST) * (1 + OVERDRAFT) + rate * (made[j] - first)
            assert j - i + 1 <= most + 1e-6


def test_no_reconcile_begins_while_reads_are_overdrawn() -> None:
    desk = Desk()
    for _ in range(int(LIMITS.reads)):
        assert desk.admission.pause_of_reconciles(0) == 0
        desk.make(READ)
    desk.make(READ)
    assert desk.admission.pause_of_reconciles(0) == pytest.approx(1 / LIMITS.reads)
    assert desk.admission.pause_of_reconciles(1) == 0


def test_after_a_pause_changes_come_at_their_rate() -> None:
    """Those that waited must not all be made at once, right after the cloud has throttled."""
    desk, waiting = Desk(), [replace(CREATE, subject=str(n), exclusive=str(n)) for n in range(200)]
    due = {call.subject: 0.0 for call in waiting}
    made: list[float] = []
    for step in range(4000):
        desk.now = step / 20
        if step == 40:
            desk.make(READ, ThrottledError("slow down", 30))
        for call in waiting:
            if due[call.subject] > desk.now:
                continue
            verdict = desk.make(call)
            if isinstance(verdict, Admitted):
                made.append(desk.now)
                due[call.subject] = 1e9
            elif isinstance(verdict, NotYet):
                due[call.subject] = desk.now + verdict.seconds
            else:
                due[call.subject] = desk.now + verdict.error.retry_after
    after = [at for at in made if at > 32]
    assert len([at for at in after if at < 36]) <= LIMITS.writes * 4 + LIMITS.writes
    assert len(made) == 200


def test_a_cloud_that_throttles_is_called_at_half_the_rate_until_calls_succeed() -> None:
    desk, failure = Desk(), ResourceNotFoundError("neither a success nor throttled")
    desk.make(READ, ThrottledError("slow down", 1))
    assert desk.admission.throttle_ratio() == 0.5
    desk.now = 1000
    for n in range(int(LIMITS.writes)):
        assert isinstance(desk.make(create(n), failure), Admitted)
    verdict = desk.make(create(100))
    assert isinstance(verdict, NotYet)
    assert verdict.seconds == pytest.approx(2 / LIMITS.writes)
    for n in range(20):
        desk.now += 100
        for call in (READ, create(n), attach(n)):
            assert isinstance(desk.make(call), Admitted)
    assert desk.admission.throttle_ratio() == 0


def create(n: int) -> Call:
    return replace(CREATE, subject=f"p{n}", exclusive=f"port/p{n}")


@pytest.mark.parametrize("rate", [0.1, 1, 5])
def test_the_lowest_rates_admit_the_reads_of_a_whole_reconcile(rate: float) -> None:
    admission = Admission(replace(LIMITS, reads=rate, writes=rate))
    for n in range(35):
        assert isinstance(admission.admit(READ, n / 100), Admitted)
    assert isinstance(admission.admit(CREATE, 1), Admitted)


def test_who_waits_for_a_slot_keeps_its_place() -> None:
    """200 attachments that take 20 s each: the first who asked are not the last who are served."""
    desk, running, ends = Desk(), list[tuple[float, Call]](), list[int]()
    due = [(0.0, n) for n in range(200)]
    questions = 0
    while due or running:
        due.sort()
        if running and (not due or running[0][0] <= due[0][0]):
            desk.now, call = running.pop(0)
            desk.admission.finish(call, None, desk.now - 20, desk.now)
            ends.append(int(call.subject.removeprefix("port-")))
            continue
        desk.now, n = due.pop(0)
        questions += 1
        verdict = desk.admission.admit(attach(n), desk.now)
        if isinstance(verdict, NotYet):
            due.append((desk.now + verdict.seconds, n))
        else:
            running.append((desk.now + 20, attach(n)))
    assert max(abs(place - n) for place, n in enumerate(ends)) <= 40


def test_the_whole_rate_can_be_used_by_calls_of_half_a_second() -> None:
    assert limits_at(writes=5, reads=20, attaches=1) == CallLimits()
    limits = limits_at(writes=30, reads=50, attaches=40)
    assert (limits.writes_in_flight, limits.attaches_in_flight) == (15, 20)


def test_who_finds_no_slot_asks_again_when_a_call_is_about_to_end() -> None:
    """A slot that is free and not asked for is a call that was not made."""
    desk = Desk(Admission(replace(LIMITS, attaches=1000, attaches_in_flight=2)))
    for n in range(20):
        desk.admission.admit(attach(n), desk.now)
        desk.now += 0.2
        desk.admission.finish(attach(n), None, desk.now - 0.2, desk.now)
    for n in (100, 101):
        assert isinstance(desk.admission.admit(attach(n), desk.now), Admitted)
    waits = [desk.admission.admit(attach(n), desk.now) for n in (102, 103, 104)]
    assert [w.seconds for w in waits if isinstance(w, NotYet)] == [
        pytest.approx(0.2 * n / 2, rel=0.05) for n in (1, 2, 3)
    ]
