"""What `openeni status` reports. Pure."""

from msgspec import Struct


class Problem(Struct, frozen=True, rename="camel"):
    """What is not as it should be with one object; conditions of the same reason are one."""

    kind: str
    name: str  # with its namespace, if it has one
    reason: str
    conditions: tuple[str, ...]
    since: str  # RFC 3339; "" where the object does not say
    message: str
    remedy: str  # what to do


class PoolSummary(Struct, frozen=True, rename="camel"):
    """The numbers of a pool, as the operator last wrote them."""

    name: str
    mode: str
    nodes_selected: int
    nodes_served: int
    enis: int
    addresses: int
    granted: int
    available: int
    cooling: int
    ready: str


class StatusReport(Struct, frozen=True, rename="camel"):
    """Problems, and what may still come right by itself, the most far-reaching first."""

    observed_at: str
    problems: tuple[Problem, ...]
    in_progress: tuple[Problem, ...]
    pools: tuple[PoolSummary, ...]
    enis: int
    pod_ips: int
    nodes: int
