"""Look every other second whether entries of clouds.yaml have changed: nothing else tells."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final

LOG: Final = logging.getLogger(__name__)
RELOAD_SECONDS: Final = 2.0  # between two looks, each of which is one stat


class Reloads:
    """A daemon thread; `on_change` is called in it, with the name of a changed entry."""

    def __init__(
        self, take_changes: Callable[[], Iterable[str]], on_change: Callable[[str], None]
    ) -> None:
        """`take_changes` returns each change of an entry once."""
        self._take_changes = take_changes
        self._on_change = on_change
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reloads", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(RELOAD_SECONDS):
            for name in sorted(self._take_changes()):
                LOG.info("the entry %r of clouds.yaml has changed", name)
                self._on_change(name)
