"""Whether this process serves pods: what it waits for, and what its probes answer."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from openeni_kube.store import StoreError
from openeni_kube.workers import Workers
from openeni_nodeagent.cluster.watches import Watches
from openeni_nodeagent.cni.call import ALIVE_POLL_SECONDS, StoppingError, require_alive
from openeni_nodeagent.cni.self_check import LEDGER
from openeni_nodeagent.grants.grants import Grants

RETRY_SECONDS: Final = 5.0
HANGING_SECONDS: Final = 900.0  # longer than anything takes on a machine that is just slow
_log: Final = logging.getLogger(__name__)


class Readiness:
    """Any thread may call everything."""

    def __init__(self, watches: Watches) -> None:
        self.synced: Final = threading.Event()  # the caches show all objects of this node
        self.repaired: Final = threading.Event()  # journal, kernel and PodIPs have been compared
        self.stopping: Final = threading.Event()
        self._watches = watches
        self._serving: threading.Thread | None = None

    def start(self, *steps: Callable[[], None]) -> None:
        """Take these steps once the informers have synced; one of them sets `synced`.

        In a thread of its own; a step that raises anything is taken again after a pause.
        """
        self._serving = threading.Thread(target=self._take, args=steps, name="sync", daemon=True)
        self._serving.start()

    def _take(self, *steps: Callable[[], None]) -> None:
        self._take_until_done(partial(self._watches.wait, self.stopping))
        for step in steps:
            self._take_until_done(step)

    def _take_until_done(self, step: Callable[[], None]) -> None:
        failing = False
        while not self.stopping.is_set():
            try:
                step()
            except Exception as error:  # noqa: BLE001 - whatever it is, pods must be served
                if not failing:
                    unexpected = None if isinstance(error, StoreError) else error
                    _log.error(
                        "what begins once the informers have synced fails, trying again: %s",
                        error,
                        exc_info=unexpected,
                    )
                failing = True
                self.stopping.wait(RETRY_SECONDS)
            else:
                return

    def stop(self) -> None:
        """Let nothing wait any longer."""
        self.stopping.set()
        self.synced.set()

    def pods_current(self) -> bool:
        """Return True while the cache of pods is synced and up to date."""
        return self.synced.is_set() and self._watches.pods_current()

    def behind(self) -> bool:
        """Return True while the caches lack objects, or the API server is away; at the end, too."""
        is_current = self.synced.is_set() and not self.stopping.is_set()
        return not is_current or self._watches.unreachable()

    def wait_until_synced(self, deadline: float, alive: Callable[[], bool]) -> bool:
        """Return False at the deadline, on the monotonic clock.

        Raises StoppingError, and CNIError once the call is no longer `alive`.
        """
        while not self.synced.wait(max(min(deadline - time.monotonic(), ALIVE_POLL_SECONDS), 0)):
            require_alive(alive)
            if time.monotonic() >= deadline:
                return False
        if self.stopping.is_set():
            raise StoppingError
        return True

    def probes(
        self, queues: Mapping[str, Workers[str]], grants: Grants, server: Callable[[], str]
    ) -> dict[str, Callable[[], str]]:
        """Return the probes by name: each returns what is wrong, "" if nothing is.

        `server` returns what is wrong with the CNI server.
        """

        def dead() -> str:
            """Return what only a restart can mend."""
            if hanging := _hanging(queues):
                return hanging
            ended = [name for name, queue in queues.items() if not queue.alive()]
            if not (self.synced.is_set() or self._serving is None or self._serving.is_alive()):
                ended.append(self._serving.name)
            return f"ended: {', '.join(ended)}" if ended else server()

        def unready() -> str:
            if not self.synced.is_set():
                return "the objects of this node have not been read from the API server"
            if not self.repaired.is_set():
                return "the pods of this node have not been looked at"
            return dead()

        def ask_ledger() -> str:
            grants.reserved()  # any question takes its lock
            return ""

        return {"live": dead, "ready": unready, LEDGER: ask_ledger}


def _hanging(queues: Mapping[str, Workers[str]]) -> str:
    """Return why looks do not come to an end: a thread that the kernel has killed counts as alive.

    Others may wait for as long as somebody likes: what writes the grant log, for its reader.
    """
    looks = queues.get("look")
    if looks is None or (seconds := looks.longest()) <= HANGING_SECONDS:
        return ""
    return f"a look at the node has not ended for {seconds:.0f} s"
