"""The faults of the cloud in memory, and its clock."""

from dataclasses import dataclass

from openeni_operator.cloud.errors import OutcomeUnknownError


@dataclass
class FakeClock:
    """A clock that only `advance` moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Fault:
    """The next call of an operation raises `error`; if it `worked`, the work is done `late`."""

    error: BaseException
    worked: bool = False
    late: float = 0.0  # seconds


def no_response() -> OutcomeUnknownError:
    return OutcomeUnknownError("no response")
