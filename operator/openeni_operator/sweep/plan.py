"""Decide which ports of this cluster are left over, and may be deleted: ordered rules over facts.

A port without its ENI is left over from a crash, a forced uninstall, a restored backup, or an ENI
whose finalizer somebody removed. `judge` asks each rule in turn, and the first that returns a
verdict decides. Their order is the specification: what has an ENI is none; nothing is concluded
from one look or about a young port; what is not proven to be ours, or is attached, is left to a
person; the rest is deleted. Many at once, or all, are a fault of who looks: none is deleted.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias, TypeVar

from openeni_operator.settings import OrphanMode

T = TypeVar("T", bound=Hashable)
LOOK_INTERVAL: Final = 600.0  # seconds between two looks that must agree
MIN_AGE: Final = 900.0  # seconds; a younger port may belong to what is still going on
MAX_DELETED: Final = 3  # ports that may be left over together, or
MAX_DELETED_SHARE: Final = 0.1  # this share of the cluster's ports


@dataclass(frozen=True)
class PortFacts:
    """A port with this cluster's tag, as a look shows it."""

    id: str
    proven: bool  # name and tags say that it was made for one ENI of this cluster
    has_eni: bool  # the API server has an ENI that its name or one of its tags names
    server_id: str = ""  # "" while it is not attached
    on_node: bool = False  # that server is a node of the cluster
    age: float | None = None  # seconds since its creation; None: Neutron does not say
    agreed_for: float = 0.0  # seconds for which every look has shown the same

    @property
    def situation(self) -> Hashable:
        """Return what two looks must agree on."""
        return self.id, self.proven, self.has_eni, self.server_id


class Verdict(Enum):
    KEEP = auto()  # it has an ENI
    WAIT = auto()  # it has none yet, or no more: a later look decides
    UNPROVEN = auto()  # it may be somebody else's
    ON_NODE = auto()  # it has no ENI, but pods of a node may use it
    ON_SERVER = auto()  # it has no ENI, but a server that is no node of the cluster may use it
    DELETE = auto()


Rule: TypeAlias = Callable[[PortFacts], Verdict | None]


def keep_port_of_eni(port: PortFacts) -> Verdict | None:
    return Verdict.KEEP if port.has_eni else None


def wait_until_old(port: PortFacts) -> Verdict | None:
    return Verdict.WAIT if port.age is not None and port.age < MIN_AGE else None


def wait_for_second_look(port: PortFacts) -> Verdict | None:
    return Verdict.WAIT if port.agreed_for < LOOK_INTERVAL else None


def leave_unproven(port: PortFacts) -> Verdict | None:
    """Leave what anybody may have tagged, or what may be young."""
    return None if port.proven and port.age is not None else Verdict.UNPROVEN


def leave_attached(port: PortFacts) -> Verdict | None:
    """Never take a NIC from a server: pods may use it, those of a clone of this cluster, too."""
    if not port.server_id:
        return None
    return Verdict.ON_NODE if port.on_node else Verdict.ON_SERVER


RULES: Final[tuple[Rule, ...]] = (
    keep_port_of_eni,
    wait_until_old,
    wait_for_second_look,
    leave_unproven,
    leave_attached,
)


def judge(port: PortFacts) -> Verdict:
    """Return the verdict of the first rule that has one, else DELETE."""
    return next((v for rule in RULES if (v := rule(port)) is not None), Verdict.DELETE)


@dataclass(frozen=True)
class SweepPlan:
    """The verdicts on all ports of this cluster in one cloud."""

    mode: OrphanMode
    port_count: int
    with_eni: int
    without_eni: int  # proven ports, however young, whose ENI is not there
    undecided: bool  # it takes another look to say that there is no more than `ports`
    ports: Mapping[Verdict, tuple[str, ...]]  # IDs of those that are left over
    enis: tuple[str, ...] = ()  # names of ENIs whose recorded port two looks did not show
    paused: bool = False  # an ENIPool of the cloud is

    @property
    def too_many(self) -> bool:
        """Return True if rather the ENIs are missing from the list than the ports left over."""
        most = max(MAX_DELETED, MAX_DELETED_SHARE * self.port_count)
        return self.without_eni > (most if self.with_eni else 0)

    @property
    def deletions(self) -> tuple[str, ...]:
        """The ports to delete now."""
        if self.mode is not OrphanMode.DELETE or self.paused or self.too_many:
            return ()
        return self.ports.get(Verdict.DELETE, ())


def plan(
    ports: Iterable[PortFacts],
    mode: OrphanMode,
    lost: Mapping[str, float] | None = None,
    *,
    paused: bool = False,
) -> SweepPlan:
    """Judge the ports of this cluster in one cloud.

    `lost` are the names of ENIs whose recorded port the look does not show, and the seconds for
    which no look has shown it.
    """
    listed, lost = tuple(ports), lost or {}
    judged = {port.id: judge(port) for port in listed}
    left = {*judged.values()} - {Verdict.KEEP, Verdict.WAIT}
    return SweepPlan(
        mode,
        port_count=len(judged),
        with_eni=sum(port.has_eni for port in listed),
        without_eni=sum(port.proven and not port.has_eni for port in listed),
        undecided=Verdict.WAIT in judged.values() or bool(lost),
        ports={v: tuple(sorted(i for i, each in judged.items() if each is v)) for v in left},
        enis=tuple(sorted(eni for eni, age in lost.items() if age >= LOOK_INTERVAL)),
        paused=paused,
    )


def first_seen(before: Mapping[T, float], found: Iterable[T], now: float) -> dict[T, float]:
    """Return the time of the first look since which every look has found the same.

    `before` is what this function returned after the look before.
    """
    return {each: before.get(each, now) for each in found}
