"""A fake OpenStack that speaks HTTP: Keystone, Neutron and Nova for the real openstacksdk.

What it models is the behaviour that the operator must survive, read from the services' source. The
contract suite in `tests/operator/cloud/test_contract.py` runs against it and against real services:
where they differ, the fake is wrong. Use:

    with FakeOpenStack() as cloud:
        cloud.state.add_subnet(cloud.state.add_network(), "pods", "10.98.0.0/22")
        cloud.write_clouds_yaml(path)
        cloud.faults.add("create port", NoAnswer())
        ...
        assert cloud.audit.counts["create port"] == 1
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from openeni_testing.fake_openstack import nova
from openeni_testing.fake_openstack.audit import DISCOVERY, Audit, Latency
from openeni_testing.fake_openstack.faults import Effect, FaultPlan, Slow, StaleRead, apply
from openeni_testing.fake_openstack.http_server import HttpServer
from openeni_testing.fake_openstack.keystone import DOMAIN, Keystone, Project
from openeni_testing.fake_openstack.messages import ApiError, Request, Response, Route, Router
from openeni_testing.fake_openstack.neutron.api import NeutronApi
from openeni_testing.fake_openstack.state import CloudState

REGION: Final = "RegionOne"
_NOT_COUNTED: Final = (DISCOVERY, "connect")
_TO_NOVA: Final = ("attach port", "detach port")


class FakeOpenStack:
    """One region with a project, at a port of its own. `seed` fixes IDs and choices.

    With a clock of its own, a test gives a `sleep` that advances it, and no call waits. Work that
    is due later is done before the next call, or by `state.settle()`.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        region: str = REGION,
        seed: int = 0,
    ) -> None:
        dice = random.Random(seed)  # noqa: S311 no secret of anybody
        self.state = CloudState(f"{dice.getrandbits(128):032x}", clock, dice)
        self.settings = self.state.settings
        self.keystone = Keystone(self.state, region)
        self.project = self.keystone.add_project("project", project_id=self.state.project_id)
        self.region = region
        self.faults = FaultPlan()
        self.latency = Latency()
        self.audit = Audit()
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._mistakes: list[Exception] = []
        self._router = Router(
            [
                *self.keystone.routes(),
                *NeutronApi(self.state).routes(),
                *nova.NovaApi(self.state).routes(),
            ]
        )
        self._server: HttpServer | None = None

    def __enter__(self) -> Self:
        self._server = HttpServer(self._answer)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        if self._server is not None:
            self._server.close()
        if self._mistakes and error is None:
            raise self._mistakes[0]

    @property
    def url(self) -> str:
        assert self._server is not None, "use it in a with statement"
        return self._server.url

    def clouds_entry(self, project: Project | None = None, *, password: bool = False) -> Any:
        """Return an entry of a clouds.yaml, with an application credential or the password."""
        of = project or self.project
        auth: dict[str, str] = {"auth_url": f"{self.url}/identity/v3"}
        entry: dict[str, Any] = {"auth": auth, "region_name": self.region}
        if password:
            auth |= {"username": of.user, "password": of.password, "project_name": of.name}
            auth |= {"user_domain_id": DOMAIN, "project_domain_id": DOMAIN}
        else:
            auth |= {"application_credential_id": of.credential_id}
            auth |= {"application_credential_secret": of.secret}
            entry["auth_type"] = "v3applicationcredential"
        return entry

    def write_clouds_yaml(
        self,
        path: Path,
        name: str = "default",
        *,
        project: Project | None = None,
        password: bool = False,
    ) -> None:
        """Write the entry of this cloud; the others of a file that exists are kept."""
        content: Any = yaml.safe_load(path.read_text()) if path.exists() else {"clouds": {}}
        content["clouds"][name] = self.clouds_entry(project, password=password)
        path.write_text(yaml.safe_dump(content))

    def _answer(self, request: Request) -> Response | None:
        """Return the response to a request; None closes the connection."""
        try:
            return self._handle(request)
        except Exception as error:  # noqa: BLE001 raised where the test sees it, at the end
            self._mistakes.append(error)
            return Response(500, f"The fake cloud failed: {error!r}")

    def _handle(self, request: Request) -> Response | None:
        route, parameters = self._router.find(request.method, request.path)
        request = replace(request, operation=route.name(request))
        with self.state.lock:
            if request.operation not in _NOT_COUNTED:
                self.state.call_number += 1
            call = self.audit.add(request, self.state.clock())
            effect = self.faults.effect_on(request)
            addresses = self._addresses_on(parameters.get("server_id", ""), request.operation)
        seconds = self.latency.seconds(request.operation, addresses)
        seconds += effect.seconds if isinstance(effect, Slow) else 0
        if seconds:
            self._sleep(seconds)
        if self._closed.is_set():
            return None
        with self.state.lock:
            self.state.settle()
            response = self._apply(effect, request, lambda r: self._work(route, r, parameters))
            call.status = response.status if response is not None else 0
        return response

    def _apply(
        self, effect: Effect | None, request: Request, work: Callable[[Request], Response]
    ) -> Response | None:
        if isinstance(effect, StaleRead):
            moment = self.state.moment_before(effect.seconds, effect.calls)
            request = replace(request, moment=moment)
        return apply(effect, lambda: work(request), self.state.run_later)

    def _work(self, route: Route, request: Request, parameters: dict[str, str]) -> Response:
        try:
            if route.needs_token:
                caller = self.keystone.caller_of(request.headers.get("x-auth-token", ""))
                request = replace(request, caller=caller)
            return route.handle(request, **parameters)
        except ApiError as error:
            return error.response

    def _addresses_on(self, server_id: str, operation: str) -> int:
        if operation not in _TO_NOVA or not self.latency.per_address:
            return 0
        return sum(len(p.addresses) for p in self.state.ports.all() if p.device_id == server_id)
