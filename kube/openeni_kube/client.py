"""The real store: Kubernetes' own client as a transport for JSON.

Only this module imports `kubernetes`. It uses what is hard to get right (kubeconfig, service
account with rotating token, TLS, connection pool) and not the typed models, which cost memory and
time for nothing: our models are msgspec's.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from kubernetes import config
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from openeni_crds.meta import DECODE_ERRORS, Json
from openeni_crds.names import Kind
from openeni_kube.store import (
    PAGE_SIZE,
    ConflictError,
    NotFoundError,
    Page,
    UnreachableError,
    Watch,
    object_key,
)
from openeni_kube.watches.event_stream import open_watch
from openeni_kube.wire import is_loopback, object_path, one_line, parse_error, selectors

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 20.0
# A watch receives a bookmark about once a minute (apiserver cacher: defaultBookmarkFrequency).
WATCH_READ_SECONDS: Final = 90.0
TOKEN_SECONDS: Final = 60.0  # as old as a token file's content may get; kubelet rotates hourly
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_loaders: Any = config  # untyped


class NotConfiguredError(Exception):
    """No API server is configured; the message says what to do."""


def connect(
    *, agent: str, connections: int = 16, kubeconfig: str = "", context: str = ""
) -> "KubeStore":
    """Return a store for the API server that `kubeconfig`, $KUBECONFIG or the pod's account names.

    `agent` names the program in the API server's log and as field manager, `context` is one of the
    kubeconfig's, `connections` how many threads may talk before connections are dropped.
    Raise NotConfiguredError with one line for people.
    """
    configuration = Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG", "")
    if path:
        load = _Reloader(partial(_load_kubeconfig, path, context or None))
    elif os.environ.get("KUBERNETES_SERVICE_HOST"):
        load = _Reloader(_load_service_account)
    else:
        raise NotConfiguredError(
            "no Kubernetes API server is configured: set KUBECONFIG to a kubeconfig file, "
            "or run in a pod with a service account"
        )
    load(configuration)
    configuration.retries = False  # urllib3: no retries and no redirects
    configuration.connection_pool_maxsize = connections
    client = ApiClient(configuration)
    client.user_agent = agent
    return KubeStore(client)


class _Reloader:
    """Loads again once a minute, so that a new token is used; whatever the wall clock does."""

    def __init__(self, load: Callable[[Any], None]) -> None:
        self._load = load
        self._due = 0.0

    def __call__(self, configuration: Any) -> None:
        """Set host, trust and token unless they are new, and have this called before requests."""
        if time.monotonic() >= self._due:
            self._load(configuration)
            self._due = time.monotonic() + TOKEN_SECONDS
            configuration.refresh_api_key_hook = self  # in place of the loaders' own


def _load_kubeconfig(path: str, context: str | None, configuration: Any) -> None:
    configuration.proxy = None  # now it may become the kubeconfig's own
    try:
        _loaders.load_kube_config(
            path, context, client_configuration=configuration, persist_config=False
        )
    except Exception as error:  # whatever a user's file makes the loader raise
        raise NotConfiguredError(
            f"kubeconfig {path!r} cannot be used: {one_line(error)}"
        ) from error
    if configuration.proxy is None and not is_loopback(configuration.host):  # as kubectl
        configuration.proxy = Configuration(host=configuration.host).proxy


def _load_service_account(configuration: Any) -> None:
    try:
        _loaders.load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise NotConfiguredError(
            f"the pod's service account cannot be used: {one_line(error)}"
        ) from error
    configuration.proxy = None  # HTTPS_PROXY is for the cloud's API, which is not in the cluster


class KubeStore:
    """`store.Store` on a real API server. Safe to use from many threads."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        return self.request("GET", object_path(kind, name, namespace))

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        pages = list(self._pages(kind, selectors(field_selector, label_selector)))
        items = tuple(item for page in pages for item in page.items)
        return Page(items, pages[-1].resource_version)

    def pages(
        self, kind: Kind, *, field_selector: str = "", label_selector: str = ""
    ) -> Iterator[tuple[Json, ...]]:
        yield from (p.items for p in self._pages(kind, selectors(field_selector, label_selector)))

    def list_versions(self, kind: Kind) -> dict[str, str]:
        return {
            object_key(item): item["metadata"]["resourceVersion"]
            for page in self._pages(kind, {}, accept=METADATA_ONLY)
            for item in page.items
        }

    def version(self, kind: Kind) -> str:
        page = self.request("GET", object_path(kind), query={"limit": "1"}, accept=METADATA_ONLY)
        return str(page["metadata"]["resourceVersion"])

    def _pages(
        self, kind: Kind, query: dict[str, str], accept: str = "application/json"
    ) -> Iterator[Page]:
        query |= {"limit": str(PAGE_SIZE)}
        words = {"apiVersion": kind.api_version, "kind": kind.name}  # built-in kinds' items lack it
        while True:
            page = self.request("GET", object_path(kind), query=query, accept=accept)
            items = tuple(words | item for item in page["items"] or ())  # null of metadata
            yield Page(items, page["metadata"]["resourceVersion"])
            if not page["metadata"].get("continue"):
                return
            query["continue"] = page["metadata"]["continue"]

    def watch(
        self,
        kind: Kind,
        resource_version: str,
        *,
        field_selector: str = "",
        label_selector: str = "",
        seconds: int = 300,
    ) -> Watch:
        query = selectors(field_selector, label_selector) | {
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        return open_watch(
            self.send(
                "GET", object_path(kind), query=query, read_timeout=WATCH_READ_SECONDS, last=True
            )
        )

    def create(self, kind: Kind, body: Json) -> Json:
        path = object_path(kind, namespace=body["metadata"].get("namespace", ""))
        return self.request("POST", path, body=body)

    def apply(
        self, kind: Kind, body: Json, *, manager: str, subresource: str = "", force: bool = True
    ) -> Json:
        meta = body["metadata"]
        return self.request(
            "PATCH",
            object_path(kind, meta["name"], meta.get("namespace", ""), subresource),
            query={"fieldManager": manager, "force": "true" if force else "false"},
            body={"apiVersion": kind.api_version, "kind": kind.name} | body,
            content_type="application/apply-patch+yaml",
        )

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        operations: Sequence[Mapping[str, object]],
        subresource: str = "",
    ) -> Json:
        return self.request(
            "PATCH",
            object_path(kind, name, namespace, subresource),
            body=list(operations),
            content_type="application/json-patch+json",
        )

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        options: Json = {"propagationPolicy": "Background"}
        options |= {"preconditions": {"uid": uid}} if uid else {}
        try:
            self.request("DELETE", object_path(kind, name, namespace), body=options)
        except NotFoundError:
            return
        except ConflictError:
            # 409: another uid, or a webhook or the API server refused to delete this one
            if not uid or self._is_there(kind, name, namespace, uid):
                raise

    def _is_there(self, kind: Kind, name: str, namespace: str, uid: str) -> bool:
        try:
            return bool(self.get(kind, name, namespace)["metadata"]["uid"] == uid)
        except NotFoundError:
            return False

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Json:
        """Make one request and return the answer's JSON; errors are StoreErrors."""
        response = self.send(
            method, path, query=query, body=body, content_type=content_type, accept=accept
        )
        with _transport_errors():
            answer: Json = msgspec.json.decode(response.data)
        return answer

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        read_timeout: float = 0,
        last: bool = False,
    ) -> Any:
        """Return urllib3's response, its body unread; raise for every status but 2xx.

        `read_timeout` is how many seconds may pass without a byte, if not ANSWER_SECONDS; `last`
        has the connection closed after it.
        """
        seconds = (CONNECT_SECONDS, read_timeout or ANSWER_SECONDS)
        url = self.client.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        with _transport_errors():
            headers = {**self.client.default_headers, "Accept": accept} | self.authorization()
            if body is not None:
                headers["Content-Type"] = content_type
            if last:
                headers["Connection"] = "close"
            response = self.client.call_api(
                method, url, headers, body, _request_timeout=seconds
            ).response
            if response.status >= 300:  # noqa: PLR2004 - HTTP's
                raise parse_error(response.status, response.data)
        return response

    def authorization(self) -> dict[str, str]:
        """Return the token's header; asking makes the client read a rotated token again."""
        return {
            each["key"]: each["value"]
            for each in self.client.configuration.auth_settings().values()
            if each["value"]
        }


@contextmanager
def _transport_errors() -> Generator[None]:
    """Raise every failure to get a valid response as UnreachableError."""
    try:
        yield
    except (HTTPError, ApiException, OSError, ConfigException, NotConfiguredError) as error:
        raise UnreachableError(0, one_line(error)) from error
    except DECODE_ERRORS as error:  # something between us and the API server answered
        raise UnreachableError(0, f"the answer is not JSON: {one_line(error)}") from error
