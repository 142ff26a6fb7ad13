"""Errors of grants for the runtime: no address, a second interface, a broken journal. Pure."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from openeni_crds.conditions import Condition, Status, Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.podip import PodIP
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.datapath_api import DatapathError, KernelRefusedError
from openeni_nodeagent.event_reasons import PodReason
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.journal import JournalError

_P = ParamSpec("_P")
_T = TypeVar("_T")
_CAUSES = (Type.PORT_READY, Type.GUEST_PREPARED, Type.ATTACHED, Type.LINK_READY)
_POOL_CAUSES = (Type.SUPPORTED, Type.CLOUD_REACHABLE, Type.CAPACITY_AVAILABLE, Type.READY)


def journal_error_as_cni_error(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return the function, which raises CNIError for a JournalError."""

    @wraps(function)
    def wrapped(*arguments: _P.args, **named: _P.kwargs) -> _T:
        try:
            return function(*arguments, **named)
        except JournalError as error:
            raise CNIError(Code.IO, str(error), reason=PodReason.JOURNAL_FAILED) from None

    return wrapped


def no_address(pod: str, pool: ENIPool, enis: Iterable[ENI]) -> CNIError:
    """Return the error that a pod gets no address, from the conditions of its pool and ENIs.

    It says what is wrong, or that all addresses are taken. `enis` are those on this node.
    """
    mine = sorted((eni for eni in enis if eni.spec.pool_name == pool.name), key=lambda e: e.name)
    causes = [_first_wrong(eni.status.conditions, _CAUSES) for eni in mine]
    wrong = [f"ENI {eni.name}: {cause}" for eni, cause in zip(mine, causes, strict=True) if cause]
    of_pool = _first_wrong(pool.status.conditions, _POOL_CAUSES)
    if of_pool:
        wrong.append(f"ENIPool {pool.name}: {of_pool}")
    if wrong:
        why = "; ".join(wrong)
    elif not mine:
        why = f"ENIPool {pool.name} has no ENI on this node yet"
    else:
        why = f"all addresses of ENIPool {pool.name} on this node are granted or cooling down"
    reason = PodReason.NO_ENI_READY if all(causes) else PodReason.ADDRESSES_EXHAUSTED
    return CNIError(Code.TRY_AGAIN, f"no address for pod {pod}", why, reason=reason)


def link_not_ready(eni: str) -> CNIError:
    """Return the error that an ENI cannot be used, though its grant was made or is there."""
    return CNIError(
        Code.TRY_AGAIN,
        f"the link of ENI {eni} is not ready on this node",
        reason=PodReason.NO_ENI_READY,
    )


def unknown_attachment(its: Attachment, grants: Iterable[Grant]) -> CNIError:
    """Return the error of a CHECK of an attachment that has none of the grants.

    UNKNOWN_CONTAINER says that the container needs no DEL, which it does for another interface.
    """
    others = _other_interfaces(its, grants)
    if not others:
        return CNIError(Code.UNKNOWN_CONTAINER, f"container {its.container_id} has no address")
    return CNIError(
        Code.UNHEALTHY,
        f"container {its.container_id} has no interface {its.interface} of openeni",
        f"it has {others}",
    )


def explain_refusal(refusal: DatapathError, its: Attachment, grants: Iterable[Grant]) -> str:
    """Return the text of an error for the runtime, with the likely reason of EEXIST.

    A pod's routes are the same at each interface, so the kernel refuses those of a second one.
    """
    others = _other_interfaces(its, grants)
    if not (others and isinstance(refusal, KernelRefusedError)):
        return str(refusal)
    return f"the container has {others}, and openeni makes one interface for each pod; {refusal}"


def _other_interfaces(its: Attachment, grants: Iterable[Grant]) -> str:
    """Return the names of a container's other interfaces that have a grant, "" if none has."""
    attachments = (grant.attachment for grant in grants)
    found = (other for other in attachments if other.container_id == its.container_id)
    return ", ".join(sorted(o.interface for o in found if o.interface != its.interface))


def explain_named_addresses(
    addresses: Iterable[str], podip: PodIP | None, enis: Iterable[ENI], owners: Mapping[str, str]
) -> str:
    """Return one line for the events of a pod that waits for addresses of its own.

    They are those it asks for by name, or those that are kept for it; none: they are kept on
    another node. `podip` is the pod's, `enis` are the pool's on this node, and `owners` has the
    pods of this node that have an address, or that it is kept for.
    """
    if podip is not None and (placed := _first_wrong(podip.status.conditions, (Type.PLACED,))):
        return placed
    here, primary = set[str](), set[str]()
    for port in (eni.status.port for eni in enis):
        here.update(port.addresses if port else ())
        primary.update(port.primary if port else ())
    has_podip = podip is not None
    found = [_explain_address(a, owners.get(a, ""), here, primary, has_podip) for a in addresses]
    return "; ".join(found) or (
        "the pod keeps its address, which is on another node: see the condition Placed of its "
        "PodIP, or delete that PodIP, so that the pod gets another address"
    )


def _explain_address(
    address: str, owner: str, here: set[str], primary: set[str], has_podip: bool
) -> str:
    if owner:
        return f"{address} is in use by pod {owner} of this node, or kept for it"
    if address in primary:
        return f"{address} is the primary address of an ENI, which no pod gets"
    if address in here:
        return f"{address} is on this node and cools down, or its ENI is not ready"
    missing = f"{address} is on no ENI of this node yet"
    if has_podip:
        return f"{missing}: see the condition Placed of the pod's PodIP"
    return f"{missing}, and no PodIP asks for it: the agent publishes one, or logs why it cannot"


def _first_wrong(conditions: Iterable[Condition], types: Iterable[Type]) -> str:
    """Return reason and message of the first condition that is False or Unknown, else ""."""
    given = tuple(conditions)
    found = (find(given, type_) for type_ in types)
    bad = next((c for c in found if c is not None and c.status != Status.TRUE), None)
    return f"{bad.reason}: {bad.message}".rstrip(": ") if bad else ""
