"""Read the logs of containers through the API server."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from urllib3.exceptions import HTTPError

from openeni_crds.names import PODS
from openeni_kube.client import KubeStore
from openeni_kube.store import UnreachableError
from openeni_kube.wire import object_path, one_line

CHUNK: Final = 2**16
LONGEST_LINE: Final = 2**20  # bytes; the rest of a longer one is lines of its own


@dataclass(frozen=True)
class LogRequest:
    """A container's log; of a pod with one container, `container` may be ""."""

    namespace: str
    pod: str
    container: str = ""
    previous: bool = False  # that of the container before its last restart
    tail: int | None = None  # at most so many of the last lines
    timestamps: bool = False  # before each line, the time at which the runtime read it


class PodLogs(Protocol):
    def lines(self, request: LogRequest) -> Iterator[str]:
        """Yield the lines that there are. Raise a StoreError, also where the log breaks off."""
        ...


class KubePodLogs:
    """`PodLogs` on a real API server. Safe to use from many threads."""

    def __init__(self, store: KubeStore) -> None:
        self._store = store

    def lines(self, request: LogRequest) -> Iterator[str]:
        response = self._store.send(
            "GET",
            object_path(PODS, request.pod, request.namespace, "log"),
            query=_query(request),
            accept="*/*",
        )
        try:
            for line in _lines(response):
                yield line.decode(errors="replace")
        finally:
            response.close()


def _query(request: LogRequest) -> dict[str, str]:
    given = {
        "container": request.container,
        "previous": "true" if request.previous else "",
        "tailLines": "" if request.tail is None else str(request.tail),
        "timestamps": "true" if request.timestamps else "",
    }
    return {name: text for name, text in given.items() if text}


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    try:
        for chunk in response.stream(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            if len(rest) > LONGEST_LINE:
                yield rest
                rest = b""
    except (HTTPError, OSError) as error:
        raise UnreachableError(0, f"the log breaks off: {one_line(error)}") from error
    if rest:
        yield rest
