"""Calls of a cloud in memory: counted, on a clock that does not run, with faults on request."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.cloud.errors import CloudError
from openeni_testing.cloud.faults import FakeClock, Fault
from openeni_testing.cloud.operations import operations

T = TypeVar("T")


@dataclass
class FaultyCalls:
    """`calls` counts the calls of each operation, by the names that the operator's have."""

    clock: FakeClock = field(default_factory=FakeClock)
    calls: Counter[str] = field(default_factory=Counter[str])
    faults: dict[str, list[Fault]] = field(default_factory=dict[str, list[Fault]])
    down: CloudError | None = None  # every call raises it
    before_call: Callable[[str], None] = lambda _: None
    after_call: Callable[[str], None] = lambda _: None
    observe: Callable[[str], None] = lambda _: None  # after every call, whatever its result
    lacks: set[str] = field(default_factory=set[str])  # aliases of Neutron's extensions
    expires: str | None = ""  # the credential, as `Cloud.credential_expiry` has it
    _later: list[tuple[float, Callable[[], object]]] = field(
        default_factory=list[tuple[float, Callable[[], object]]]
    )

    def fail(self, operation: str, *faults: Fault) -> None:
        """Make the next calls of the operation fail, one fault each."""
        assert operation in operations(), operation
        self.faults.setdefault(operation, []).extend(faults)

    def after(self, seconds: float, work: Callable[[], object]) -> None:
        """Do something after so many seconds of the clock."""
        if seconds:
            self._later.append((self.clock.now + seconds, work))
        else:
            work()

    def call(
        self, operation: str, work: Callable[[], T], before: Callable[[], None] = lambda: None
    ) -> T:
        assert operation in operations(), operation
        self.settle()
        if not self._not_yet(operation):
            before()
        self.before_call(operation)
        self.calls[operation] += 1
        try:
            if self.down is not None:
                raise self.down
            fault = self.faults[operation].pop(0) if self.faults.get(operation) else None
            if fault is None:
                return work()
            if fault.worked:
                self.after(fault.late, lambda: self._suppress_errors(work))
            raise fault.error
        finally:
            self.observe(operation)
            self.after_call(operation)

    def _not_yet(self, operation: str) -> bool:
        """Return True if the operator's own limits keep the next call from being made."""
        return any(isinstance(f.error, NotYetError) for f in self.faults.get(operation, ())[:1])

    def has_extension(self, alias: str) -> bool:
        return self.call("get extension", lambda: alias not in self.lacks)

    def credential_expiry(self) -> str | None:
        return self.call("get credential", lambda: self.expires)

    def _suppress_errors(self, work: Callable[[], object]) -> None:
        with suppress(CloudError):
            work()

    def settle(self) -> None:
        """Do all delayed work that is due by now."""
        due = [work for at, work in self._later if at <= self.clock.now]
        self._later = [(at, work) for at, work in self._later if at > self.clock.now]
        for work in due:
            work()
