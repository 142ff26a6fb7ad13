"""How a program finds its API server, the token that it shows there, and what it asks for."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from openeni_crds.meta import Json
from openeni_crds.names import ENIS, Kind
from openeni_kube import client
from openeni_kube.client import KubeStore, NotConfiguredError, connect
from openeni_kube.store import ConflictError, StoreError, UnreachableError
from openeni_kube.wire import object_path
from openeni_testing.fake_openstack.http_server import HttpServer
from openeni_testing.fake_openstack.messages import Request, Response
from openeni_testing.objects import eni_body, unique

SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
KUBERNETES = "kubernetes.config.incluster_config"
PROXY = "http://10.0.0.2:3128"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def test_no_configuration_at_all_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(NotConfiguredError) as caught:
        connect(agent="test")
    assert "set KUBECONFIG" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [None, "", "just words", "clusters: [", "kind: Config\nclusters: []\n"]
)
def test_a_kubeconfig_that_cannot_be_used_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(NotConfiguredError) as caught:
        connect(agent="test")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pod_without_a_service_account_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(f"{KUBERNETES}.SERVICE_TOKEN_FILENAME", "/nonexistent/token")
    with pytest.raises(NotConfiguredError, match="service account"):
        connect(agent="test")


@pytest.mark.parametrize(
    ("server", "own", "proxy"),
    [
        ("https://10.0.0.1:6443", "", PROXY),
        ("https://127.0.0.1:6443", "", None),
        ("https://localhost:6443", "", None),
        ("https://[::1]:6443", "", None),
        ("https://127.0.0.1:6443", "http://10.0.0.3:8080", "http://10.0.0.3:8080"),
        ("https://127.0.0.1:6443", PROXY, PROXY),
    ],
)
def test_the_environments_proxy_is_not_asked_for_a_server_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, own: str, proxy: str | None
) -> None:
    """As with kubectl; the kubeconfig's own proxy is asked for any server."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, PROXY)
    cluster = {"server": server} | ({"proxy-url": own} if own else {})
    config: Json = {
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    store = connect(agent="test", kubeconfig=str(tmp_path / "kubeconfig"))
    assert store.client.configuration.proxy == proxy


# Tokens that rotate, on the real API server.


def loaded(kubeconfig: Path) -> Json:
    config: Json = yaml.safe_load(kubeconfig.read_text())
    return config


def new_token(store: KubeStore) -> tuple[str, str]:
    """Return the user name and a token of a service account of its own."""
    name = unique("account")
    body: Json = {"metadata": {"name": name, "namespace": "default"}}
    store.create(SERVICE_ACCOUNT, body)
    request: Json = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = object_path(SERVICE_ACCOUNT, name, "default", "token")
    token: str = store.request("POST", path, body=request)["status"]["token"]
    return f"system:serviceaccount:default:{name}", token


def who_am_i(store: KubeStore) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    user: str = store.request("POST", path, body=body)["status"]["userInfo"]["username"]
    return user


@pytest.mark.cluster
def test_a_token_file_in_a_kubeconfig_is_read_again_when_it_was_rotated(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    api_server: Path,
    real_store: KubeStore,
) -> None:
    config = loaded(api_server)
    token_file = tmp_path / "token"
    config["users"][0]["user"] = {"tokenFile": str(token_file)}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    token_file.write_text("not a token")
    monkeypatch.setattr(client, "TOKEN_SECONDS", 0)
    store = connect(agent="test", kubeconfig=str(tmp_path / "kubeconfig"))
    with pytest.raises(StoreError) as caught:
        who_am_i(store)
    assert caught.value.status == 401
    for _ in range(2):
        user, token = new_token(real_store)
        token_file.write_text(token)
        assert who_am_i(store) == user
    token_file.unlink()
    with pytest.raises(UnreachableError, match="kubeconfig"):
        who_am_i(store)


@pytest.mark.cluster
def test_a_pods_service_account_is_used_and_its_rotated_token_read_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    api_server: Path,
    real_store: KubeStore,
) -> None:
    cluster = loaded(api_server)["clusters"][0]["cluster"]
    trust = tmp_path / "ca.crt"
    trust.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    host, port = cluster["server"].removeprefix("https://").split(":")
    token_file = tmp_path / "token"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # to the cloud: nothing answers there
    monkeypatch.setattr(f"{KUBERNETES}.SERVICE_TOKEN_FILENAME", str(token_file))
    monkeypatch.setattr(f"{KUBERNETES}.SERVICE_CERT_FILENAME", str(trust))
    monkeypatch.setattr(client, "TOKEN_SECONDS", 0)
    first, token = new_token(real_store)
    token_file.write_text(token)
    store = connect(agent="test")
    assert who_am_i(store) == first
    second, token = new_token(real_store)
    token_file.write_text(token)
    assert who_am_i(store) == second


