"""Marks: which bits of a packet's mark are openeni's, and which value each ENI has. Pure.

All other bits are kept, for kube-proxy and others have theirs. Which ENI has which value stands in
the kernel's rules, and in the comments of chains, so an agent that starts anew finds it there.
"""

from dataclasses import dataclass
from typing import Final

from openeni_crds import names
from openeni_nodeagent.datapath.model import Rule, State
from openeni_nodeagent.datapath_api import DatapathError

RULES_WITH_MARK: Final = (names.RULE_FROM_VETH_POD, names.RULE_FROM_POD)
_ALL_BITS: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Mark:
    """One value of our bits."""

    value: int
    mask: int

    @property
    def statement(self) -> str:
        """The nft statement that gives a packet this mark."""
        return self._set("meta")

    @property
    def of_connection(self) -> str:
        """The nft statement that gives a packet's connection this mark."""
        return self._set("ct")

    def _set(self, whose: str) -> str:
        others = ~self.mask & _ALL_BITS
        return f"{whose} mark set {whose} mark and {others:#x} or {self.value:#x}"


@dataclass(frozen=True, slots=True)
class GivenMark:
    """The mark of a table, and the MAC of the ENI whose table it is."""

    mark: Mark
    mac: str


@dataclass(frozen=True, slots=True)
class Marks:
    """The values that a node has. `mask` is contiguous; settings see to that."""

    mask: int

    @property
    def reply(self) -> Mark:
        """The mark of a reply that leaves through the NIC that its client came in on."""
        return Mark(self._lowest, self.mask)

    def of_table(self, state: State, table: int) -> Mark:
        """Return the mark that the kernel's rules have for an ENI's table, else the lowest free.

        Raises DatapathError if the node has more ENIs than there are values.
        """
        rules = [
            i
            for i in state
            if isinstance(i, Rule) and i.priority in RULES_WITH_MARK and i.mask == self.mask
        ]
        taken = {self._lowest} | {i.mark for i in rules if i.table != table}
        own = sorted({i.mark for i in rules if i.table == table})
        values = range(2 * self._lowest, self.mask + 1, self._lowest)
        for value in (*own, *values):
            if value not in taken:
                return Mark(value, self.mask)
        raise DatapathError(
            f"all {len(values)} marks for ENIs are in use: give agent.markMask, which is "
            f"{self.mask:#010x}, another bit"
        )

    @property
    def _lowest(self) -> int:
        return self.mask & -self.mask
