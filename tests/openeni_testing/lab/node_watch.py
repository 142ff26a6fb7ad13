"""Watch the nodes of a lab: whether one was ever not Ready."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from openeni_lab.kubernetes.api import Api

Json = dict[str, Any]

NODES: Final = "/api/v1/nodes"
WATCH_SECONDS: Final = 2  # after which the watch is begun anew, where the last one ended


class NodeWatch:
    """Nodes that were seen not Ready, with the reason, by a watch that misses no change."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._ending = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.not_ready: list[str] = []

    def begin(self) -> None:
        listed = self._api.request("GET", NODES)
        self._version: str = listed["metadata"]["resourceVersion"]
        for node in listed["items"]:
            self._look(node)
        self._thread.start()

    def end(self) -> None:
        """Stop, once all that has happened was seen. Raises what broke the watch."""
        self._ending.set()
        self._thread.join(60)
        if self._failure:
            raise self._failure

    def _follow(self) -> None:
        try:
            while True:
                last = self._ending.is_set()
                for event in self._api.watch(NODES, self._version, WATCH_SECONDS):
                    self._version = event["object"]["metadata"]["resourceVersion"]
                    self._look(event["object"])
                if last:
                    return
        except Exception as error:  # noqa: BLE001 - raised again by `end`
            self._failure = error

    def _look(self, node: Json) -> None:
        found = {c["type"]: c for c in node.get("status", {}).get("conditions", ())}
        ready = found.get("Ready", {})
        if ready.get("status") != "True":
            self.not_ready.append(f"{node['metadata']['name']}: {ready.get('message', 'unknown')}")


@contextmanager
def nodes_stay_ready(api: Api) -> Generator[None]:
    """Fail if a node is not Ready at any moment of the block."""
    watch = NodeWatch(api)
    watch.begin()
    try:
        yield
    finally:
        watch.end()
    assert watch.not_ready == []
