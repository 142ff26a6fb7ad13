"""Try one port on one node: create it with addresses as an ENI has, attach it, take it off again.

It has the cluster's tag, and the name and tags of an ENI's port: what a crash leaves of it, the
sweep finds. It is removed in every case that the process survives.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from openeni_crds.conditions import Reason
from openeni_crds.names import port_name, port_tags
from openeni_kube.answers import FAILED, PASSED, WARNED, Check
from openeni_operator.ask.checks import failed
from openeni_operator.ask.patience import patiently
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import ACTIVE, Cloud, NewPort, Port
from openeni_operator.cloud.errors import (
    CloudError,
    DeniedError,
    OutcomeUnknownError,
)

NAME: Final = "canary"
ACTIVE_SECONDS: Final = 120.0  # for Nova and Neutron to bring the port up
REMOVE_SECONDS: Final = 180.0  # libvirt waits for the guest: 8 times 20 s
SETTLE_SECONDS: Final = 30.0  # in which a POST without an answer may still create the port
POLL_SECONDS: Final = 2.0
DETACH_SECONDS: Final = 60.0  # until Nova is asked once more


@dataclass(frozen=True)
class Trial:
    """Where a port is tried."""

    cloud: Cloud
    node: str
    server_id: str
    network_id: str
    subnet_ids: tuple[str, ...]
    addresses: int  # in each subnet
    security_group_ids: tuple[str, ...]
    cluster_id: str
    clock: Callable[[], float]  # monotonic seconds
    sleep: Callable[[float], None]


def try_port(trial: Trial) -> tuple[Check, ...]:
    """Return a check for each step, the last of which is the removal."""
    uid = str(uuid.uuid4())
    name = port_name(trial.cluster_id, uid)
    checks: list[Check] = []
    unknown = True  # whether a POST may still create the port
    try:
        port = _create(trial, name, port_tags(trial.cluster_id, uid))
        unknown = False
        made = f"created port {port.id} with {len(port.fixed_ips)} addresses"
        checks.append(Check(NAME, trial.node, PASSED, made))
        checks += _use(trial, port)
    except CloudError as error:
        unknown = unknown and isinstance(error, OutcomeUnknownError)
        checks.append(failed(NAME, trial.node, Cause(error.reason, error.message)))
    finally:
        left = _remove(trial, name, SETTLE_SECONDS if unknown else 0.0)
    return *checks, _removal(trial, name, left)


def _create(trial: Trial, name: str, tags: tuple[str, str]) -> Port:
    wanted = NewPort(
        name,
        trial.network_id,
        trial.subnet_ids,
        trial.addresses,
        trial.security_group_ids,
        tags,
    )
    port = patiently(trial.cloud.create_port, wanted)
    for tag in tags:
        if tag not in port.tags:  # the cloud drops tags of a POST
            patiently(trial.cloud.tag_port, port.id, tag)
    return port


def _use(trial: Trial, port: Port) -> Iterator[Check]:
    """Attach the port, and ask whether its addresses may be changed. Raises CloudError."""
    begun = trial.clock()
    patiently(trial.cloud.attach, trial.server_id, port.id)
    attached = f"attached to server {trial.server_id} within {trial.clock() - begun:.0f} s"
    yield Check(NAME, trial.node, PASSED, attached)
    if _wait_for(trial, ACTIVE_SECONDS, lambda: _is_active(trial, port.id)):
        yield Check(NAME, trial.node, PASSED, "Neutron has brought the port up")
    else:
        message = f"port {port.id} is not {ACTIVE} after {ACTIVE_SECONDS:g} s"
        yield failed(NAME, trial.node, Cause(Reason.PORT_NOT_ACTIVE, message))
    try:
        patiently(trial.cloud.check_resizing, port.id)
    except DeniedError as error:
        cause = Cause(Reason.ELASTIC_UNSUPPORTED, f"growth is Static: {error.message}")
        yield failed(NAME, trial.node, cause, WARNED)
    else:
        yield Check(NAME, trial.node, PASSED, "its addresses may be changed (growth Elastic)")


def _is_active(trial: Trial, port_id: str) -> bool:
    seen = patiently(trial.cloud.port, port_id)
    return (seen.status, seen.device_id) == (ACTIVE, trial.server_id)


def _remove(trial: Trial, name: str, settle: float) -> tuple[Port, ...]:
    """Detach and delete every port of the name; return what is left when the time is over.

    Errors are of no account: only a look tells whether the port is gone.
    """
    begun = trial.clock()
    detach_due = begun
    left: tuple[Port, ...] | None = None  # None: no look has succeeded
    while trial.clock() - begun <= REMOVE_SECONDS:
        with suppress(CloudError):
            left = patiently(trial.cloud.ports_named, name)
        if left == () and trial.clock() - begun >= settle:
            break
        for port in left or ():
            with suppress(CloudError):
                if not port.device_id:
                    patiently(trial.cloud.delete_port, port.id)
                elif trial.clock() >= detach_due:
                    patiently(trial.cloud.detach, port.device_id, port.id)
                    detach_due = trial.clock() + DETACH_SECONDS
        trial.sleep(POLL_SECONDS)
    return left if left is not None else (Port("", name, trial.network_id, ""),)


def _removal(trial: Trial, name: str, left: tuple[Port, ...]) -> Check:
    if not left:
        return Check(NAME, trial.node, PASSED, "detached and deleted")
    message = f"port {name} could not be removed; the sweep of orphaned ports finds it"
    return failed(NAME, trial.node, Cause(Reason.ORPHANED_PORTS, message), FAILED)


def _wait_for(trial: Trial, seconds: float, done: Callable[[], bool]) -> bool:
    give_up = trial.clock() + seconds
    while not done():
        if trial.clock() >= give_up:
            return False
        trial.sleep(POLL_SECONDS)
    return True
