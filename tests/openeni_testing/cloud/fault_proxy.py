"""A small HTTP proxy in front of real services, which does what a fault plan says.

It names calls as the fake does, so that one plan holds for both. Each service has a port of its
own, since Neutron and Nova answer with links that lead to where they were asked.
"""

import http.client
import json
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit

import msgspec

from openeni_testing.fake_openstack.audit import Audit
from openeni_testing.fake_openstack.faults import FaultPlan, Slow, StaleRead, apply
from openeni_testing.fake_openstack.http_server import HttpServer
from openeni_testing.fake_openstack.keystone import Keystone
from openeni_testing.fake_openstack.messages import Request, Response, Router
from openeni_testing.fake_openstack.neutron.api import NeutronApi
from openeni_testing.fake_openstack.nova import NovaApi
from openeni_testing.fake_openstack.responses import proxy_page
from openeni_testing.fake_openstack.state import CloudState

FORWARD_SECONDS: Final = 90.0  # for which a service may work on a call
# Of one connection; or the server's to say: a body is parsed here, and written anew.
_NOT_PASSED_ON: Final = frozenset(
    {
        *("connection", "keep-alive", "transfer-encoding", "content-length", "content-type"),
        *("accept-encoding", "date", "server"),
    }
)
# Where the fake, which names the calls, has the services that are at the root of a port here.
PREFIXES: Final = {"identity": "/identity", "network": "/networking", "compute": "/compute"}


class FaultProxy:
    """Forwards calls to `services`, the URL of each by its type; `clock` dates them in the audit.

    Seconds of the fault plan are slept by `sleep`: a test may have a faster clock.
    """

    def __init__(
        self,
        services: Mapping[str, str],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        prefixes: Mapping[str, str] = PREFIXES,
    ) -> None:
        self.faults, self.audit = FaultPlan(), Audit()
        self.changed = threading.Event()  # set after each call that may have changed something
        self._services, self._prefixes = services, prefixes
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._router = _router()
        self._servers: dict[str, HttpServer] = {}
        self._later: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for service in self._services:
            self._servers[service] = HttpServer(self._answer_for(service))
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for server in self._servers.values():
            server.close()
        for thread in self._later:
            thread.join(FORWARD_SECONDS)

    def url(self, service: str) -> str:
        return self._servers[service].url

    def _answer_for(self, service: str) -> Callable[[Request], Response | None]:
        return lambda request: self._answer(service, request)

    def _answer(self, service: str, request: Request) -> Response | None:
        named = replace(request, path=self._prefixes[service] + request.path)
        route, _ = self._router.find(named.method, named.path)
        named = replace(named, operation=route.name(named))
        with self._lock:
            call = self.audit.add(named, self._clock())
            effect = self.faults.effect_on(named)
        assert not isinstance(effect, StaleRead), "it does not know what was"
        if isinstance(effect, Slow):
            self._sleep(effect.seconds)
        response = apply(effect, lambda: self._forward(service, request), self._run_later)
        call.status = response.status if response is not None else 0
        return response

    def _run_later(self, seconds: float, work: Callable[[], object]) -> None:
        if seconds <= 0:
            work()
            return

        def wait_and_work() -> None:
            self._sleep(seconds)
            work()

        thread = threading.Thread(target=wait_and_work, name="late call")
        self._later.append(thread)
        thread.start()

    def _forward(self, service: str, request: Request) -> Response:
        """Return the service's response; what a proxy says if it does not answer."""
        place = urlsplit(self._services[service]).netloc
        query = urlencode(request.query, doseq=True)
        body = msgspec.json.encode(request.body) if request.body is not None else None
        headers = _passed_on(request.headers) | {"Content-Type": "application/json"}
        connection = http.client.HTTPConnection(place, timeout=FORWARD_SECONDS)
        try:
            target = f"{request.path}?{query}" if query else request.path
            connection.request(request.method, target, body, headers)
            found = connection.getresponse()
            return Response(found.status, _parsed(found), _passed_on(dict(found.getheaders())))
        except (OSError, http.client.HTTPException):
            return proxy_page(502)
        finally:
            connection.close()
            if request.method != "GET":
                self.changed.set()


def _router() -> Router:
    """Return the fake's routes, for the names of calls."""
    state = CloudState("", lambda: 0.0, random.Random(0))  # noqa: S311 no secret
    apis = (Keystone(state, ""), NeutronApi(state), NovaApi(state))
    return Router([route for api in apis for route in api.routes()])


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in headers.items() if name.lower() not in _NOT_PASSED_ON}


def _parsed(response: http.client.HTTPResponse) -> Any:
    body = response.read()
    if not body:
        return None
    is_json = "json" in response.headers.get("Content-Type", "")
    return json.loads(body) if is_json else body.decode(errors="replace")
