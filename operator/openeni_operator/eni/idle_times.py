"""Tell for how long ENIs have been idle, by this process's own clock: a node's may be wrong.

An agent's `idleSince` tells one idle time from the next. This process counts from when it first saw
it; only for what was there at its start it has to compare the clocks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from openeni_crds.eni import ENI
from openeni_operator.eni.report import agent_report


@dataclass(frozen=True)
class _Idle:
    uid: str
    idle_since: str  # as reported; "" while it is in use
    begun: float  # by the clock


class IdleTimes:
    """Thread-safe as long as one thread at a time asks about the ENIs of one pool."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pools: dict[str, dict[str, _Idle]] = {}

    def of(self, pool: str, enis: Iterable[ENI], now: str) -> Mapping[str, float]:
        """Return, by name, the seconds for which each idle one of these ENIs has been so."""
        known = self._pools.setdefault(pool, {})
        found = {eni.name: self._look(eni, known.get(eni.name), now) for eni in enis}
        known |= found
        clock = self._clock()
        return {name: clock - idle.begun for name, idle in found.items() if idle.idle_since}

    def forget_eni(self, pool: str, eni: str) -> None:
        """Forget an ENI that is gone."""
        self._pools.get(pool, {}).pop(eni, None)

    def forget(self, pool: str) -> None:
        self._pools.pop(pool, None)

    def _look(self, eni: ENI, before: _Idle | None, now: str) -> _Idle:
        seconds = agent_report(eni, now).idle_seconds
        node = eni.status.node
        since = node.idle_since if node is not None and seconds is not None else ""
        if before is None or before.uid != eni.metadata.uid:
            return _Idle(eni.metadata.uid, since, self._clock() - (seconds or 0.0))
        return before if before.idle_since == since else _Idle(before.uid, since, self._clock())
