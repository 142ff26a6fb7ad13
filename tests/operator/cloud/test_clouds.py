"""One log-in for all who ask for a cloud, and one for each step of its back-off."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from openeni_operator.cloud.admission import CallLimits
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds import MAX_PAUSE, Clouds
from openeni_operator.cloud.error_responses import MAX_RETRY_AFTER
from openeni_operator.cloud.errors import (
    CloudError,
    CloudNotConfiguredError,
    CloudUnreachableError,
    CredentialsInvalidError,
    ThrottledError,
)
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.cloud.memory import MemoryCloud

ASKING = 50


class Keystone:
    """Log-ins, which fail while there is an error."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clouds.yaml"
        self.file.write_text("one")
        self.clock = FakeClock()
        self.error: CloudError | None = None
        self.log_ins: list[str] = []
        self.clouds = Clouds(
            self.file, self.log_in, lambda name: CallLimiter(name, CallLimits()), self.clock
        )

    def log_in(self, _file: Path, name: str, _limiter: CallLimiter) -> Any:
        self.log_ins.append(name)
        if self.error:
            raise self.error
        return MemoryCloud()

    def ask(self, name: str = "default") -> object:
        """Return the cloud, or the error."""
        try:
            return self.clouds.get(name)
        except CloudError as error:
            return error


@pytest.fixture
def keystone(tmp_path: Path) -> Keystone:
    return Keystone(tmp_path)


def test_a_refused_credential_costs_one_log_in_for_each_step_of_the_back_off(
    keystone: Keystone,
) -> None:
    keystone.error = CredentialsInvalidError("refused")
    times: list[float] = []
    for _ in range(600):
        before = len(keystone.log_ins)
        assert {type(keystone.ask()) for _ in range(ASKING)} == {CredentialsInvalidError}
        if len(keystone.log_ins) > before:
            times.append(keystone.clock.now)
        keystone.clock.advance(1)
    assert len(keystone.log_ins) == len(times) <= 600 / 30
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE


def test_threads_that_ask_at_once_share_a_log_in_and_its_failure(keystone: Keystone) -> None:
    keystone.error = CloudUnreachableError("no answer")
    begin = threading.Barrier(ASKING)

    def ask(_: int) -> type[object]:
        begin.wait(30)
        return type(keystone.ask())

    with ThreadPoolExecutor(ASKING) as threads:
        assert set(threads.map(ask, range(ASKING))) == {CloudUnreachableError}
    assert len(keystone.log_ins) == 1


def test_a_changed_file_is_tried_at_once(keystone: Keystone) -> None:
    keystone.error = CloudNotConfiguredError("no entry")
    keystone.ask()
    keystone.error = None
    assert isinstance(keystone.ask(), CloudNotConfiguredError)
    keystone.file.write_text("another")
    assert isinstance(keystone.ask(), MemoryCloud)


def test_a_cloud_that_is_back_is_used_after_the_pause(keystone: Keystone) -> None:
    keystone.error = ThrottledError("slow down", 7.0)
    assert isinstance(keystone.ask(), ThrottledError)
    keystone.error = None
    keystone.clock.advance(6.9)
    assert isinstance(keystone.ask(), ThrottledError)
    keystone.clock.advance(0.1)
    assert keystone.ask() is keystone.ask()
    assert len(keystone.log_ins) == 2


def test_a_keystone_that_asks_for_more_time_gets_it_and_each_caller_the_time_that_is_left(
    keystone: Keystone,
) -> None:
    keystone.error = CloudUnreachableError("unavailable", MAX_RETRY_AFTER)
    for now in (0.0, MAX_PAUSE + 1, MAX_RETRY_AFTER - 1):
        keystone.clock.now = now
        failed = keystone.ask()
        assert isinstance(failed, CloudUnreachableError)
        assert failed.retry_after == MAX_RETRY_AFTER - now
    assert len(keystone.log_ins) == 1
    keystone.error = CloudUnreachableError("no answer")
    keystone.clock.now = MAX_RETRY_AFTER
    for left in (MAX_PAUSE, MAX_PAUSE):
        failed = keystone.ask()
        assert isinstance(failed, CloudUnreachableError)
        assert failed.retry_after == left, "what the cloud no longer asks for is forgotten"
        keystone.clock.advance(left)
    assert len(keystone.log_ins) == 3


def test_another_cloud_is_not_held_up(keystone: Keystone) -> None:
    keystone.error = CloudUnreachableError("no answer")
    keystone.ask("one")
    keystone.error = None
    assert isinstance(keystone.ask("other"), MemoryCloud)
