"""PodIPs and ENI statuses are put off while calls are at work, but not for long."""

import pytest

from openeni_nodeagent.reports import publishing_pace
from openeni_nodeagent.reports.publishing_pace import (
    BUSY_POLL_SECONDS,
    MOST_BUSY_SECONDS,
    OUTAGE_POLL_SECONDS,
    PublishingPace,
)
from openeni_testing.agent.clock import Clock


class Node:
    """What the pace looks at."""

    def __init__(self) -> None:
        self.unreachable = self.busy = False
        self.pace = PublishingPace(lambda: self.unreachable, lambda: self.busy)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.of(publishing_pace, monkeypatch)


def put_off(node: Node, clock: Clock) -> float:
    """Return for how long a write that is due is put off, if nothing changes."""
    begun = clock.now
    while (pause := node.pace.pause()) > 0:
        clock.now += pause
        assert clock.now - begun < 60
    return clock.now - begun


def test_on_a_node_at_rest_nothing_is_put_off(clock: Clock) -> None:
    assert put_off(Node(), clock) == 0


def test_in_an_outage_nothing_is_written_however_long_it_lasts(clock: Clock) -> None:
    node = Node()
    node.unreachable = True
    for _ in range(1000):
        assert node.pace.pause() == OUTAGE_POLL_SECONDS
        clock.now += OUTAGE_POLL_SECONDS
    node.unreachable = False
    assert put_off(node, clock) == 0


def test_where_calls_never_end_writes_go_on_after_a_while(clock: Clock) -> None:
    node = Node()
    node.busy = True
    assert put_off(node, clock) == pytest.approx(MOST_BUSY_SECONDS, abs=BUSY_POLL_SECONDS)
    for _ in range(10):
        clock.now += 0.01  # the next write is due at once
        assert put_off(node, clock) == 0


@pytest.mark.parametrize("quiet", [0.0, 60.0], ids=["looked at", "without a write"])
def test_each_burst_puts_writes_off_anew(clock: Clock, quiet: float) -> None:
    node = Node()
    node.busy = True
    put_off(node, clock)
    node.busy = False
    assert quiet or put_off(node, clock) == 0
    clock.now += quiet
    node.busy = True
    assert put_off(node, clock) >= MOST_BUSY_SECONDS - BUSY_POLL_SECONDS
