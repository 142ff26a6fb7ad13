"""Lead by holding a Lease, so that one operator at a time writes to the clouds.

`holds` is the fence: it is asked before each cloud write, and it is True only for BOUND seconds
from the beginning of the last renewal that the API server took. Another operator waits longer than
that (lease.DURATION) before it leads. So an operator that was stopped finds out before its next
write; what a call in flight may still do is healed like after a crash.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import LEASES
from openeni_kube.clock import boot_seconds
from openeni_kube.store import (
    ConflictError,
    InvalidError,
    NotFoundError,
    Store,
    StoreError,
    same_version,
)
from openeni_kube.wire import format_micro_time
from openeni_operator.process.lease import (
    Lease,
    SeenLease,
    held_by,
    look,
    read_lease,
    seconds_until_free,
)

LOG: Final = logging.getLogger(__name__)
NAME: Final = "openeni-operator"
RENEW_SECONDS: Final = 2.0
BOUND: Final = 10.0  # seconds; the rest of lease.DURATION is for clocks that run unequally fast


class Leadership:
    """One process' part in the election; `identity` is its pod's name.

    Any thread may ask `holds`; the rest is for one thread at a time.
    """

    def __init__(
        self,
        store: Store,
        namespace: str,
        identity: str,
        *,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self._store, self._namespace, self._identity = store, namespace, identity
        self._clock = clock
        self._seen: SeenLease | None = None
        self._until = float("-inf")  # when the fence closes
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def holds(self) -> bool:
        """Return True if no other operator can lead yet."""
        return self._clock() < self._until

    def try_to_lead(self) -> float:
        """Take or renew the Lease if it is free or ours; return in how many seconds to try again.

        0 means that this process leads. Raises StoreError.
        """
        begun = self._clock()
        lease = self._look()
        if lease and self._seen:
            wait = seconds_until_free(self._seen, self._identity, self._clock())
            if wait:
                return min(wait, RENEW_SECONDS)
        return 0.0 if self._write(lease, begun) else RENEW_SECONDS

    @property
    def leader(self) -> str:
        """Return who holds the Lease, as it was seen last."""
        return self._seen.lease.holder if self._seen else ""

    def keep(self, lost: Callable[[], None]) -> None:
        """Renew in a thread from now on; call `lost` once another operator has led."""

        def renew_until_lost() -> None:
            while not self._ending.wait(RENEW_SECONDS):
                if not self.renew():
                    lost()
                    return

        self._thread = threading.Thread(target=renew_until_lost, name="lease", daemon=True)
        self._thread.start()

    def keeps(self) -> bool:
        """Return False once its thread has ended: this process never leads again."""
        return self._thread is None or self._thread.is_alive()

    def renew(self) -> bool:
        """Return False if another operator leads, or has led and given the Lease up since.

        It has written to the clouds then, and what this one remembers of them is no longer true.
        Without an answer the fence closes by itself.
        """
        begun = self._clock()
        try:
            lease = self._look()
            if lease and lease.holder != self._identity:
                self._until = float("-inf")
                return False
            self._write(lease, begun)
        except StoreError as error:
            LOG.warning("the Lease cannot be renewed: %s", error)
        except Exception:  # an answer of another shape than the API's
            LOG.exception("the Lease cannot be renewed")
        return True

    def release(self) -> None:
        """Give the Lease up, so that the next operator need not wait. Nothing runs any more."""
        self._ending.set()
        if self._thread:
            self._thread.join(RENEW_SECONDS)
        held, self._until = self.holds(), float("-inf")
        if not held or not self._seen:
            return
        operations = [same_version(self._seen.lease.version), _replace("/spec/holderIdentity", "")]
        try:
            self._store.patch(LEASES, NAME, self._namespace, operations=operations)
        except StoreError as error:
            LOG.warning("the Lease is not given up, and the next operator waits for it: %s", error)

    def _look(self) -> Lease | None:
        """Return the Lease as it is, if there is one. Raises StoreError."""
        try:
            lease = read_lease(self._store.get(LEASES, NAME, self._namespace))
        except NotFoundError:
            return None
        # The time of the answer, and not of the question: it may have been renewed since.
        self._seen = look(self._seen, lease, self._clock())
        return lease

    def _write(self, before: Lease | None, begun: float) -> bool:
        """Return False if somebody else was faster. Raises StoreError.

        The fence counts from `begun`, which is before the API server can have taken the renewal.
        """
        spec = held_by(self._identity, before, format_micro_time(datetime.now(UTC)))
        try:
            if before is None:
                metadata = {"name": NAME, "namespace": self._namespace}
                body: Json = {"metadata": metadata, "spec": spec}
                words = {"apiVersion": LEASES.api_version, "kind": LEASES.name}
                written = self._store.create(LEASES, words | body)
            else:
                operations = [same_version(before.version)]
                operations += [_replace(f"/spec/{key}", value) for key, value in spec.items()]
                written = self._store.patch(LEASES, NAME, self._namespace, operations=operations)
        except (ConflictError, InvalidError, NotFoundError):
            return False
        self._seen = SeenLease(read_lease(written), begun)
        self._until = begun + BOUND
        return True


def _replace(path: str, value: object) -> Json:
    return {"op": "add", "path": path, "value": value}  # `add` replaces what is there
