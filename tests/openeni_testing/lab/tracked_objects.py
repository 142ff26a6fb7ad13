"""Track the objects that tests create in a lab, and remove them after each test."""

from collections.abc import Collection, Iterator
from typing import Any, Final

from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

Json = dict[str, Any]

# Objects of users and tests. Pods' owners come first: a pool is not deleted while pods use it.
MADE: Final = (
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/daemonsets",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/namespaces",
    "/api/v1/nodes",
    lab.POOLS,
)
# Objects that the garbage collector deletes after their owner.
OWNED: Final = ("/apis/apps/v1/replicasets", "/api/v1/pods")


class TrackedObjects:
    """The objects of a lab, with a snapshot of those that existed before the tests."""

    def __init__(self, installed: InstalledLab) -> None:
        self._installed = installed
        self._api = installed.api
        self._first = frozenset(self._paths())

    def remove_made(self, kept: Collection[str] = ()) -> None:
        """Remove the objects created since the snapshot, except the names in `kept`.

        Raises AssertionError that names what is left after `PATIENCE` seconds, in the API and in
        Neutron.
        """
        made = self._made(kept)
        for path in made:
            self._api.delete(path)
        for path in self._holders() if made else ():
            self._api.delete(path)
        wait_for(lambda: self._is_gone(kept), "what tests made is gone", lab.PATIENCE)

    def _is_gone(self, kept: Collection[str]) -> bool:
        left = [*self._made(kept), *self._orphans()]
        assert not left, f"left: {', '.join(left)}"
        return True

    def _made(self, kept: Collection[str]) -> list[str]:
        paths = [path for path in self._paths() if path not in self._first]
        return [path for path in paths if path.rsplit("/", 1)[1] not in kept]

    def _paths(self) -> Iterator[str]:
        for collection in MADE:
            for found in self._api.items(collection):
                if not found["metadata"].get("ownerReferences"):
                    yield _path(collection, found["metadata"])

    def _holders(self) -> Iterator[str]:
        """Yield pods, even the lab's own, with an address of a pool that is being deleted."""
        pools = [pool["metadata"] for pool in self._api.items(lab.POOLS)]
        going = [metadata for metadata in pools if "deletionTimestamp" in metadata]
        enis = lab.enis_of(self._installed, *(metadata["name"] for metadata in going))
        for podip in lab.podips_on(self._installed, enis):
            yield _path("/api/v1/pods", podip["metadata"])

    def _orphans(self) -> Iterator[str]:
        """Yield what exists without its owner: pods, PodIPs, ENIs, Neutron's ports."""
        objects = {path: self._api.items(path) for path in {*MADE, *OWNED}}
        uids = {o["metadata"]["uid"] for found in objects.values() for o in found}
        for path in OWNED:
            for found in objects[path]:
                owners = {o["uid"] for o in found["metadata"].get("ownerReferences", ())}
                if not owners <= uids:
                    yield _path(path, found["metadata"])
        pods = {_key(pod) for pod in objects["/api/v1/pods"]}
        podips = self._api.items(lab.PODIPS)
        yield from (f"PodIP {_key(podip)}" for podip in podips if _key(podip) not in pods)
        pools = {pool["metadata"]["name"] for pool in objects[lab.POOLS]}
        enis = self._api.items(lab.ENIS)
        yield from (
            f"ENI {e['metadata']['name']}" for e in enis if e["spec"]["poolName"] not in pools
        )
        yield from self._ports_without(enis)

    def _ports_without(self, enis: list[Json]) -> Iterator[str]:
        uids = tuple(eni["metadata"]["uid"] for eni in enis)
        ports = lab.neutron_ports(self._installed).values()
        yield from (f"port {p['name']}" for p in ports if not p["name"].endswith(uids))


def _path(collection: str, metadata: Json) -> str:
    root, kind = collection.rsplit("/", 1)
    space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{space}/{kind}/{metadata['name']}"


def _key(found: Json) -> str:
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"
