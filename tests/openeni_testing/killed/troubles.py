"""What goes wrong with the API server and the cloud while operators are killed."""

import math
import random
from collections.abc import Callable
from typing import Final, TypeAlias

from openeni_crds.names import port_prefix
from openeni_testing.controller.process import CLUSTER_ID
from openeni_testing.fake_openstack.faults import (
    Effect,
    EmptyList,
    ErrorAfter,
    ErrorBefore,
    NoAnswer,
)
from openeni_testing.fake_openstack.messages import Request
from openeni_testing.fake_openstack.responses import (
    neutron_error,
    not_found,
    nova_error,
    throttled,
)
from openeni_testing.killed.cluster import Cluster

SHARE: Final = 0.5  # of the calls, where not each is hit
LATEST: Final = 8.0  # seconds of the fast clock until a change that has no answer is made
RETRY_AFTER: Final = 3  # seconds of the fast clock
CHANGES: Final = (
    "create port",
    "delete port",
    "set security groups",
    "set fixed IPs",
    "tag port",
)
TO_NOVA: Final = ("attach port", "detach port")
NEUTRON_500: Final = neutron_error(
    500, "HTTPInternalServerError", "Request Failed: internal server error"
)
NOVA_500: Final = nova_error(500, "Unexpected API Error.")
Trouble: TypeAlias = Callable[[Cluster, random.Random], None]


def cut_off(cluster: Cluster, _: random.Random) -> None:
    cluster.store.set_outage(True)


def neutron_fails(cluster: Cluster, _: random.Random) -> None:
    """Every call of Neutron fails, and nothing is done."""
    cluster.cloud.faults.add("", ErrorBefore(NEUTRON_500), times=math.inf, when=_to_neutron)


def neutron_fails_late(cluster: Cluster, dice: random.Random) -> None:
    """Changes are done, now or later, and the answer is 500."""
    for operation in CHANGES:
        _hit(cluster, dice, operation, ErrorAfter(NEUTRON_500, dice.uniform(0, LATEST)))


def neutron_throttles(cluster: Cluster, dice: random.Random) -> None:
    hits = _some(dice)
    cluster.cloud.faults.add(
        "",
        ErrorBefore(throttled(RETRY_AFTER)),
        times=math.inf,
        when=lambda request: _to_neutron(request) and hits(request),
    )


def nobody_answers(cluster: Cluster, dice: random.Random) -> None:
    """Some changes are made, some are not; none is answered."""
    for operation in (*CHANGES, *TO_NOVA):
        _hit(cluster, dice, operation, NoAnswer(worked=False))
        _hit(cluster, dice, operation, NoAnswer(late=dice.uniform(0, LATEST)), share=1)


def nova_fails_and_attaches(cluster: Cluster, dice: random.Random) -> None:
    for operation in TO_NOVA:
        late = dice.uniform(0, LATEST)
        _hit(cluster, dice, operation, ErrorAfter(NOVA_500, late), share=1)


def deleted_ones_are_unseen(cluster: Cluster, _: random.Random) -> None:
    """Neutron does not show the ports of ENIs that are being deleted, though they are there."""

    def by_name(request: Request) -> bool:
        return _is_of_deleted(cluster, request.query.get("name", [""])[0])

    def by_id(request: Request) -> bool:
        port_id = request.path.rpartition("/")[2]
        names = [port.name for port in cluster.cloud.ports() if port.id == port_id]
        return any(_is_of_deleted(cluster, name) for name in names)

    unseen = ErrorBefore(not_found("Port", "of this ENI"))
    cluster.cloud.faults.add("find port", EmptyList(), times=math.inf, when=by_name)
    cluster.cloud.faults.add("get port", unseen, times=math.inf, when=by_id)


# What an operator must survive without a restart, too.
TROUBLES: Final[tuple[Trouble, ...]] = (
    cut_off,
    neutron_fails,
    neutron_fails_late,
    neutron_throttles,
    nobody_answers,
    nova_fails_and_attaches,
    deleted_ones_are_unseen,
)


def end_troubles(cluster: Cluster) -> None:
    cluster.store.set_outage(False)
    cluster.cloud.faults.clear()


def _hit(
    cluster: Cluster,
    dice: random.Random,
    operation: str,
    effect: Effect,
    *,
    share: float = SHARE,
) -> None:
    cluster.cloud.faults.add(operation, effect, times=math.inf, when=_some(dice, share))


def _some(dice: random.Random, share: float = SHARE) -> Callable[[Request], bool]:
    own = random.Random(dice.random())  # noqa: S311 no secret; of the cloud's threads alone
    return lambda _: own.random() < share


def _to_neutron(request: Request) -> bool:
    return "/networking/" in request.path


def _is_of_deleted(cluster: Cluster, name: str) -> bool:
    uid = name.removeprefix(port_prefix(CLUSTER_ID))
    return cluster.agents.is_deleting(uid)
