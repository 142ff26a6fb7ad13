"""Requests and responses as the fake's services see them, and their routes."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import unquote

import msgspec

T = TypeVar("T")
Json: TypeAlias = dict[str, Any]
_PARAMETER: Final = re.compile(r"{(\w+)}")


class Moment(NamedTuple):
    """A place in the history of the cloud: a time of its clock, and the number of a call."""

    seconds: float
    call: float


@dataclass(frozen=True)
class Caller:
    """Whom a token belongs to."""

    project_id: str
    admin: bool = False


@dataclass(frozen=True)
class Response:
    """`body` is sent as JSON, a text as HTML, and None as nothing."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


HELD: Final = Response(0)  # no response, and the connection stays until the client gives up


class ApiError(Exception):
    """A refusal by a service."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status}: {response.body}")
        self.response = response


@dataclass(frozen=True)
class Request:
    """A call. `headers` have lower-case names; `moment` is what a stale read sees."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Any = None
    operation: str = ""
    caller: Caller = Caller("")
    moment: Moment | None = None

    @property
    def base_url(self) -> str:
        """Return the URL at which the client has reached the server."""
        return f"http://{self.headers['host']}"


def decode(body: Any, as_type: type[T], refusal: Response) -> T:
    """Return a part of a request body as this type; raise the refusal if it is none."""
    try:
        return msgspec.convert(body, as_type)
    except msgspec.ValidationError:
        raise ApiError(refusal) from None


Handle: TypeAlias = Callable[..., Response]


@dataclass(frozen=True)
class Route:
    """A path of the API. `operation` is the name of the call, which can depend on the query."""

    method: str
    path: str
    operation: str | Callable[[Request], str]
    handle: Handle
    needs_token: bool = True

    def name(self, request: Request) -> str:
        return self.operation if isinstance(self.operation, str) else self.operation(request)


class Router:
    """The routes of all services."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [
            (re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", route.path) + "/?"), route)
            for route in routes
        ]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route of a path as the client has encoded it, and its parameters.

        A path of no service leads to a 404, in the audit as "unknown".
        """
        for pattern, route in self._routes:
            if route.method == method and (found := pattern.fullmatch(path)):
                return route, {name: unquote(text) for name, text in found.groupdict().items()}
        return Route(method, path, "unknown", _refuse, needs_token=False), {}


def _refuse(request: Request) -> Response:
    message = f"The fake cloud does not serve {request.method} {request.path}."
    return Response(404, {"itemNotFound": {"code": 404, "message": message}})
