"""Put each key into the lane of its cloud, so that one cloud's trouble is that cloud's alone.

What makes no cloud call has a lane of its own: nodes, PodIPs, objects that are gone.
"""

from collections.abc import Callable
from typing import Final

from openeni_crds.names import ENIPOOLS, ENIS
from openeni_operator.cluster_state import ClusterState
from openeni_operator.keys import ORPHAN_SWEEP, Key

MAX_LANES: Final = 16  # of clouds, since each has threads of its own; later clouds share one more
NO_CLOUD: Final = ""
SHARED: Final = "other-clouds"
_PREFIX: Final = "cloud-"


class Lanes:
    """Any thread may ask, but `lane_of` one at a time."""

    def __init__(self, state: ClusterState, pause_of_cloud: Callable[[str], float]) -> None:
        self._state = state
        self._pause_of_cloud = pause_of_cloud
        self._clouds: set[str] = set()  # those that have a lane; they keep it

    def lane_of(self, key: Key) -> str:
        cloud = self._cloud_of(key)
        if not cloud:
            return NO_CLOUD
        if cloud not in self._clouds and len(self._clouds) >= MAX_LANES:
            return SHARED
        self._clouds.add(cloud)
        return _PREFIX + cloud

    def pause_of(self, lane: str, _overdue: float = 0.0) -> float:
        """Return the seconds for which the lane may begin nothing."""
        return self._pause_of_cloud(lane[len(_PREFIX) :]) if lane.startswith(_PREFIX) else 0.0

    def _cloud_of(self, key: Key) -> str:
        if key.kind == ENIS:
            eni = self._state.eni(key.name)
            return eni.spec.cloud if eni else ""
        if key.kind == ENIPOOLS:
            pool = self._state.pool(key.name)
            return pool.spec.cloud if pool else ""
        return key.name if key.kind == ORPHAN_SWEEP else ""
