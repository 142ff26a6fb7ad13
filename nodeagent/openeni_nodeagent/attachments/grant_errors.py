"""Errors of grants for the runtime: no address, and a journal that cannot be written. Pure."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from openeni_crds.conditions import Condition, Status, Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.grants.journal import JournalError

_CAUSES = (Type.PORT_READY, Type.GUEST_PREPARED, Type.ATTACHED, Type.LINK_READY)
_POOL_CAUSES = (Type.SUPPORTED, Type.CLOUD_REACHABLE, Type.CAPACITY_AVAILABLE, Type.READY)


@contextmanager
def journal_error_as_cni_error() -> Generator[None]:
    """Raise CNIError for a JournalError of the block."""
    try:
        yield
    except JournalError as error:
        raise CNIError(Code.IO, str(error)) from None


def explain_no_address(pool: ENIPool, enis: Iterable[ENI]) -> str:
    """Return one line for the pod's events, from the conditions of its pool and ENIs.

    It says what is wrong, or that all addresses are taken.

    `enis` are the pool's ENIs on this node.
    """
    mine = sorted(enis, key=lambda eni: eni.name)
    causes = [_first_wrong(eni.status.conditions, _CAUSES) for eni in mine]
    wrong = [f"ENI {eni.name}: {cause}" for eni, cause in zip(mine, causes, strict=True) if cause]
    of_pool = _first_wrong(pool.status.conditions, _POOL_CAUSES)
    if of_pool:
        wrong.append(f"ENIPool {pool.name}: {of_pool}")
    if wrong:
        return "; ".join(wrong)
    if not mine:
        return f"ENIPool {pool.name} has no ENI on this node yet"
    return f"all addresses of ENIPool {pool.name} on this node are granted or cooling down"


def _first_wrong(conditions: Iterable[Condition], types: Iterable[Type]) -> str:
    """Return reason and message of the first condition that is False or Unknown, else ""."""
    given = tuple(conditions)
    found = (find(given, type_) for type_ in types)
    bad = next((c for c in found if c is not None and c.status != Status.TRUE), None)
    return f"{bad.reason}: {bad.message}".rstrip(": ") if bad else ""
