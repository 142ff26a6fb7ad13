"""An API server that has ENIPools alone, for kopf: what it reads at its start, list and watch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from openeni_crds.names import ENIPOOLS, NAMESPACES, Kind
from openeni_testing.fake_openstack.http_server import HttpServer
from openeni_testing.fake_openstack.messages import Json, Request, Response
from openeni_testing.objects import pool_body

POOLS: Final = f"/apis/{ENIPOOLS.api_version}/{ENIPOOLS.plural}"


@dataclass
class PoolServer:
    """Each list has one pool, named after how many lists there were before.

    `watch` returns the events of a watch as lines of JSON; the watch ends after them.
    """

    watch: Callable[[int], str]  # called with the number of the watch, from 1
    lists: int = 0
    watches: int = 0
    unknown: list[str] = field(default_factory=list[str])

    def answer(self, request: Request) -> Response:
        if request.path == POOLS:
            return self._pools(request)
        known: dict[str, Any] = {
            "/api": {"versions": [NAMESPACES.version]},
            "/apis": {"groups": [_group(ENIPOOLS)]},
            f"/api/{NAMESPACES.api_version}": {"resources": [_resource(NAMESPACES)]},
            f"/apis/{ENIPOOLS.api_version}": {"resources": [_resource(ENIPOOLS)]},
        }
        if request.path not in known:
            self.unknown.append(request.path)
        return Response(200 if request.path in known else 404, known.get(request.path, {}))

    def _pools(self, request: Request) -> Response:
        if "watch" in request.query:
            self.watches += 1
            return Response(200, self.watch(self.watches))
        body = pool_body(f"pool-{self.lists}")
        body["metadata"] |= {"uid": "1", "resourceVersion": "5"}
        self.lists += 1
        return Response(200, {"metadata": {"resourceVersion": "7"}, "items": [body]})

    def kubeconfig(self, server: HttpServer) -> str:
        return (
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
            f"clusters: [{{name: c, cluster: {{server: '{server.url}'}}}}]\n"
            "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n"
        )


def error_event(code: int) -> str:
    """Return the event with which the API server ends a watch that has failed."""
    status = {"kind": "Status", "status": "Failure", "message": "it failed", "code": code}
    return msgspec.json.encode({"type": "ERROR", "object": status}).decode() + "\n"


def _group(kind: Kind) -> Json:
    version = {"groupVersion": kind.api_version, "version": kind.version}
    return {"name": kind.group, "versions": [version], "preferredVersion": version}


def _resource(kind: Kind) -> Json:
    return {
        "name": kind.plural,
        "singularName": kind.plural.removesuffix("s"),
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": ["get", "list", "watch", "patch"],
    }