@pytest.mark.cluster
def test_what_one_may_not_do_is_an_answer_with_status_403(
    tmp_path: Path, api_server: Path, real_store: KubeStore
) -> None:
    config = loaded(api_server)
    _, token = new_token(real_store)
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    store = connect(agent="test", kubeconfig=str(tmp_path / "kubeconfig"))
    with pytest.raises(StoreError, match="forbidden") as caught:
        store.get(ENIS, "any")
    assert caught.value.status == 403
    assert not isinstance(caught.value, UnreachableError)


@pytest.mark.cluster
def test_versions_are_listed_in_pages_of_metadata(
    monkeypatch: pytest.MonkeyPatch, real_store: KubeStore
) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 1)
    pages: list[Json] = []
    request = real_store.request

    def record(*args: Any, **options: Any) -> Json:
        pages.append(request(*args, **options))
        return pages[-1]

    made = [real_store.create(ENIS, eni_body(unique("eni")))["metadata"] for _ in range(2)]
    monkeypatch.setattr(real_store, "request", record)
    assert real_store.list_versions(ENIS) == {m["name"]: m["resourceVersion"] for m in made}
    assert [len(page["items"]) for page in pages] == [1, 1]
    parts = {part for page in pages for item in page["items"] for part in item}
    assert parts == {"apiVersion", "kind", "metadata"}


# What goes over the wire, at a server that counts.


class Script:
    """An API server that answers each request as it was told to."""

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Response:
        self.asked.append(f"{request.method} {request.path.rpartition('/')[2]}")
        return self.answers.pop(0)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def scripted_store(script: Script, tmp_path: Path) -> Iterator[KubeStore]:
    server = HttpServer(script)
    config: Json = {
        "clusters": [{"name": "test", "cluster": {"server": server.url}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
        "users": [{"name": "test", "user": {"token": "test"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    yield connect(agent="test", kubeconfig=str(tmp_path / "kubeconfig"))
    server.close()


REFUSED = Response(409, {"message": "the object is busy"})


def with_uid(uid: str) -> Response:
    return Response(200, {"metadata": {"name": "e", "uid": uid}})


@pytest.mark.parametrize("found", [with_uid("another"), Response(404, {"message": "not found"})])
def test_a_deletion_that_is_refused_is_done_if_the_object_is_gone(
    script: Script, scripted_store: KubeStore, found: Response
) -> None:
    script.answers = [REFUSED, found]
    scripted_store.delete(ENIS, "e", uid="one")
    assert script.asked == ["DELETE e", "GET e"]


def test_a_deletion_that_is_refused_while_the_object_is_there_is_a_conflict(
    script: Script, scripted_store: KubeStore
) -> None:
    script.answers = [REFUSED, with_uid("one")]
    with pytest.raises(ConflictError, match="the object is busy"):
        scripted_store.delete(ENIS, "e", uid="one")
    assert script.asked == ["DELETE e", "GET e"]


def test_whether_an_object_is_gone_is_not_known_without_an_answer(
    script: Script, scripted_store: KubeStore
) -> None:
    script.answers = [REFUSED, Response(503, {"message": "the API server is starting"})]
    with pytest.raises(UnreachableError):
        scripted_store.delete(ENIS, "e", uid="one")


def test_a_page_is_asked_for_when_it_is_wanted(script: Script, scripted_store: KubeStore) -> None:
    metadata = {"resourceVersion": "1", "continue": "more"}
    script.answers = [Response(200, {"items": [eni_body("a")], "metadata": metadata})]
    script.answers *= 3
    pages = scripted_store.pages(ENIS)
    assert script.asked == []
    for number in (1, 2):
        (item,) = next(pages)
        assert item["metadata"]["name"] == "a"
        assert script.asked == ["GET enis"] * number
