"""A cloud that asks to be called again later is not called before, whatever way it asks."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.cloud.admission import Admitted
from openeni_operator.cloud.budget import CallType
from openeni_operator.cloud.error_responses import (
    DEFAULT_RETRY_AFTER,
    MAX_RETRY_AFTER,
    ErrorResponse,
    classify_response,
)
from openeni_operator.cloud.errors import (
    RETRY_SOON,
    CloudError,
    CloudUnreachableError,
    OutcomeUnknownError,
    ThrottledError,
)
from openeni_operator.cloud.openstack import OpenStackCloud
from openeni_operator.cloud.pauses import UNREACHABLE_CALLS
from openeni_testing.cloud.desk import READ, SERVER, Desk
from openeni_testing.cloud.grounds import connect_to_fake
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorBefore
from openeni_testing.fake_openstack.responses import throttled, unavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AHEAD = timedelta(hours=1)  # the cloud's clock, of the operator's
IN_90_S = format_datetime(NOW + timedelta(seconds=90), usegmt=True)


def classify(status: int, call_type: CallType = CallType.READ, **headers: str) -> CloudError:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return classify_response(ErrorResponse(status, named, "", NOW), call_type, "default")


@pytest.mark.parametrize("status", [413, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    ("given", "after"),
    [
        ("17", 17),
        (" 0 ", 0),
        ("9" * 400, MAX_RETRY_AFTER),
        (IN_90_S, 90),
        (IN_90_S.replace("GMT", "-0000"), 90),
        (format_datetime(NOW - AHEAD, usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), MAX_RETRY_AFTER),
    ],
)
def test_a_number_or_a_date_is_honoured_up_to_ten_minutes(
    status: int, given: str, after: float
) -> None:
    assert classify(status, Retry_After=given).retry_after == after


@pytest.mark.parametrize(
    "given", ["", "soon", "-5", "1.5", "\u00b2", "Thu, 01 Jan 2026", "1 Jan 9e9 0:0:0"]
)
def test_an_unusable_retry_after_is_ignored(given: str) -> None:
    assert classify(429, Retry_After=given).retry_after == DEFAULT_RETRY_AFTER
    assert classify(503, Retry_After=given).retry_after == RETRY_SOON
    assert classify(503).retry_after == RETRY_SOON


WORDS = st.sampled_from(
    ["Thu,", "01", "Jan", "0001", "9999", "2026", "-3", "25:61:61", "1.2", "GMT", "+9959", "9" * 30]
)
TEXTS = st.text() | st.lists(WORDS, max_size=7).map(" ".join)


@given(TEXTS, TEXTS)
def test_no_header_makes_more_of_a_response_than_an_error(after: str, date: str) -> None:
    assert 0 <= classify(503, Retry_After=after, Date=date).retry_after <= MAX_RETRY_AFTER


def test_a_date_is_one_of_the_clouds_clock() -> None:
    date = format_datetime(NOW + AHEAD, usegmt=True)
    until = format_datetime(NOW + AHEAD + timedelta(seconds=90), usegmt=True)
    assert classify(503, retry_after=until, date=date).retry_after == 90
    assert classify(503, retry_after=IN_90_S, date="noon").retry_after == 90


@pytest.mark.parametrize("call_type", [CallType.WRITE, CallType.ATTACH])
def test_what_came_of_a_change_is_looked_for_soon_all_the_same(call_type: CallType) -> None:
    failure = classify(503, call_type, Retry_After="600")
    assert type(failure) is OutcomeUnknownError
    assert failure.retry_after == RETRY_SOON


def test_calls_to_an_unavailable_service_are_not_made_before_it_asks_for_them() -> None:
    desk, failure = Desk(), classify(503, Retry_After="600")
    for _ in range(UNREACHABLE_CALLS):
        desk.make(READ, failure)
    for desk.now, left in ((0.0, 600.0), (595.0, 5.0)):
        refused = desk.refused(READ)
        assert type(refused) is CloudUnreachableError
        assert refused.retry_after == left, "who asks late need not wait as long again"
    assert isinstance(desk.make(SERVER), Admitted)
    desk.now = 600.0
    assert isinstance(desk.make(READ), Admitted)


def test_neutron_and_keystone_are_heard_through_their_clients(
    fake: FakeOpenStack, operators: OpenStackCloud, tmp_path: Path
) -> None:
    fake.faults.add("get port", ErrorBefore(unavailable(40)))
    with pytest.raises(CloudUnreachableError) as refused:
        operators.port("p")
    assert refused.value.retry_after == 40
    for response, error in (
        (unavailable(41), CloudUnreachableError),
        (throttled(42), ThrottledError),
    ):
        fake.faults.clear()
        fake.faults.add("connect", ErrorBefore(response), times=9)
        with pytest.raises(error) as raised:
            connect_to_fake(fake, tmp_path / "another.yaml")
        assert raised.value.retry_after == float(response.headers["Retry-After"])
