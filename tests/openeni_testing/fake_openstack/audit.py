"""The audit of calls, and how long each takes."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from openeni_testing.fake_openstack.messages import Request

DISCOVERY: Final = "discover"  # the clients' questions for versions are no calls of the operator


@dataclass
class Call:
    """A call in the audit. `status` is None while it runs, and 0 if it got no response."""

    request: Request
    at: float  # of the cloud's clock, when it arrived
    status: int | None = None

    @property
    def operation(self) -> str:
        return self.request.operation


@dataclass
class Audit:
    """All calls but discovery, in the order of their arrival.

    Operations have the names that the operator's call limiter logs. `connect` is a log-in at
    Keystone; a client that finds its token expired makes one more.
    """

    calls: list[Call] = field(default_factory=list[Call])
    counts: Counter[str] = field(default_factory=Counter[str])

    def add(self, request: Request, at: float) -> Call:
        call = Call(request, at)
        if request.operation != DISCOVERY:
            self.calls.append(call)
            self.counts[request.operation] += 1
        return call

    @property
    def operations(self) -> list[str]:
        return [call.operation for call in self.calls]

    def clear(self) -> None:
        self.calls.clear()
        self.counts.clear()


@dataclass
class Latency:
    """How many seconds a call takes before its work is done."""

    default: float = 0.0
    of_operation: dict[str, float] = field(default_factory=dict[str, float])
    # Nova asks Neutron once for each address on the server, at each attach and detach.
    per_address: float = 0.0

    def seconds(self, operation: str, addresses: int) -> float:
        """Return the seconds of a call to a server whose ports have so many addresses."""
        return self.of_operation.get(operation, self.default) + addresses * self.per_address
