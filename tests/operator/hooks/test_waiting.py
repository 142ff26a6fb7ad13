"""What a hook of Helm says and how it ends: refused, waited for, or given up."""

from collections.abc import Iterator, Sequence

import pytest

from openeni_kube.store import UnreachableError
from openeni_operator.hooks.waiting import LOOK_SECONDS, WAIT_SECONDS, Finding, Messages, wait

MESSAGES = Messages("it failed", "The page says more")


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps = 0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1


def run(clock: Clock, looks: Sequence[Finding | Exception], seconds: float = WAIT_SECONDS) -> int:
    """Run a hook; it sees the last of `looks` for ever."""
    seen: Iterator[Finding | Exception] = iter(looks)

    def look() -> Finding:
        found = next(seen, looks[-1])
        if isinstance(found, Exception):
            raise found
        return found

    return wait(look, MESSAGES, clock, clock.sleep, seconds)


def test_where_nothing_is_to_wait_for_it_ends_at_once() -> None:
    clock = Clock()
    assert run(clock, [Finding()]) == 0
    assert clock.sleeps == 0


def test_what_waiting_cannot_help_is_refused_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    assert run(clock, [Finding("ENIs", refusal="pools exist")]) == 1
    assert clock.sleeps == 0
    assert capfd.readouterr().err == "it failed: pools exist\n"


def test_it_says_once_what_it_waits_for(capfd: pytest.CaptureFixture[str]) -> None:
    away = UnreachableError(0, "gone")
    assert run(Clock(), [Finding("n1"), Finding("n1"), away, Finding("n2"), Finding()]) == 0
    assert capfd.readouterr().err.splitlines() == [
        "waiting for n1",
        "waiting for the Kubernetes API server: it cannot be used: 0: gone",
        "waiting for n2",
    ]


def test_a_notice_is_given_once_whatever_is_waited_for(capfd: pytest.CaptureFixture[str]) -> None:
    looks = [Finding("n1", notice="ports stay"), Finding("n2", notice="ports stay"), Finding()]
    assert run(Clock(), looks) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["ports stay", "waiting for n1", "waiting for n2"]
    assert run(Clock(), [Finding(refusal="pools exist", notice="ports stay")]) == 1
    assert capfd.readouterr().err.splitlines() == ["ports stay", "it failed: pools exist"]


@pytest.mark.parametrize("seconds", [WAIT_SECONDS, 900])
def test_it_gives_up_in_time_and_names_what_is_missing(
    capfd: pytest.CaptureFixture[str], seconds: float
) -> None:
    clock = Clock()
    assert run(clock, [Finding("n2")], seconds) == 1
    assert seconds < clock.now <= seconds + 2 * LOOK_SECONDS
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"it failed: waited {seconds:.0f} s for n2. The page says more"


def test_by_default_it_gives_up_before_helm_does() -> None:
    assert WAIT_SECONDS < 300
