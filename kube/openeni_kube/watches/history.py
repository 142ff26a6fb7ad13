"""What an informer has seen of its kind's history, and whether the API server has gone back in it.

An etcd that was restored from a backup is at an older version than watches ask for. Then the API
server opens them and says nothing, not even by a bookmark, until it is at that version again
(apiserver's cacher/cache_watcher.go: process). Versions may have been made up for by then, by
others' writes and our own: so the newest object that was seen is a witness, too.
"""

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.store import NotFoundError, Page, Store, WatchEvent, object_key


class History:
    """For one thread."""

    def __init__(self, store: Store, kind: Kind) -> None:
        self.known: dict[str, Json] = {}  # metadata by key, what `on_delete` and a later look need
        self.newest = 0  # version that the API server has had
        self._store = store
        self._kind = kind
        self._witness: Json | None = None  # metadata of the newest object, and of a deleted one

    def is_lost(self) -> bool:
        """Ask the API server whether it is at an older state. Raises StoreError."""
        return int(self._store.version(self._kind)) < self.newest or not self._is_witnessed()

    def is_newer_than(self, page: Page) -> bool:
        """Return True if more has been seen than a list shows, which is of the newest version."""
        older = any(self._was_newer(body["metadata"]) for body in page.items)
        return older or int(page.resource_version) < self.newest

    def begin(self, page: Page) -> None:
        """Begin anew with a list."""
        self.newest = int(page.resource_version)
        newest = max((body["metadata"] for body in page.items), key=_version, default=None)
        self._witness = newest and _kept(newest)

    def add(self, event: WatchEvent) -> None:
        """Note an event, after whom it concerns has been told."""
        self.newest = int(event.object["metadata"]["resourceVersion"])
        if event.type != "BOOKMARK":
            self._witness = _kept(event.object["metadata"])

    def changed(self, body: Json) -> None:
        self.known[object_key(body)] = _kept(body["metadata"])

    def deleted(self, body: Json) -> None:
        self.known.pop(object_key(body), None)

    def _is_witnessed(self) -> bool:
        """Return True if the newest object that was seen is as new now, or as gone.

        One that the selectors have lost is there.
        """
        seen = self._witness
        if seen is None:
            return True
        gone = self._known_of(seen) is None
        try:
            body = self._store.get(self._kind, seen["name"], seen.get("namespace", ""))
        except NotFoundError:
            return gone
        found = body["metadata"]
        if found["uid"] != seen["uid"]:
            return gone
        return _version(found) >= _version(seen)

    def _was_newer(self, listed: Json) -> bool:
        """Return True if a newer version of this very object has been seen."""
        known = self._known_of(listed)
        return known is not None and _version(known) > _version(listed)

    def _known_of(self, metadata: Json) -> Json | None:
        """Return what is known of this very object, not of another one of its name."""
        known = self.known.get(object_key({"metadata": metadata}))
        return known if known and known["uid"] == metadata["uid"] else None


def _kept(metadata: Json) -> Json:
    names = ("namespace", "name", "uid", "resourceVersion")
    return {name: metadata[name] for name in names if name in metadata}


def _version(metadata: Json) -> int:
    return int(metadata.get("resourceVersion") or 0)
