"""What serves pods is begun until it has begun, and the probe says where nobody tries any more."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from openeni_kube.result import Done, Result
from openeni_kube.store import UnreachableError
from openeni_kube.workers import Workers
from openeni_nodeagent import readiness
from openeni_nodeagent.cluster.watches import Caches, Watches
from openeni_nodeagent.readiness import Readiness
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> Iterator[Readiness]:
    """Yield the readiness of a node whose informers have synced."""
    monkeypatch.setattr(readiness, "RETRY_SECONDS", 0.01)
    store = MemoryStore(bookmark_seconds=0.1)
    watches = Watches(store, Caches(), node_objects.NODE, cidrs=False)
    watches.start()
    made = Readiness(watches)
    yield made
    made.stop()
    watches.stop()


def live(ready: Readiness, folder: Path, **queues: Workers[str]) -> str:
    return ready.probes(queues, AgentParts(folder).grants, lambda: "")["live"]()


@pytest.mark.parametrize(
    ("error", "is_traced"),
    [(OSError("Too many open files"), True), (UnreachableError(0, "connection refused"), False)],
)
def test_what_fails_is_tried_again_and_logged_once(
    ready: Readiness,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    *,
    is_traced: bool,
) -> None:
    """An API server that is away is nobody's fault in the code."""
    tries: list[str] = []

    def serve() -> None:
        tries.append(live(ready, tmp_path))
        if len(tries) < 3:
            raise error
        ready.synced.set()

    ready.start(serve)
    wait_for(ready.synced.is_set, "it serves")
    assert tries == ["", "", ""]
    assert caplog.text.count(f"trying again: {error}") == 1
    assert ("Traceback" in caplog.text) == is_traced
    assert live(ready, tmp_path) == ""


def test_what_has_been_done_is_not_done_again_while_what_follows_fails(ready: Readiness) -> None:
    """Each time the whole node would be looked at, and each of its PodIPs."""
    tries: list[str] = []

    def serve() -> None:
        tries.append("serve")
        ready.synced.set()

    def name_cluster() -> None:
        tries.append("name")
        if len(tries) < 4:
            raise OSError("namespaces are forbidden")

    ready.start(serve, name_cluster)
    wait_for(lambda: len(tries) == 4, "all is done")
    assert tries == ["serve", "name", "name", "name"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_end_of_the_thread_is_for_the_probe(ready: Readiness, tmp_path: Path) -> None:
    def serve() -> None:
        raise SystemExit

    ready.start(serve)
    wait_for(lambda: live(ready, tmp_path) == "ended: sync", "the probe says so")


def test_a_look_that_never_ends_is_what_a_restart_mends(
    ready: Readiness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of the kernel has killed the thread."""
    begun, ends = threading.Event(), threading.Event()

    def look(_: str) -> Result:
        begun.set()
        ends.wait(60)
        return Done()

    looks = Workers("look", look)
    looks.start()
    looks.add("")
    assert begun.wait(60)
    assert live(ready, tmp_path, look=looks) == ""
    monkeypatch.setattr(readiness, "HANGING_SECONDS", 0.0)
    assert live(ready, tmp_path, look=looks).startswith("a look at the node has not ended for")
    assert live(ready, tmp_path, other=looks) == ""  # the grant log's, say, which nobody reads
    ends.set()
    wait_for(lambda: live(ready, tmp_path, look=looks) == "", "it has ended")
    looks.stop(60)
