"""Keystone v3: log-in by password or application credential, tokens and the catalog."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final, cast

from openeni_testing.fake_openstack.messages import (
    ApiError,
    Caller,
    Json,
    Request,
    Response,
    Route,
)
from openeni_testing.fake_openstack.responses import unauthorized
from openeni_testing.fake_openstack.state import CloudState

ROOT: Final = "/identity/v3"
DOMAIN: Final = "default"
_SERVICES: Final = {"identity": ROOT, "network": "/networking", "compute": "/compute/v2.1"}


@dataclass
class Project:
    """A project with one user and one application credential; a disabled one cannot log in."""

    id: str
    name: str
    password: str
    credential_id: str
    secret: str
    admin: bool = False
    enabled: bool = True
    expires_at: str | None = None  # of its application credential, in Keystone's form
    shows_credential: bool = True  # its access rules, if it has any, permit that it reads itself

    @property
    def user(self) -> str:
        return f"{self.name}-user"


@dataclass(frozen=True)
class _Token:
    caller: Caller
    expires_at: float


class Keystone:
    """Handlers run with the state's lock; the other methods take it."""

    def __init__(self, state: CloudState, region: str) -> None:
        self._state = state
        self._region = region
        self._tokens: dict[str, _Token] = {}
        self.projects: dict[str, Project] = {}

    def add_project(self, name: str, *, project_id: str = "", admin: bool = False) -> Project:
        with self._state.lock:
            project = Project(
                id=project_id or self._new_secret(),
                name=name,
                password=self._new_secret(),
                credential_id=self._new_secret(),
                secret=self._new_secret(),
                admin=admin,
            )
            self.projects[project.id] = project
            return project

    def expire_tokens(self) -> None:
        """Make all services reject the tokens there are; a new log-in succeeds."""
        with self._state.lock:
            self._tokens.clear()

    def caller_of(self, token_id: str) -> Caller:
        """Return whom a token belongs to; raise a service's 401 if it is invalid."""
        token = self._tokens.get(token_id)
        if token is None or token.expires_at <= self._state.clock():
            raise ApiError(unauthorized())
        return token.caller

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/identity", "discover", self._versions, needs_token=False),
            Route("GET", ROOT, "discover", self._version, needs_token=False),
            Route("POST", f"{ROOT}/auth/tokens", "connect", self._log_in, needs_token=False),
            Route(
                "GET",
                f"{ROOT}/users/{{user_id}}/application_credentials/{{credential_id}}",
                "get credential",
                self._credential,
            ),
        ]

    def _versions(self, request: Request) -> Response:
        return Response(300, {"versions": {"values": [_version(request)]}})

    def _version(self, request: Request) -> Response:
        return Response(200, {"version": _version(request)})

    def _log_in(self, request: Request) -> Response:
        methods, project = self._authenticate(request.body)
        token_id = self._new_secret()
        lifetime = self._state.settings.token_seconds
        expires_at = self._state.clock() + lifetime
        self._tokens[token_id] = _Token(Caller(project.id, project.admin), expires_at)
        issued = dt.datetime.now(dt.UTC)  # clients compare it with their own clock
        role = "admin" if project.admin else "member"
        domain = {"id": DOMAIN, "name": "Default"}
        token: Json = {
            "methods": methods,
            "user": {"id": f"{project.id}-user", "name": project.user, "domain": domain},
            "project": {"id": project.id, "name": project.name, "domain": domain},
            "roles": [{"id": role, "name": role}],
            "issued_at": _time(issued),
            "expires_at": _time(issued + dt.timedelta(seconds=lifetime)),
            "catalog": [self._service(kind, request) for kind in _SERVICES],
        }
        if methods == ["application_credential"]:
            token["application_credential"] = {"id": project.credential_id, "restricted": True}
        return Response(201, {"token": token}, {"X-Subject-Token": token_id})

    def _credential(self, request: Request, user_id: str, credential_id: str) -> Response:
        """Show a credential to its owner; without the access rule a request counts as nobody's."""
        project = self.projects[request.caller.project_id]
        if not project.shows_credential:
            raise ApiError(unauthorized())
        if (user_id, credential_id) != (f"{project.id}-user", project.credential_id):
            error = {"code": 403, "title": "Forbidden", "message": "You are not authorized."}
            raise ApiError(Response(403, {"error": error}))
        body: Json = {
            "id": credential_id,
            "name": "openeni",
            "project_id": project.id,
            "expires_at": project.expires_at,
            "unrestricted": False,
        }
        return Response(200, {"application_credential": body})

    def _authenticate(self, body: Any) -> tuple[list[str], Project]:
        """Return the methods of a log-in and its project; raise a 401 if it is wrong."""
        try:
            auth = cast("Json", body["auth"])
            methods = cast("list[str]", auth["identity"]["methods"])
            for project in self.projects.values():
                if project.enabled and _is_login_of(project, auth, methods):
                    return methods, project
        except (KeyError, TypeError, IndexError):
            message = "Expecting to find auth.identity in the request body"
            error = {"code": 400, "title": "Bad Request", "message": message}
            raise ApiError(Response(400, {"error": error})) from None
        raise ApiError(unauthorized())

    def _service(self, kind: str, request: Request) -> Json:
        endpoint = {
            "id": f"{kind}-endpoint",
            "interface": "public",
            "region": self._region,
            "region_id": self._region,
            "url": request.base_url + _SERVICES[kind],
        }
        return {"id": kind, "type": kind, "name": kind, "endpoints": [endpoint]}

    def _new_secret(self) -> str:
        return f"{self._state.dice.getrandbits(128):032x}"


def _is_login_of(project: Project, auth: Json, methods: list[str]) -> bool:
    if methods == ["application_credential"]:
        credential = auth["identity"]["application_credential"]
        return (credential["id"], credential["secret"]) == (project.credential_id, project.secret)
    user = auth["identity"]["password"]["user"]
    wanted = auth["scope"]["project"]
    return (
        methods == ["password"]
        and (user["name"], user["password"]) == (project.user, project.password)
        and project.id
        in (wanted.get("id"), project.id if wanted.get("name") == project.name else "")
    )


def _version(request: Request) -> Json:
    link = {"rel": "self", "href": f"{request.base_url}{ROOT}/"}
    return {"id": "v3.14", "status": "stable", "links": [link], "media-types": []}


def _time(date: dt.datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
