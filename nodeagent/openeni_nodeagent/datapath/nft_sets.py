"""Our nftables sets and maps: the fields of their keys and values; our flowtable. Pure.

What the rules of `filters` look up in them: addresses of pods and ENIs, and where a port of the
node leads to. Their number, and that of the rules, does not grow with the pods.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from openeni_nodeagent.addresses import IPV4, IPV6


class Field(Enum):
    """A type of nftables: its number (datatype.h), and its size in bytes."""

    IPV4 = 7, 4
    IPV6 = 8, 16
    PROTOCOL = 12, 1
    PORT = 13, 2
    LINK = 20, 4  # an interface index, in the machine's byte order


@dataclass(frozen=True, slots=True)
class NftSet:
    key: tuple[Field, ...]
    value: tuple[Field, ...] = ()  # of a map


PRIMARIES: Final = "primaries"
FLOWTABLE: Final = "established"
FLOWTABLE_PRIORITY: Final = 1000  # of its hook, and of what adds to it: behind others' filters
FLOW_CHAIN: Final = "_flow"  # ends the name of a chain that adds to it
CATCH_ALL: Final = "*"  # the key of a member that is there for all others; none of ours is one
_JOINT: Final = " . "  # between fields, as `nft` writes it
_WITH_POD_IN_VALUE: Final = ("hostports", "anyports")


def _sets(family: int, address: Field) -> dict[str, NftSet]:
    socket = (address, Field.PORT)
    return {
        f"pods{family}": NftSet((address,)),  # of ipvlan pods
        f"podlinks{family}": NftSet((address, Field.LINK)),  # the same, each with its ENI's
        f"sources{family}": NftSet((address,), (address,)),  # pod -> what its services see
        f"{PRIMARIES}{family}": NftSet((address,)),  # of ENIs
        f"hostports{family}": NftSet((address, Field.PROTOCOL, Field.PORT), socket),
        f"anyports{family}": NftSet((Field.PROTOCOL, Field.PORT), socket),
        f"hairpins{family}": NftSet((address, address), (address,)),  # of veth pods to themselves
    }


# What begins with a pod's address: without these the chains of ENIs drop what the pod sends, or
# its services see another sender.
OF_PODS: Final = frozenset(f"{name}{n}" for name in ("pods", "podlinks", "sources") for n in (4, 6))
SETS: Final[Mapping[str, NftSet]] = _sets(IPV4, Field.IPV4) | _sets(IPV6, Field.IPV6)


def joined(*fields: object) -> str:
    """Return a key or value of these fields."""
    return _JOINT.join(map(str, fields))


def split(text: str) -> list[str]:
    """Return the fields of a key or value."""
    return text.split(_JOINT)


def leads_to_pod(name: str) -> bool:
    """Return True for a map of host ports, whose values begin with a pod's address."""
    return name.startswith(_WITH_POD_IN_VALUE)


def address_in(name: str, key: str, value: str) -> str:
    """Return the address that a member of the set `name` is there for: a pod's, or an ENI's."""
    return split(value if leads_to_pod(name) else key)[0]
