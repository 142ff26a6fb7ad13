"""Watch the nodes of a lab: whether one was ever not Ready."""

import re
import threading
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Any, Final

from openeni_lab.kubernetes.api import Api
from openeni_testing.lab.installed_lab import PATIENCE
from openeni_testing.waiting import wait_for

Json = dict[str, Any]

NODES: Final = "/api/v1/nodes"
_RUNTIME_LOOKS: Final = r'kubelet_runtime_operations_total\{operation_type="status"\}'
WATCH_SECONDS: Final = 2  # after which the watch is begun anew, where the last one ended


class NodeWatch:
    """Nodes that were seen not Ready, with the reason, by a watch that misses no change."""

    def __init__(self, api: Api, names: Collection[str] = ()) -> None:
        """Watch the nodes of these names, or all of them."""
        self._api = api
        self._names = names
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
        name, ready = node["metadata"]["name"], ready_condition(node)
        if ready.get("status") != "True" and _is_meant(name, self._names):
            self.not_ready.append(f"{name}: {ready.get('message', 'unknown')}")


def ready_condition(node: Json) -> Json:
    """Return the condition Ready; empty if the node has none yet."""
    found = {c["type"]: c for c in node.get("status", {}).get("conditions", ())}
    ready: Json = found.get("Ready", {})
    return ready


def all_ready(api: Api, names: Collection[str] = ()) -> bool:
    """Return whether the nodes of these names, or all of them, are Ready."""
    nodes = [n for n in api.items(NODES) if _is_meant(n["metadata"]["name"], names)]
    return all(ready_condition(node).get("status") == "True" for node in nodes)


def wait_for_kubelets(api: Api, names: Collection[str]) -> None:
    """Wait until the kubelet of each node has begun and ended a look at its container runtime.

    It looks every 5 s (`updateRuntimeUp`), and its metrics count the looks that ended: the second
    one to end from now on began after now.
    """
    wanted = {name: _runtime_looks(api, name) + 2 for name in names}

    def looked() -> bool:
        return all(_runtime_looks(api, name) >= count for name, count in wanted.items())

    wait_for(looked, "every kubelet has asked its container runtime", PATIENCE)


def _runtime_looks(api: Api, node: str) -> int:
    """Return how often the node's kubelet asked for the state of its container runtime."""
    text: str = api.request("GET", f"{NODES}/{node}/proxy/metrics")["text"]
    found = re.search(rf"^{_RUNTIME_LOOKS} (\S+)$", text, re.MULTILINE)
    assert found, f"the kubelet of {node} does not count its looks at the container runtime"
    return int(float(found[1]))


def _is_meant(name: str, names: Collection[str]) -> bool:
    return not names or name in names


@contextmanager
def nodes_stay_ready(api: Api, *names: str) -> Generator[None]:
    """Wait until every node is Ready; fail if one is not at any moment of the block.

    With names it is about these nodes only. A kubelet reports late: a node that had no network
    plugin for a moment can become not Ready seconds after it has one again. So Ready counts once
    each kubelet has asked its container runtime anew.
    """
    wait_for_kubelets(api, names or [node["metadata"]["name"] for node in api.items(NODES)])
    wait_for(lambda: all_ready(api, names), "every node is Ready", PATIENCE)
    watch = NodeWatch(api, names)
    watch.begin()
    try:
        yield
    finally:
        watch.end()
    assert not watch.not_ready, "; ".join(watch.not_ready)
