"""Cells of the fault matrix on services that speak HTTP: a call, and what goes wrong with it.

The same cells hold for the fake and, through a proxy, for the real services: the answers are those
that the services and the proxies in front of them give.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.capacity import Growth
from openeni_testing.fake_openstack.faults import (
    Effect,
    EmptyList,
    ErrorAfter,
    ErrorBefore,
    NoAnswer,
    Rule,
    Silence,
)
from openeni_testing.fake_openstack.messages import Request, Response
from openeni_testing.fake_openstack.responses import (
    attach_failed,
    neutron_error,
    no_more_addresses,
    not_found,
    nova_error,
    over_quota,
    policy_not_authorized,
    proxy_page,
    throttled,
    unauthorized,
    unavailable,
)

LATE: Final = 8.0  # seconds until what has no answer is done; the operator waits 30 for a port
RETRY_AFTER: Final = 2  # seconds
Crash: TypeAlias = Callable[[], object]

_NEUTRON: Final = {
    403: policy_not_authorized("create_port"),
    404: not_found("Port", "of this ENI"),
    409: neutron_error(
        409, "Conflict", "There was a conflict when trying to complete your request."
    ),
    500: neutron_error(500, "HTTPInternalServerError", "Request Failed: internal server error"),
}
_NOVA: Final = {
    403: nova_error(403, "Policy doesn't allow this action to be performed."),
    404: nova_error(404, "Instance could not be found."),
    409: nova_error(409, "Cannot 'attach_interface' while it is in task_state rebuilding"),
    500: nova_error(500, "Unexpected API Error."),
}
_ANYBODY: Final = {
    401: unauthorized(),
    429: throttled(RETRY_AFTER),
    502: proxy_page(502),
    503: unavailable(RETRY_AFTER),
    504: proxy_page(504),
}
_OF_ELASTIC: Final = ("get extension", "probe fixed IPs", "set fixed IPs")
_OF_NOVA: Final = ("attach port", "detach port", "get server")


@dataclass(frozen=True)
class Cell:
    """What happens to the first `times` calls of the operation, or what ends the operator in it."""

    operation: str
    fault: str
    effect: Effect
    times: int = 1
    crashes: bool = False
    at_end: bool = False  # only once everything is to go
    unlisted: bool = False  # meanwhile no list shows the port

    def __str__(self) -> str:
        return f"{self.operation}, {self.fault}"

    @property
    def growth(self) -> Growth:
        """Return the growth of a pool whose life has such a call."""
        return Growth.ELASTIC if self.operation in _OF_ELASTIC else Growth.STATIC

    def rule(self, crash: Crash) -> Rule:
        """Return the rule for a fault plan; `crash` ends the operator."""

        def hit(_: Request) -> bool:
            if self.crashes and rule.matched < self.times:
                crash()
            return True

        rule = Rule(self.operation, self.effect, times=self.times, when=hit)
        return rule


def _refused(operation: str, status: int) -> Cell:
    """Return the cell of an error before the work; keystoneauth repeats a call after a 401."""
    response = _response(operation, status)
    times = 2 if status == 401 and operation != "connect" else 1
    return Cell(operation, f"{status} before", ErrorBefore(response), times)


def _response(operation: str, status: int) -> Response:
    known = _ANYBODY | (_NOVA if operation in _OF_NOVA else _NEUTRON)
    return known[status]


def _lost(operation: str) -> tuple[Cell, ...]:
    """Return the cells of calls whose work is done, or not, and nobody says so."""
    failed = ErrorAfter(_response(operation, 500))
    return (
        Cell(operation, "answer lost", NoAnswer()),
        Cell(operation, "500 after", failed),
        Cell(operation, "done later", NoAnswer(late=LATE)),
        Cell(operation, "time-out", Silence()),
        Cell(operation, "crash before", NoAnswer(worked=False), crashes=True),
        Cell(operation, "crash after", NoAnswer(), crashes=True),
    )


CREATE, ATTACH, DETACH, DELETE = "create port", "attach port", "detach port", "delete port"
RESIZE = "set fixed IPs"
_REFUSALS: Final = {
    CREATE: (401, 403, 404, 409, 429, 500, 502, 503),
    ATTACH: (401, 403, 404, 409, 429, 500, 504),
    DETACH: (401, 409, 429, 500),
    DELETE: (401, 403, 404, 409, 429, 500),
    RESIZE: (401, 403, 409, 429, 500),
    "probe fixed IPs": (403, 429, 500),
    "set security groups": (401, 403, 409, 429, 500),
    "set QoS policy": (403, 409, 500),
    "tag port": (403, 409, 500),
    "untag port": (403, 404, 500),
    "find port": (401, 403, 429, 500),
    "list ports": (429, 500),
    "list tagged ports": (403, 500),
    "find subnets": (401, 500),
    "find security groups": (401, 500),
    "find QoS policies": (403, 500),
    "list subnets": (429, 500),
    "get network": (404,),
    "get extension": (429, 500),
    "get quota": (403, 500),
    "get credential": (403, 500),
    "get server": (404, 503),
    "connect": (401, 503),
}
CELLS: Final = (
    *(_refused(operation, status) for operation, of in _REFUSALS.items() for status in of),
    *(cell for operation in (CREATE, ATTACH, DETACH, DELETE, RESIZE) for cell in _lost(operation)),
    Cell(CREATE, "request lost", NoAnswer(worked=False)),
    Cell(CREATE, "time-out, not done", Silence(worked=False)),
    Cell(CREATE, "over quota", ErrorBefore(over_quota())),
    Cell(CREATE, "no addresses", ErrorBefore(no_more_addresses("pods"))),
    Cell(ATTACH, "no slot", ErrorBefore(attach_failed("of this node"))),
    Cell("set security groups", "answer lost", NoAnswer()),
    Cell("set QoS policy", "answer lost", NoAnswer()),
    Cell("tag port", "answer lost", NoAnswer()),
    Cell("untag port", "answer lost", NoAnswer()),
    Cell("find port", "answer lost", NoAnswer()),
    Cell("find port", "empty", EmptyList()),
    Cell("find port", "empty at the end", EmptyList(), times=4, at_end=True),
    Cell("find port", "500 at the end", ErrorBefore(_NEUTRON[500]), at_end=True),
    Cell("get port", "404 before", ErrorBefore(_NEUTRON[404]), at_end=True, unlisted=True),
    Cell("get port", "500 before", ErrorBefore(_NEUTRON[500]), at_end=True, unlisted=True),
    Cell("list ports", "empty", EmptyList()),
    Cell("list tagged ports", "empty", EmptyList()),
    Cell("list subnets", "empty", EmptyList()),
)
# Those that the real services suffer: in the suite a sample with each kind of fault that the whole
# has, in `make soak` the whole, which takes minutes.
_SAMPLE: Final = {
    CREATE: ("401 before", "403 before", "502 before", "answer lost", "500 after", "crash after"),
    ATTACH: ("404 before", "answer lost", "500 after", "crash after"),
    DETACH: ("409 before", "answer lost", "crash after"),
    DELETE: ("429 before", "answer lost", "time-out", "crash before"),
    "set security groups": ("500 before", "answer lost"),
    "find port": ("empty",),
    "list ports": ("empty",),
    "find subnets": ("500 before",),
    "get network": ("404 before",),
    "get server": ("503 before",),
    "connect": ("503 before",),
}
_FURTHER: Final = {
    CREATE: ("409 before", "429 before", "time-out"),
    ATTACH: ("403 before", "409 before", "429 before"),
    DETACH: ("429 before",),
    DELETE: ("404 before", "409 before", "500 before", "crash after"),
    "set security groups": ("409 before", "429 before"),
    "find port": ("answer lost",),
}


def real_cells(*, whole: bool) -> tuple[Cell, ...]:
    """Return the cells that the real services suffer, all of them or the sample."""
    chosen = (_SAMPLE, _FURTHER) if whole else (_SAMPLE,)
    return tuple(c for c in CELLS if any(c.fault in of.get(c.operation, ()) for of in chosen))
