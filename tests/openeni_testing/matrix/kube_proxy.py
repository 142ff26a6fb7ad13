"""The real kube-proxy in a node's network namespace, and the API server that it needs.

That serves lists and watches of objects that do not change, as Kubernetes does, without a control
plane: it is to run in a small kernel as well, and what is tested are kube-proxy's rules.
"""

import json
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from openeni_lab.machine.isolation import ending_with_caller
from openeni_lab.programs.sets import find_built_sets
from openeni_testing.matrix.axes import Proxy
from openeni_testing.matrix.services import Json
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace

PORT: Final = 8001
_KINDS: Final = {
    "nodes": ("v1", "Node"),
    "services": ("v1", "Service"),
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSlice"),
    "servicecidrs": ("networking.k8s.io/v1", "ServiceCIDR"),
}
_VERSION: Final = "1"
# k8s.io/apimachinery/pkg/apis/meta/v1, InitialEventsAnnotationKey
_INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
_END_SECONDS: Final = 30


class StaticAPI(ThreadingHTTPServer):
    """An API server of these objects, by resource, at 127.0.0.1 of a network namespace."""

    daemon_threads = True

    def __init__(self, namespace: Namespace, objects: Mapping[str, Sequence[Json]]) -> None:
        super().__init__(("127.0.0.1", PORT), _Handler, bind_and_activate=False)
        self.objects = objects
        self.ending = threading.Event()
        self.socket.close()
        self.socket = namespace.run(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", PORT))
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End all watches, and stop."""
        self.ending.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _api(self) -> StaticAPI:
        assert isinstance(self.server, StaticAPI)
        return self.server

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        resource = address.path.rpartition("/")[2]
        if resource not in _KINDS:
            self._answer(404, {"kind": "Status", "apiVersion": "v1", "code": 404})
            return
        version, kind = _KINDS[resource]
        items = [
            {"apiVersion": version, "kind": kind, **one, "metadata": _versioned(one)}
            for one in self._api.objects.get(resource, ())
            if _selected(one, query)
        ]
        if query.get("watch"):
            self._watch(items if query.get("sendInitialEvents") else [], version, kind)
            return
        metadata = {"resourceVersion": _VERSION}
        listed = {"apiVersion": version, "kind": f"{kind}List", "metadata": metadata}
        self._answer(200, {**listed, "items": items})

    def do_POST(self) -> None:
        """Accept an event."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(201, json.loads(body))

    def _watch(self, items: Sequence[Json], version: str, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        metadata = {
            "resourceVersion": _VERSION,
            "annotations": {_INITIAL_EVENTS_END: "true"},
        }
        bookmark = {"apiVersion": version, "kind": kind, "metadata": metadata}
        events = [{"type": "ADDED", "object": item} for item in items]
        events.append({"type": "BOOKMARK", "object": bookmark})
        with suppress(OSError):  # kube-proxy has ended
            for event in events:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        self._api.ending.wait()
        self.close_connection = True

    def _answer(self, code: int, what: Json) -> None:
        body = json.dumps(what).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Keep the test's output free of requests."""


@dataclass
class KubeProxy:
    """kube-proxy on one node; it ends with `close`, or with this process."""

    namespace: Namespace
    mode: Proxy
    objects: Mapping[str, Sequence[Json]]
    log: Path
    _api: StaticAPI = field(init=False)
    _process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self._api = StaticAPI(self.namespace, self.objects)
        program = find_built_sets(["kubernetes"]).bin("kube-proxy")
        argv = [
            *ending_with_caller(),
            str(program),
            f"--master=http://127.0.0.1:{PORT}",
            "--kube-api-content-type=application/json",
            f"--hostname-override={self.namespace.name}",
            f"--proxy-mode={self.mode}",
            f"--cluster-cidr={neutron.SUBNET},{neutron.SUBNET_6}",
            "--detect-local-mode=ClusterCIDR",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]
        with self.log.open("wb") as output:
            self._process = self.namespace.run(
                subprocess.Popen, argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def require_running(self) -> None:
        """Raise an error with the end of kube-proxy's log if it has ended."""
        code = self._process.poll()
        last = self.log.read_text(errors="replace").splitlines()[-5:]
        assert code is None, f"kube-proxy has ended with {code}: {' | '.join(last)}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait(_END_SECONDS)
        self._api.close()


def _versioned(item: Json) -> Json:
    return {**item["metadata"], "resourceVersion": _VERSION}


def _selected(item: Json, query: Mapping[str, list[str]]) -> bool:
    """Return True unless a field selector, such as metadata.name=node, says otherwise."""
    wanted = ",".join(query.get("fieldSelector", [])).split(",")
    names = [text.removeprefix("metadata.name=") for text in wanted if "metadata.name=" in text]
    return all(name == item["metadata"]["name"] for name in names)
