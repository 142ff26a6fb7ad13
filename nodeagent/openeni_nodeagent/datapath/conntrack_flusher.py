"""Have the conntrack entries of addresses that pods have given back deleted, all at once."""

import logging
import threading
from collections.abc import Collection, Iterable
from typing import Final

from openeni_nodeagent.datapath.linux.conntrack import flush
from openeni_nodeagent.datapath_api import KernelRefusedError

LOG: Final = logging.getLogger(__name__)


class ConntrackFlusher:
    """Collects freed addresses until the entries of all of them are flushed at once.

    Any thread may call everything; `add` takes no time.
    """

    def __init__(self) -> None:
        self._flushing = threading.Lock()
        self._lock = threading.Lock()  # of:
        self._freed: dict[str, object] = {}  # each with a token of the last `add`
        self._fails = False

    def add(self, addresses: Iterable[str]) -> None:
        """Have the entries of these addresses flushed by the next `flush`."""
        with self._lock:
            self._freed.update(dict.fromkeys(addresses, object()))

    def flush(self) -> None:
        """Flush what has been added. A failure is logged once, until one succeeds.

        What fails is left to the next `flush`: an established flow's entry lives for days.
        """
        with self._flushing:
            with self._lock:
                freed = dict(self._freed)
            if not freed:
                return
            try:
                count = flush(freed)
            except KernelRefusedError as error:
                if not self._fails:
                    LOG.warning("conntrack entries of freed addresses are left for now: %s", error)
                self._fails = True
                return
            LOG.debug("deleted %d conntrack entries of %d freed addresses", count, len(freed))
            self._fails = False
            with self._lock:
                for address, token in freed.items():
                    if self._freed.get(address) is token:  # else it was freed again meanwhile
                        del self._freed[address]

    def give(self, addresses: Collection[str]) -> None:
        """Flush what is left of these addresses, and no more from now on: a pod gets them."""
        with self._lock:
            left = not self._freed.keys().isdisjoint(addresses)
        if left:
            self.flush()
            with self._lock:
                for address in addresses:
                    self._freed.pop(address, None)
