"""The one door: budgets with a real bound, one call a key, errors in our words."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.cloud.answers import Answer, meaning, one_line
from openeni_operator.cloud.budget import Bucket, Sort
from openeni_operator.cloud.calls import Door, Limits
from openeni_operator.cloud.errors import (
    CloudError,
    ConflictError,
    CredentialsInvalidError,
    DeniedError,
    ExhaustedError,
    InvalidError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaExceededError,
    ThrottledError,
    UnreachableError,
)


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.5, 20), st.integers(1, 8))
def test_in_no_window_go_more_calls_than_burst_and_rate_allow(
    gaps: list[float], rate: float, burst: int
) -> None:
    bucket, now, begun = Bucket(rate, burst), 0.0, list[float]()
    for gap in gaps:
        now += gap
        begun.append(now + bucket.take(now))
    for i, first in enumerate(begun):
        for j in range(i, len(begun)):
            assert j - i + 1 <= burst + rate * (begun[j] - first) + 1e-6


def test_idle_time_does_not_pile_up() -> None:
    bucket = Bucket(rate=5, burst=5)
    bucket.take(0)
    waits = [bucket.take(1000) for _ in range(8)]
    assert waits[:5] == [0] * 5
    assert waits[5:] == pytest.approx([0.2, 0.4, 0.6])


def test_being_told_to_slow_down_halves_the_rate_and_success_brings_it_back() -> None:
    bucket = Bucket(rate=10, burst=1)
    bucket.slow_down()
    assert bucket.share == 0.5
    for _ in range(20):
        bucket.went_well()
    assert bucket.share == 1.0
    for _ in range(99):
        bucket.slow_down()
    assert bucket.share == 1 / 16


class SdkError(Exception):
    pass


def door(**limits: float) -> Door:
    return Door("default", Limits(writes=1e6, reads=1e6, plugs=1e6, **limits))  # type: ignore[arg-type] # numbers


def unknown(_: Exception, sort: Sort) -> CloudError:
    return UnreachableError("x") if sort is Sort.READ else OutcomeUnknownError("x")


def test_only_our_own_errors_come_through() -> None:
    def fails() -> None:
        raise SdkError("secret")

    with pytest.raises(OutcomeUnknownError) as told:
        door().call("create port", Sort.WRITE, fails, unknown)
    assert told.value.__suppress_context__


def test_one_call_a_key_at_a_time_and_others_go_on() -> None:
    shut, begun, ended = threading.Event(), threading.Event(), list[str]()
    one = door()

    def slow() -> None:
        begun.set()
        assert shut.wait(10)
        ended.append("first")

    first = threading.Thread(
        target=one.call, args=("attach", Sort.PLUG, slow, unknown), kwargs={"key": "server/a"}
    )
    second = threading.Thread(
        target=one.call,
        args=("attach", Sort.PLUG, lambda: ended.append("second"), unknown),
        kwargs={"key": "server/a"},
    )
    first.start()
    assert begun.wait(10)
    second.start()
    one.call("attach", Sort.PLUG, lambda: ended.append("other"), unknown, key="server/b")
    assert ended == ["other"]
    shut.set()
    first.join(10)
    second.join(10)
    assert ended == ["other", "first", "second"]


def test_a_call_that_does_not_end_is_not_waited_for_without_end() -> None:
    one, shut, begun = door(patience=0.05), threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        shut.wait(10)

    holder = threading.Thread(
        target=one.call, args=("attach", Sort.PLUG, stuck, unknown), kwargs={"key": "server/a"}
    )
    holder.start()
    assert begun.wait(10)
    with pytest.raises(ConflictError, match="does not end"):
        one.call("attach", Sort.PLUG, lambda: None, unknown, key="server/a")
    shut.set()
    holder.join(10)
    one.call("attach", Sort.PLUG, lambda: None, unknown, key="server/a")


NEUTRON = '{"NeutronError": {"type": "%s", "message": "%s", "detail": ""}}'
NOVA = '{"computeFault": {"code": 500, "message": "Unexpected API Error.\\nTrace"}}'


@pytest.mark.parametrize(
    ("status", "body", "sort", "error"),
    [
        (401, "", Sort.READ, CredentialsInvalidError),
        (403, NEUTRON % ("PolicyNotAuthorized", "no"), Sort.WRITE, DeniedError),
        (404, NEUTRON % ("PortNotFound", "no"), Sort.READ, NotFoundError),
        (409, NEUTRON % ("OverQuota", "Quota"), Sort.WRITE, QuotaExceededError),
        (409, NEUTRON % ("IpAddressGenerationFailure", "No more"), Sort.WRITE, ExhaustedError),
        (409, NEUTRON % ("MacAddressInUse", "in use"), Sort.WRITE, ConflictError),
        (409, '{"conflictingRequest": {"message": "busy"}}', Sort.PLUG, ConflictError),
        (412, NEUTRON % ("RevisionNumberConstraintFailed", "x"), Sort.WRITE, ConflictError),
        (413, "", Sort.READ, ThrottledError),
        (429, "<html>slow down</html>", Sort.WRITE, ThrottledError),
        (400, NEUTRON % ("InvalidIpForSubnet", "x"), Sort.WRITE, InvalidError),
        (500, NOVA, Sort.PLUG, OutcomeUnknownError),
        (502, "<html>Bad Gateway</html>", Sort.WRITE, OutcomeUnknownError),
        (503, "", Sort.READ, UnreachableError),
        (504, '"text"', Sort.READ, UnreachableError),
        (500, "[]", Sort.READ, UnreachableError),
    ],
)
def test_an_answer_means_what_to_do_next(
    status: int, body: str, sort: Sort, error: type[CloudError]
) -> None:
    found = meaning(Answer(status, {}, body), sort, "default")
    assert type(found) is error
    assert "default" in found.message
    assert "\n" not in found.message
    assert "<" not in found.message


@pytest.mark.parametrize(("given", "after"), [("17", 17), ("99999", 600), ("soon", 30)])
def test_retry_after_is_honoured_within_reason(given: str, after: float) -> None:
    assert meaning(Answer(429, {"Retry-After": given}, ""), Sort.READ, "x").after == after


def test_what_differs_from_call_to_call_is_left_out() -> None:
    text = "Unexpected API Error. (HTTP 500) (Request-ID: req-0f3a2b1c-1111-2222-3333-444455556666)"
    assert one_line(text) == "Unexpected API Error."
    assert len(one_line("x" * 999)) == 300
