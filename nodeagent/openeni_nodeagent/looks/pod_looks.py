"""Decide which pods' namespaces the next look looks into, and which broken pods it builds again.

What is in a pod's namespace is the pod's choice, and so is how long it takes to read, how often it
cannot be read, and how soon its link is deleted again: none of it may take all of the looks' time.
"""

import time
from collections.abc import Generator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import count
from typing import Final, TypeVar

from openeni_crds.conditions import Reason
from openeni_nodeagent.datapath_api import NICMissingError
from openeni_nodeagent.grants.grant import Attachment
from openeni_nodeagent.reports.podip_body import Difference

_T = TypeVar("_T")
LOOK_PERIOD_SECONDS: Final = 30.0
REBUILDS: Final = 5  # of one pod in this time
_MOVED: Final = Difference(
    Reason.WAITING_FOR_NIC,
    "its NIC is another one now, and the pod has not been looked into since",
)
_LEFT: Final = Difference(
    Reason.KERNEL_REFUSED,
    "it has not been looked into since the agent has started: others take long to be read",
)


class PodLooks:
    """The thread that looks calls everything; others call `ask` and `ask_all`, and lock all."""

    def __init__(self) -> None:
        self._asked: set[Attachment] | None = None  # None: all
        self._later: set[Attachment] = set()  # that the last look could not look into
        self._chosen: dict[Attachment, int] = {}  # of those that the present look knows: turns
        self._known: AbstractSet[Attachment] | None = None  # None: it is not to look into others
        self._seen_at: dict[Attachment, float] = {}  # looked into last
        self._left: set[Attachment] = set()  # by the last look, and not looked into before either
        self._moved: set[Attachment] = set()  # not looked into since their NIC is another one
        self._failed: dict[Attachment, tuple[str, float]] = {}  # where that failed: why, and when
        self._rebuilt: list[tuple[Attachment, float]] = []  # less than LOOK_PERIOD_SECONDS ago

    def ask(self, attachment: Attachment) -> None:
        if self._asked is not None:
            self._asked.add(attachment)

    def ask_all(self) -> None:
        self._asked = None

    def is_asked(self) -> bool:
        return self._asked is None or bool(self._asked or self._due())

    def take(self) -> set[Attachment] | None:
        """Return the pods to be looked into now, None for all; they are no longer asked for."""
        asked, self._asked = self._asked, set()
        return None if asked is None else asked | self._later

    def choose(
        self, asked: set[Attachment] | None, known: AbstractSet[Attachment]
    ) -> dict[Attachment, int]:
        """Return which pods a look is to look into, of those `asked` for (None: all `known`).

        Each has its turn; that is below 1, and the sooner the longer ago one was looked into, where
        that has not failed, or the NIC is another one now. The others follow LOOK_PERIOD_SECONDS
        after that, from 1 on, whoever asks for them.
        """
        self._known = known if asked is None else None
        chosen = (known if asked is None else asked) - self._failed.keys() | self._moved
        in_order = sorted(chosen, key=lambda its: self._seen_at.get(its, 0.0))
        due = [its for its in self._due() if its not in self._moved]
        self._chosen = dict(zip((*in_order, *due), count(1 - len(in_order)), strict=False))
        return self._chosen

    def asked(self, granted: Mapping[Attachment, _T]) -> dict[Attachment, _T]:
        """Return what is still granted of the pods that were chosen, or have come since."""
        known = self._known
        return {
            its: grant
            for its, grant in granted.items()
            if its in self._chosen or (known is not None and its not in known)
        }

    def _due(self) -> list[Attachment]:
        """Return the pods to be looked into again after a failure, the first one first."""
        recently = time.monotonic() - LOOK_PERIOD_SECONDS
        return [its for its, (_, at) in self._failed.items() if at <= recently]

    def note_moved(self, moved: AbstractSet[Attachment]) -> None:
        """Note the pods whose NIC is another one now.

        How often these were built again before is not their own doing.
        """
        self._rebuilt = [(its, at) for its, at in self._rebuilt if its not in moved]
        self._moved |= moved

    def finish(
        self,
        asked: AbstractSet[Attachment],
        granted: AbstractSet[Attachment],
        looked_into: Mapping[Attachment, str],
        left: AbstractSet[Attachment],
    ) -> None:
        """Note what has become of the pods that were asked for, and why looks into some failed.

        Of those that were not looked into, there was no time left for some.
        """
        self._later = set(asked - looked_into.keys())
        self._moved = self._moved & granted - looked_into.keys()
        now, kept = time.monotonic(), granted - looked_into.keys()
        failed = {its: found for its, found in self._failed.items() if its in kept}
        # One that could not be looked into at all has had its turn as well.
        again = {its: (why, now) for its, (why, _) in failed.items() if its in asked - left}
        new = {its: (why, now) for its, why in looked_into.items() if why}
        self._failed = {i: found for i, found in failed.items() if i not in again} | again | new
        self._seen_at |= dict.fromkeys(looked_into, now)
        self._seen_at = {its: at for its, at in self._seen_at.items() if its in granted}
        self._left = set(left - self._seen_at.keys())

    def unseen(self) -> Mapping[Attachment, Difference]:
        """Return the pods of which nobody knows whether they are as planned, and why."""
        left, moved = dict.fromkeys(self._left, _LEFT), dict.fromkeys(self._moved, _MOVED)
        failed = {its: why for its, (why, _) in self._failed.items()}
        of_failed = {its: Difference(Reason.KERNEL_REFUSED, why) for its, why in failed.items()}
        return left | moved | of_failed

    def may_rebuild(self, attachment: Attachment) -> bool:
        """Return True if the pod may be built again, now; else it is asked for once more."""
        recently = time.monotonic() - LOOK_PERIOD_SECONDS
        self._rebuilt = [(its, at) for its, at in self._rebuilt if at > recently]
        if sum(its == attachment for its, _ in self._rebuilt) < REBUILDS:
            return True
        self._later.add(attachment)
        return False

    @contextmanager
    def rebuilding(self, attachment: Attachment) -> Generator[None]:
        """Count what the block builds, successful or not; without a NIC it cannot begin."""
        begins = True
        try:
            yield
        except NICMissingError:
            begins = False
            raise
        finally:
            if begins:
                self._rebuilt.append((attachment, time.monotonic()))
