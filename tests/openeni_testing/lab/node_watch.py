"""Watch the nodes of a lab: whether one was ever not Ready."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from openeni_lab.kubernetes.api import Api
from openeni_testing.lab.installed_lab import PATIENCE
from openeni_testing.waiting import wait_for

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
        ready = ready_condition(node)
        if ready.get("status") != "True":
            self.not_ready.append(f"{node['metadata']['name']}: {ready.get('message', 'unknown')}")


def ready_condition(node: Json) -> Json:
    """Return the condition Ready; empty if the node has none yet."""
    found = {c["type"]: c for c in node.get("status", {}).get("conditions", ())}
    ready: Json = found.get("Ready", {})
    return ready


def all_ready(api: Api) -> bool:
    return all(ready_condition(node).get("status") == "True" for node in api.items(NODES))


@contextmanager
def nodes_stay_ready(api: Api) -> Generator[None]:
    """Wait until every node is Ready; fail if one is not at any moment of the block.

    A kubelet reports late: a node whose network plugin has come can be not Ready for 15 s more.
    """
    wait_for(lambda: all_ready(api), "every node is Ready", PATIENCE)
    watch = NodeWatch(api)
    watch.begin()
    try:
        yield
    finally:
        watch.end()
    assert not watch.not_ready, "; ".join(watch.not_ready)
