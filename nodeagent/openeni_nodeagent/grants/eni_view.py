"""One ENI as the API shows it to the ledger, and what the ledger answers and counts of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from msgspec import Struct

from openeni_nodeagent.addresses import family_of


@dataclass(frozen=True)
class ENIView:
    """One ENI as the API shows it, as far as grants are concerned."""

    name: str
    pool: str
    generation: int
    families: frozenset[int]  # 4, 6: a pod gets one address of each
    addresses: tuple[str, ...]
    retiring: frozenset[str] = frozenset()
    retired: frozenset[str] = frozenset()  # acknowledged before this process started
    deleting: bool = False
    broken: bool = False  # ENI.is_broken
    datapath_mode: str = ""  # Datapath.word
    mtu: int = 0  # bytes, of its pods' interfaces
    usable: bool = True  # its port exists and is attached, and its link is ready
    port: str = ""  # its ID

    @cached_property
    def offers_addresses(self) -> bool:
        """True if its addresses may be granted."""
        return self.usable and not self.deleting

    def of_family(self, family: int) -> Sequence[str]:
        """Return the addresses of a family."""
        return self._by_family.get(family, ())

    @cached_property
    def _by_family(self) -> Mapping[int, Sequence[str]]:
        return {f: [a for a in self.addresses if family_of(a) == f] for f in self.families}


class Candidate(Struct, frozen=True):
    """Addresses of one ENI that may be granted."""

    eni: ENIView
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class RetireAnswers:
    """The agent's answers about the addresses that the operator asks for."""

    generation: int
    retired: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class GrantCounts:
    """Counts of pods, not of addresses: with two families the scarcer one counts."""

    granted: int = 0
    cooling: int = 0
    available: int = 0
