"""Find out whether a pool's ports can get and lose addresses, as `growth: Elastic` needs it.

The cloud is asked about one of the pool's ports, by a change that no cloud can make. Before there
is a port, whose the network is tells, as in Neutron's default policy. No answer is for ever.
"""

import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from openeni_crds.capacity import Growth
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.cloud.errors import CloudError, DeniedError, ResourceNotFoundError
from openeni_operator.enipool.resolution import Resolution

# For so many seconds an answer holds.
ALLOWED_SECONDS: Final = 3600.0
DENIED_SECONDS: Final = 600.0
DOUBTED_SECONDS: Final = 60.0  # since an ENI's port was refused addresses
UNKNOWN_SECONDS: Final = 30.0  # until a cloud that did not answer is asked again
PORTS_TRIED: Final = 3  # one of them may be gone


@dataclass(frozen=True)
class GrowthInForce:
    """How the pool's nodes get addresses; `obstacle` says why not Elastic, if that is known."""

    growth: Growth
    obstacle: str = ""
    # By the monotonic clock: then the cloud is to be asked again.
    until: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class _Answer:
    at: float
    obstacle: str  # "" if the cloud allows it


class GrowthProbe:
    """Thread-safe; pools of one network share the answer."""

    def __init__(
        self,
        cloud: Callable[[str], Cloud],
        clock: Callable[[], float],
        learnt: Callable[[str], None] = lambda _cloud: None,
    ) -> None:
        """Call `learnt` with the name of a cloud when it has answered otherwise than before."""
        self._cloud = cloud
        self._clock = clock
        self._learnt = learnt
        self._lock = threading.Lock()
        self._answers: dict[Hashable, _Answer] = {}

    def __call__(
        self,
        pool: ENIPool,
        resolution: Resolution | None,
        enis: Callable[[], Iterable[ENI]],
        *,
        denied: bool,
    ) -> GrowthInForce:
        """Return the growth in force; where the cloud does not tell, it stays what it was.

        `enis` returns the pool's, if the cloud is to be asked; one of them was `denied` addresses.
        """
        if pool.spec.capacity.growth is Growth.STATIC:
            return GrowthInForce(Growth.STATIC)
        before = GrowthInForce(pool.status.growth or Growth.STATIC)
        if resolution is None:
            return before
        obstacle, until = self._obstacle(pool, resolution, enis, denied=denied)
        if obstacle is None:
            return replace(before, until=until)
        return GrowthInForce(Growth.STATIC if obstacle else Growth.ELASTIC, obstacle, until)

    def _obstacle(
        self,
        pool: ENIPool,
        resolution: Resolution,
        enis: Callable[[], Iterable[ENI]],
        *,
        denied: bool,
    ) -> tuple[str | None, float | None]:
        """Return why addresses cannot be changed, and until when that holds.

        It is "" if they can be, and None if that is not known.
        """
        key = pool.spec.cloud, resolution.place, resolution.network.id
        now = self._clock()
        with self._lock:
            known = self._answers.get(key)
        if known is not None and now - known.at < (valid := _validity(known, denied=denied)):
            return known.obstacle, known.at + valid
        if pool.spec.paused:  # its end is a change of the pool
            return (known.obstacle if known else None), None
        ports = [
            eni.status.port.id
            for eni in sorted(enis(), key=lambda e: e.name)
            if eni.status.port is not None and not eni.metadata.deleting
            if (eni.spec.cloud, eni.spec.network_id) == (pool.spec.cloud, resolution.network.id)
        ]
        obstacle = self._ask(pool.spec.cloud, ports[:PORTS_TRIED])
        if obstacle is not None:
            answer = _Answer(now, obstacle)
            with self._lock:
                before = self._answers.get(key)
                self._answers[key] = answer
            if before is None or before.obstacle != obstacle:
                self._learnt(pool.spec.cloud)
            return obstacle, now + _validity(answer, denied=denied)
        if ports:
            return None, now + UNKNOWN_SECONDS
        return obstacle_by_owner(resolution), None  # until it has a port, which is a change

    def _ask(self, name: str, ports: list[str]) -> str | None:
        for port in ports:
            try:
                self._cloud(name).check_resizing(port)
            except DeniedError as error:
                return error.message
            except ResourceNotFoundError:
                continue
            except (CloudError, NotYetError):
                return None
            return ""
        return None


def _validity(answer: _Answer, *, denied: bool) -> float:
    if answer.obstacle:
        return DENIED_SECONDS
    return DOUBTED_SECONDS if denied else ALLOWED_SECONDS


def obstacle_by_owner(resolution: Resolution) -> str:
    """Return why, by Neutron's default policy, addresses cannot be changed; "" if they can be."""
    network = resolution.network
    if network.project_id == resolution.place.project_id:
        return ""
    return (
        f"network {network.id} belongs to another project, and by Neutron's default policy only "
        "the owner of a network may change fixed IPs on it"
    )
