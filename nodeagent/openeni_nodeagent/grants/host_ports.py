"""Decide who may have a port of the node: one pod, as an address has. Pure.

The journal's grants are the record of host ports, as of addresses. A port is its pod's until the
DEL has removed it from the kernel.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec.structs import replace

from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.pod_options import EVERY_ADDRESS, PortMapping, Transport

MOST_OF_NODE: Final = 2048  # each look reads all of them from the kernel: docs/decisions/0083

_Key: TypeAlias = tuple[str, str]  # container ID and interface
_Place: TypeAlias = tuple[Transport, int, int]  # with the port of the node and the IP family
_Keys: TypeAlias = dict[_Key, None]  # in the order of their grants


@dataclass(frozen=True)
class Taken:
    """A port that another container has."""

    port: PortMapping
    owner: Grant


class HostPorts:
    """The host ports of a node's grants. Not safe for several threads: the caller locks.

    A pod may have hundreds, and every ADD waits for the lock: what a question costs grows with the
    ports that it is about, not with those of the node.
    """

    def __init__(self) -> None:
        self._grants: dict[_Key, Grant] = {}  # that have host ports
        self._owners: dict[_Place, dict[str, _Keys]] = {}  # by hostIP

    def enter(self, grant: Grant) -> None:
        """Enter a grant's ports, or replace those of an older version of it."""
        key = grant.key
        before = self._grants.get(key)
        if before is None or before.host_ports != grant.host_ports:
            self.remove(grant)
            for port in grant.host_ports:
                for place in _places(port):
                    of_place = self._owners.setdefault(place, {})
                    of_place.setdefault(port.host_ip, {})[key] = None
        if grant.host_ports:
            self._grants[key] = grant

    def remove(self, grant: Grant) -> None:
        """Remove the ports of a grant, whichever its version."""
        key = grant.key
        before = self._grants.pop(key, None)
        for port in before.host_ports if before is not None else ():
            for place in _places(port):
                self._remove(place, port.host_ip, key)

    def others(self, attachment: Attachment) -> int:
        """Return how many ports other pods have."""
        uid = attachment.pod_uid
        return sum(len(g.host_ports) for g in self._grants.values() if g.attachment.pod_uid != uid)

    def find_taken(
        self,
        wanted: Iterable[PortMapping],
        attachment: Attachment,
        is_at_work: Callable[[str], bool],
    ) -> Taken | None:
        """Return the first of the wanted ports that another pod has; None if they are free.

        What an earlier sandbox of the same pod has is free (see `released`), but not while a call
        of that container is at work: it would give the port to the old sandbox, or remove the new
        one's.
        """
        for port in wanted:
            for grant, _ in self._overlapping(port):
                its = grant.attachment
                if its.pod_uid != attachment.pod_uid or (
                    its.container_id != attachment.container_id and is_at_work(its.container_id)
                ):
                    return Taken(port, grant)
        return None

    def released(self, wanted: Iterable[PortMapping], attachment: Attachment) -> tuple[Grant, ...]:
        """Return the grants of the pod's earlier sandboxes, without the ports that are wanted now.

        Their DEL may still be to come, and would remove the new sandbox's ports.
        """
        lost = defaultdict[_Key, set[tuple[Transport, int, str]]](set)
        for port in wanted:
            for grant, host_ip in self._overlapping(port):
                its = grant.attachment
                if its.pod_uid == attachment.pod_uid and its != attachment:
                    lost[grant.key].add((port.transport, port.host_port, host_ip))
        found: list[Grant] = []
        for key, ports in lost.items():
            grant = self._grants[key]
            left = (
                p for p in grant.host_ports if (p.transport, p.host_port, p.host_ip) not in ports
            )
            found.append(replace(grant, host_ports=tuple(left)))
        return tuple(found)

    def _overlapping(self, port: PortMapping) -> Iterator[tuple[Grant, str]]:
        """Yield the grants with ports that a packet to this one could match, and their hostIPs."""
        for place in _places(port):
            of_place = self._owners.get(place)
            if of_place is None:
                continue
            every = port.is_of_every_address
            for host_ip in tuple(of_place) if every else (port.host_ip, *EVERY_ADDRESS):
                for key in of_place.get(host_ip, ()):
                    yield self._grants[key], host_ip

    def _remove(self, place: _Place, host_ip: str, key: _Key) -> None:
        """Remove one owner of a place; a port that is listed twice has been removed before."""
        of_place = self._owners.get(place, {})
        keys = of_place.get(host_ip, {})
        keys.pop(key, None)
        if not keys:
            of_place.pop(host_ip, None)
        if not of_place:
            self._owners.pop(place, None)


def _places(port: PortMapping) -> Iterator[_Place]:
    return ((port.transport, port.host_port, family) for family in port.families)
