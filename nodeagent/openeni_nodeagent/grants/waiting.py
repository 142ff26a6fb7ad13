"""The queues of requests that wait for an address, one for each pool, with one bound for all. Pure.

A pod that waits for one certain address has a queue of its own, so that it holds up no other. The
bound is fair: when it is reached, a request of a pool with few waiting displaces the youngest of
the pool with the most, so that a pool without addresses never keeps out the pods of another; and
one of a namespace with few waiting for the same pool the youngest of the namespace with the most.
The pods that wait for certain addresses count together, as if they were of one pool.
"""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

CERTAIN: Final = ""  # the group of all requests for certain addresses; no pool's name


@dataclass(eq=False)
class Ticket:
    """The place of one request in its queue."""

    queue: str
    group: str  # the pool's name, or CERTAIN
    namespace: str = ""  # of the pod
    displaced: bool = False  # by another pool's or namespace's request: it waits no longer


class WaitingRequests:
    """At most `most` requests. Not safe for several threads: the caller locks."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queues: dict[str, deque[Ticket]] = {}
        self._tickets: list[Ticket] = []  # all, by their arrival

    def __len__(self) -> int:
        return len(self._tickets)

    def enter(self, queue: str, group: str | None = None, namespace: str = "") -> Ticket | None:
        """Return a place at the end of the queue; None if too many of its kind wait."""
        ticket = Ticket(queue, queue if group is None else group, namespace)
        if len(self) >= self._most and not self._displace_for(ticket):
            return None
        self._queues.setdefault(queue, deque()).append(ticket)
        self._tickets.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give a place up; a displaced request has none."""
        if ticket.displaced:
            return
        self._tickets.remove(ticket)
        queue = self._queues[ticket.queue]
        queue.remove(ticket)
        if not queue:
            del self._queues[ticket.queue]

    def is_next(self, name: str, ticket: Ticket | None) -> bool:
        """Return True if the request is the queue's first, or nobody waits in it."""
        queue = self._queues.get(name)
        return queue is None or queue[0] is ticket

    def _displace_for(self, ticket: Ticket) -> bool:
        """Displace the youngest request of the largest group, if this one's is smaller.

        Of that group, or else of its own, it is one of the namespace with the most, if those of
        this one's are fewer.
        """
        groups = Counter(each.group for each in self._tickets)
        largest, size = groups.most_common(1)[0]
        if size > groups[ticket.group] + 1:
            self._displace_youngest(largest)
            return True
        namespaces = self._namespaces(ticket.group)
        if max(namespaces.values(), default=0) > namespaces[ticket.namespace] + 1:
            self._displace_youngest(ticket.group)
            return True
        return False

    def _namespaces(self, group: str) -> Counter[str]:
        return Counter(each.namespace for each in self._tickets if each.group == group)

    def _displace_youngest(self, group: str) -> None:
        """Displace the youngest of those of a group whose namespaces have the most in it."""
        counts = self._namespaces(group)
        most = max(counts.values())
        youngest = next(
            each
            for each in reversed(self._tickets)
            if each.group == group and counts[each.namespace] == most
        )
        self.leave(youngest)
        youngest.displaced = True
