"""A store in memory whose watches tell nothing."""

import threading
from collections.abc import Iterator
from typing import Any, Final

from openeni_kube.store import Watch, WatchEvent
from openeni_testing.store.memory import MemoryStore

_QUIET_SECONDS: Final = 600  # more than tests wait: an informer lists after a watch that fails


class QuietStore(MemoryStore):
    """A store whose watches open and tell nothing, as those of a quiet cluster for a minute."""

    def __init__(self) -> None:
        super().__init__(bookmark_seconds=0.1)
        self.opened = 0
        self.ends = threading.Event()

    def watch(self, *_: Any, **__: Any) -> Watch:
        self.opened += 1
        return Watch(self._nothing(), self.ends.set)

    def _nothing(self) -> Iterator[WatchEvent]:
        assert self.ends.wait(_QUIET_SECONDS)
        self.ends.clear()
        yield from ()
