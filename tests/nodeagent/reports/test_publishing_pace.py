"""PodIPs and ENI statuses are put off while calls are at work, but none for long."""

import pytest

from openeni_nodeagent.reports.publishing_pace import (
    BEHIND_POLL_SECONDS,
    BUSY_POLL_SECONDS,
    MOST_BUSY_SECONDS,
    PublishingPace,
)


@pytest.mark.parametrize(
    ("behind", "busy", "overdue", "pause"),
    [
        (False, False, 0.0, 0.0),
        (False, True, 0.0, BUSY_POLL_SECONDS),
        (False, True, MOST_BUSY_SECONDS - 0.01, BUSY_POLL_SECONDS),
        (False, True, MOST_BUSY_SECONDS, 0.0),
        (True, False, 0.0, BEHIND_POLL_SECONDS),
        (True, True, 3600.0, BEHIND_POLL_SECONDS),
    ],
)
def test_a_write_waits_for_calls_at_work_a_while_and_for_the_end_of_an_outage(
    behind: bool, busy: bool, overdue: float, pause: float
) -> None:
    pace = PublishingPace(lambda: behind, lambda: busy)
    assert pace.pause("", overdue) == pause
