"""The sample of the support table that the suite sends: every value of every axis is in it. Pure.

Each mode has a dual-stack world, or two of one family, with TCP on every path; the other kinds of
traffic are spread over the worlds.
"""

from typing import Final

from openeni_testing.matrix.axes import DUAL, IPV4, IPV6, MODES, Proxy, Traffic
from openeni_testing.matrix.cells import Cell, Verdict, WorldKey, limit_of

_SPREAD: Final = 4  # of so many cells without TCP, a world has one
_VETH, _L2, _L3S, _L3 = MODES
OF_VETH: Final = (
    WorldKey(_VETH, DUAL, Proxy.NFTABLES),
    WorldKey(_VETH, IPV6, Proxy.IPTABLES),
    WorldKey(_VETH, IPV4, Proxy.NONE),
)
OF_IPVLAN: Final = (
    WorldKey(_L2, DUAL, Proxy.IPTABLES),
    WorldKey(_L3S, DUAL, Proxy.NFTABLES),
    WorldKey(_L3, IPV4, Proxy.NFTABLES),
    WorldKey(_L3, IPV6, Proxy.IPTABLES),
    WorldKey(_L2, DUAL, Proxy.IPVS),
)
SAMPLE: Final = (*OF_VETH, *OF_IPVLAN)


def chosen(key: WorldKey) -> list[Cell]:
    """Return the cells of one world of the sample."""
    place = SAMPLE.index(key)
    return [
        cell
        for number, cell in enumerate(key.cells())
        if (cell.traffic is Traffic.TCP or (number + place) % _SPREAD == 0) and _is_certain(cell)
    ]


def _is_certain(cell: Cell) -> bool:
    """Return False for what may arrive or not."""
    limit = limit_of(cell)
    return limit is None or limit.verdict is not Verdict.UNSUPPORTED
