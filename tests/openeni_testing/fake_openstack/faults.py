"""The fault plan: what goes wrong with which call."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from openeni_testing.fake_openstack.messages import HELD, Json, Request, Response


@dataclass(frozen=True)
class ErrorBefore:
    """The client gets this response, and the work is not done."""

    response: Response

    @property
    def due(self) -> float | None:
        """Return in how many seconds the work is done; None: never."""
        return None


@dataclass(frozen=True)
class ErrorAfter:
    """The client gets this response, and the work is done all the same, or `late` seconds later."""

    response: Response
    late: float = 0.0

    @property
    def due(self) -> float | None:
        return self.late


@dataclass(frozen=True)
class NoAnswer:
    """The connection is closed without a response. The work is done unless `worked` is False."""

    worked: bool = True
    late: float = 0.0  # seconds

    @property
    def due(self) -> float | None:
        return self.late if self.worked else None

    @property
    def response(self) -> Response | None:
        return None


@dataclass(frozen=True)
class Silence:
    """The client gets no response until it gives up. The work is done unless `worked` is False."""

    worked: bool = True

    @property
    def due(self) -> float | None:
        return 0.0 if self.worked else None

    @property
    def response(self) -> Response | None:
        return HELD


@dataclass(frozen=True)
class Slow:
    """The call takes so many seconds more, before its work is done."""

    seconds: float


@dataclass(frozen=True)
class StaleRead:
    """A read of ports shows them as they were: seconds ago, or before the last calls."""

    seconds: float = 0.0
    calls: int = 0


@dataclass(frozen=True)
class EmptyList:
    """A list is empty, with status 200."""


Effect: TypeAlias = ErrorBefore | ErrorAfter | NoAnswer | Silence | Slow | StaleRead | EmptyList
RunLater: TypeAlias = Callable[[float, Callable[[], object]], object]


def apply(
    effect: Effect | None, work: Callable[[], Response], run_later: RunLater
) -> Response | None:
    """Do the work of a call, as far as the effect lets it, and return the client's response.

    None closes the connection. That a call is slow, or reads what was, is the caller's.
    """
    match effect:
        case None | Slow() | StaleRead():
            return work()
        case EmptyList():
            return _emptied(work())
        case _:
            if effect.due is not None:
                run_later(effect.due, work)
            return effect.response


def _emptied(response: Response) -> Response:
    """Return a response without the items of its lists."""
    body: Json = {k: [] if isinstance(v, list) else v for k, v in response.body.items()}
    return replace(response, body=body)


@dataclass
class Rule:
    """An effect on calls of an operation, "" for all operations.

    Of the calls that match, from the `nth` on since the rule was added, `times` are affected.
    """

    operation: str
    effect: Effect
    nth: int = 1
    times: float = 1
    when: Callable[[Request], bool] = lambda _: True
    matched: int = 0

    def applies(self, request: Request) -> bool:
        """Count the call if it matches, and return whether it is affected."""
        if self.operation not in ("", request.operation) or not self.when(request):
            return False
        self.matched += 1
        return self.nth <= self.matched < self.nth + self.times


@dataclass
class FaultPlan:
    """Rules in order: the first that applies decides, and the others count the call."""

    rules: list[Rule] = field(default_factory=list[Rule])

    def add(
        self,
        operation: str,
        effect: Effect,
        *,
        nth: int = 1,
        times: float = 1,
        when: Callable[[Request], bool] = lambda _: True,
    ) -> Rule:
        rule = Rule(operation, effect, nth, times, when)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        self.rules.clear()

    def effect_on(self, request: Request) -> Effect | None:
        applying = [rule.effect for rule in list(self.rules) if rule.applies(request)]
        return applying[0] if applying else None
