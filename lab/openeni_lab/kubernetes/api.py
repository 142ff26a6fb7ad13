"""A small client of the API server for the lab itself: readiness, objects, watches, tokens.

It uses the standard library's HTTP, since the lab must not share a client with the code it tests.
"""

import http.client
import json
import ssl
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import yaml

from openeni_lab.kubernetes import kubeconfig

Json = dict[str, Any]

CALL_SECONDS: Final = 30.0
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
FIELD_MANAGER: Final = "openeni-lab"
NOT_FOUND: Final = 404
CONFLICT: Final = 409
REFUSED: Final = 400


class ApiError(Exception):
    """The API server refused a request, or did not answer (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A client that uses a kubeconfig file of the lab."""

    def __init__(self, path: Path) -> None:
        access = kubeconfig.read(path)
        where = urlsplit(access.server)
        self._host, self._port = where.hostname or "", where.port or 443
        self._context = ssl.create_default_context(cadata=access.authority.decode())
        with tempfile.NamedTemporaryFile() as pem:  # the ssl module reads keys only from files
            pem.write(access.client.certificate + access.client.key)
            pem.flush()
            self._context.load_cert_chain(pem.name)

    def request(
        self, method: str, path: str, body: Json | None = None, content: str = "application/json"
    ) -> Json:
        """Send one request; raise ApiError with the server's message."""
        connection = self._connection(CALL_SECONDS)
        try:
            encoded = None if body is None else json.dumps(body)
            connection.request(method, path, encoded, {"Content-Type": content})
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"the API server does not answer: {error}") from error
        finally:
            connection.close()
        if status >= REFUSED:
            raise ApiError(status, _message(text))
        answer: Json = json.loads(text) if text[:1] == b"{" else {"text": text.decode()}
        return answer

    def get(self, path: str) -> Json | None:
        """Return an object, or None if it does not exist."""
        try:
            return self.request("GET", path)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def items(self, path: str, **query: str) -> list[Json]:
        """Return every object of a collection; `query` may have labelSelector, fieldSelector."""
        suffix = f"?{urlencode(query)}" if query else ""
        found: list[Json] = self.request("GET", f"{path}{suffix}")["items"]
        return found

    def watch(self, path: str, version: str, seconds: int, **query: str) -> Generator[Json]:
        """Yield the events after a resourceVersion, for `seconds`; afterwards, list again."""
        asked = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        connection = self._connection(seconds + CALL_SECONDS)
        try:
            connection.request("GET", f"{path}?{urlencode({**query, **asked})}")
            response = connection.getresponse()
            if response.status >= REFUSED:
                raise ApiError(response.status, _message(response.read()))
            for line in response:
                yield json.loads(line)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"the watch broke: {error}") from error
        finally:
            connection.close()

    def delete(self, path: str, options: Json | None = None) -> None:
        """Delete an object; do nothing if it does not exist."""
        try:
            self.request("DELETE", path, options)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise

    def apply(self, objects: Iterable[Json]) -> None:
        """Apply objects (server-side), in order. The server must already serve their kinds."""
        for manifest in objects:
            query = urlencode({"fieldManager": FIELD_MANAGER, "force": "true"})
            self.request("PATCH", f"{self.path_of(manifest)}?{query}", manifest, APPLY)

    def apply_text(self, text: str) -> None:
        """Apply the objects of a YAML text."""
        self.apply(document for document in yaml.safe_load_all(text) if document)

    def path_of(self, manifest: Json) -> str:
        """Return an object's path. Raises ApiError if the server does not serve its kind."""
        version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        resources = self.request("GET", root)["resources"]
        found = [r for r in resources if r["kind"] == kind and "/" not in r["name"]]
        if not found:
            raise ApiError(NOT_FOUND, f"the API server knows no {kind} in {version}")
        if found[0]["namespaced"]:
            root += f"/namespaces/{metadata.get('namespace', 'default')}"
        return f"{root}/{found[0]['name']}/{metadata['name']}"

    def _connection(self, seconds: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=seconds, context=self._context
        )

    def ready(self) -> bool:
        """Return True if the API server reports that it is ready."""
        try:
            return bool(self.request("GET", "/readyz")["text"] == "ok")
        except ApiError:
            return False

    def token(self, namespace: str, account: str, bound_to: Json, seconds: int = 86400) -> str:
        """Return a service account's token, valid while the Node or Pod `bound_to` exists."""
        reference = {
            "apiVersion": "v1",
            "kind": bound_to["kind"],
            "name": bound_to["metadata"]["name"],
            "uid": bound_to["metadata"]["uid"],
        }
        spec = {"expirationSeconds": seconds, "boundObjectRef": reference}
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        return str(answer["status"]["token"])


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError):
        return text.decode(errors="replace").strip()[:300]
