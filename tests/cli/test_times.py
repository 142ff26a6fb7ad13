"""Times as people write and read them."""

from datetime import UTC, datetime

import pytest

from openeni_cli.times import age, parse, parse_moment

NOW = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("14:03", "2026-11-24T14:03:00+00:00"),
        ("15:00", "2026-11-24T15:00:00+00:00"),
        ("15:01", "2026-11-23T15:01:00+00:00"),  # it has not been that today
        ("9:05", None),
        ("2026-11-20T01:02", "2026-11-20T01:02:00+00:00"),
        ("2026-11-20T01:02:03+02:00", "2026-11-19T23:02:03+00:00"),
        ("2026-11-20", "2026-11-20T00:00:00+00:00"),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_time_of_day_is_the_last_one(text: str, found: str | None) -> None:
    moment = parse_moment(text, NOW)
    assert (moment.isoformat() if moment else None) == found


@pytest.mark.parametrize(
    "text", ["2026-11-24T10:02:03Z", "2026-11-24T10:02:03.120Z", "2026-11-24T10:02:03.123456Z"]
)
def test_times_of_the_api_and_of_logs_are_read(text: str) -> None:
    found = parse(text)
    assert found is not None
    assert found.replace(microsecond=0) == datetime(2026, 11, 24, 10, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (10799, "179m"), (10800, "3h0m"),
     (172799, "47h59m"), (172800, "2d"), (None, "?")],
)  # fmt: skip
def test_an_age_is_short(seconds: float | None, text: str) -> None:
    assert age(seconds) == text
