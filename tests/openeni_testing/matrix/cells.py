"""The cells of the support table, and what is expected of those that do not work. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from openeni_crds.enipool import Datapath
from openeni_testing.matrix.axes import COLUMNS, DUAL, MODES, STACKS, Column, Proxy, Stack, Traffic
from openeni_testing.matrix.paths import PATHS, Metadata, NodePort, Path


class Verdict(StrEnum):
    REFUSED = "refused by design"
    UNSUPPORTED = "not supported"  # some of it may arrive; the table says what did


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of traffic on one path, in one mode, stack and family, with one proxy."""

    mode: str  # Datapath.word
    column: Column
    proxy: Proxy
    path: Path
    traffic: Traffic

    def __str__(self) -> str:
        place = f"{self.mode}, {self.column.name}, proxy {self.proxy}"
        return f"{self.path.name}, {self.traffic} ({place})"


@dataclass(frozen=True, slots=True)
class Limit:
    """Why cells do not work. An axis that is empty here is not looked at."""

    verdict: Verdict
    reason: str
    paths: frozenset[str] = frozenset()
    modes: frozenset[str] = frozenset()
    families: frozenset[int] = frozenset()
    proxies: frozenset[Proxy] = frozenset()
    traffic: frozenset[Traffic] = frozenset()

    def applies(self, cell: Cell) -> bool:
        return all(
            not axis or value in axis
            for axis, value in (
                (self.paths, cell.path.name),
                (self.modes, cell.mode),
                (self.families, cell.column.family),
                (self.proxies, cell.proxy),
                (self.traffic, cell.traffic),
            )
        )


_METADATA: Final = frozenset(path.name for path in PATHS if isinstance(path.target, Metadata))
_SERVICES: Final = frozenset(path.name for path in PATHS if path.needs_proxy)
_NO_LOCAL_POD: Final = frozenset(
    path.name for path in PATHS if path.target == NodePort("c1", local=True)
)
# The first that applies to a cell counts.
LIMITS: Final = (
    Limit(
        Verdict.REFUSED,
        "A pod's address is a fixed IP of the node's port: the metadata service would give the pod "
        "the node's user data. `metadataService: Allow` of the pool opens it, in `Veth` over "
        "IPv4 alone: a node forwards no packet to a link-local address.",
        paths=_METADATA,
    ),
    Limit(
        Verdict.REFUSED,
        "Without kube-proxy, or a replacement of it, nothing translates the address of a service.",
        paths=_SERVICES,
        proxies=frozenset({Proxy.NONE}),
    ),
    Limit(
        Verdict.UNSUPPORTED,
        "kube-proxy's mode ipvs, deprecated since Kubernetes 1.35: ipvs translates without telling "
        "conntrack (`ct status dnat`), by which openeni finds the replies of NodePorts and the "
        "flows that need the ENI's address. The letters below say what arrived nevertheless.",
        paths=_SERVICES,
        proxies=frozenset({Proxy.IPVS}),
    ),
    Limit(
        Verdict.REFUSED,
        "Kubernetes: with `externalTrafficPolicy: Local`, a node without a pod of the service "
        "answers nobody.",
        paths=_NO_LOCAL_POD,
    ),
)


def limit_of(cell: Cell) -> Limit | None:
    """Return why the cell does not work; None if it must."""
    return next((limit for limit in LIMITS if limit.applies(cell)), None)


@dataclass(frozen=True, slots=True)
class WorldKey:
    """What the packets of one world have in common."""

    mode: Datapath
    stack: Stack
    proxy: Proxy

    def __str__(self) -> str:
        return f"{self.mode.word}, {self.stack.name}, proxy {self.proxy}"

    def cells(self) -> Iterator[Cell]:
        """Yield the cells whose packets are sent in this world."""
        for column in COLUMNS:
            if column.stack == self.stack:
                for path in PATHS:
                    for traffic in path.traffic:
                        if self.proxy is not Proxy.IPVS or traffic in _WITH_IPVS:
                            yield Cell(self.mode.word, column, self.proxy, path, traffic)


# ipvs is not supported: its part of the table is to show why, and what is not a service's works.
_WITH_IPVS: Final = (Traffic.TCP, Traffic.UDP)
WORLDS: Final = tuple(
    WorldKey(mode, stack, proxy)
    for mode in MODES
    for stack in STACKS
    for proxy in Proxy
    if proxy is not Proxy.IPVS or stack == DUAL
)


def cells() -> Iterator[Cell]:
    """Yield every cell of the table."""
    for world in WORLDS:
        yield from world.cells()
