"""Which pods' own namespaces the next look looks into, and which broken pods it builds again.

What is in a pod's namespace is the pod's choice, and so is how long it takes to read, how often it
cannot be read, and how soon its link is deleted again: none of it may take all of the looks' time.
"""

import time
from collections.abc import Set as AbstractSet
from typing import Final

from openeni_nodeagent.grants.grant import Attachment

LOOK_PERIOD_SECONDS: Final = 30.0
REBUILDS: Final = 5  # of one pod in this time


class PodLooks:
    """The thread that looks calls everything; others call `ask` and `ask_all`, and lock all."""

    def __init__(self) -> None:
        self._asked: set[Attachment] | None = None  # None: all
        self._later: set[Attachment] = set()  # that the last look could not look into
        self._failed: set[Attachment] = set()  # that differed nevertheless
        self._failed_at = 0.0
        self._rebuilt: list[tuple[Attachment, float]] = []  # less than LOOK_PERIOD_SECONDS ago

    def ask(self, attachment: Attachment) -> None:
        if self._asked is not None:
            self._asked.add(attachment)

    def ask_all(self) -> None:
        self._asked = None

    def is_asked(self) -> bool:
        return self._asked is None or bool(self._asked)

    def take(self) -> set[Attachment] | None:
        """Return the pods to be looked into now, None for all; they are no longer asked for."""
        asked, self._asked = self._asked, set()
        if asked is None:
            return None
        is_due = time.monotonic() - self._failed_at >= LOOK_PERIOD_SECONDS
        return asked | self._later | (self._failed if is_due else set())

    def finish(
        self,
        asked: AbstractSet[Attachment],
        looked_into: AbstractSet[Attachment],
        differing: AbstractSet[Attachment],
    ) -> None:
        """Note what has become of the pods that were asked for; those that differ are due again."""
        self._later = set(asked - looked_into)
        tried = set(looked_into & differing)
        self._failed = (self._failed - looked_into) | tried
        if tried:
            self._failed_at = time.monotonic()

    def may_rebuild(self, attachment: Attachment) -> bool:
        """Return True if the pod may be built again, now; else it is asked for once more."""
        recently = time.monotonic() - LOOK_PERIOD_SECONDS
        self._rebuilt = [(its, at) for its, at in self._rebuilt if at > recently]
        if sum(its == attachment for its, _ in self._rebuilt) < REBUILDS:
            return True
        self._later.add(attachment)
        return False

    def rebuilds(self, attachment: Attachment) -> None:
        self._rebuilt.append((attachment, time.monotonic()))
