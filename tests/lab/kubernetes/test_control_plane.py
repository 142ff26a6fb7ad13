"""The control plane as its users see it: rights, certificates, tokens."""

import ssl
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from cryptography import x509

from openeni_lab.kubernetes import kubeconfig
from openeni_lab.kubernetes.api import Api, ApiError
from openeni_lab.kubernetes.certificates import Identity
from openeni_lab.kubernetes.control_plane import KUBE_PROXY, ControlPlane, node_identity
from openeni_lab.layout import NodeLayout
from openeni_lab.machine import steps
from openeni_lab.programs import prepared
from openeni_lab.progress import LogProgress
from openeni_testing.lab.bare_lab import bare_lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.cluster]
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Generator[ControlPlane]:
    program = prepared.read(["kubernetes"]).built.bin
    with bare_lab(tmp_path_factory.mktemp("lab"), "kube") as (lab, machine):
        made = ControlPlane(lab, machine, program)
        steps.run(made.steps(), LogProgress())
        yield made


@pytest.fixture
def api(plane: ControlPlane) -> Api:
    return plane.api()


def as_user(plane: ControlPlane, identity: Identity, tmp_path: Path) -> Api:
    """Return a client with the certificate of a component, through the forwarder."""
    outside = kubeconfig.read(plane.lab.kubeconfig).server
    plane.write_kubeconfig(tmp_path / "kubeconfig", identity, outside)
    return Api(tmp_path / "kubeconfig")


def test_a_second_run_of_the_steps_starts_nothing(plane: ControlPlane) -> None:
    before = plane.machine.list()
    steps.run(plane.steps(), LogProgress())
    assert plane.machine.list() == before


def test_the_controllers_work(api: Api) -> None:
    api.apply_text("{apiVersion: v1, kind: Namespace, metadata: {name: fresh}}")
    path = "/api/v1/namespaces/fresh/serviceaccounts/default"
    wait_for(lambda: api.get(path), "the namespace's account")


def test_the_certificates_pass_the_strictest_verification(plane: ControlPlane) -> None:
    """Python 3.13 verifies strictly by default; on 3.11 the test sets the flag."""
    context = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = x509.load_pem_x509_certificate((plane.folder / "api-server.crt").read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)
    served = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert served == {"127.0.0.1", "10.99.0.1", "10.96.0.1"}
    server.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    authority = x509.load_pem_x509_certificate((plane.folder / "ca.crt").read_bytes())
    usage = authority.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", "ca.crt", "api-server.crt"],
        cwd=plane.folder, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "api-server.crt: OK\n", done.stderr


def test_keys_are_their_owners_alone(plane: ControlPlane) -> None:
    secret = [*plane.folder.glob("*.key"), *plane.folder.glob("*.kubeconfig"), plane.lab.kubeconfig]
    assert len(secret) >= 6
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in secret} == {
        path.name: "0o600" for path in secret
    }


def test_a_node_may_be_itself_and_no_other(plane: ControlPlane, tmp_path: Path) -> None:
    node = as_user(plane, node_identity(NodeLayout("n1", 1)), tmp_path)
    node.request("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    with pytest.raises(ApiError, match=r"node \"n1\" is not allowed to .* node \"n2\"") as refused:
        node.request("POST", "/api/v1/nodes", {"metadata": {"name": "n2"}})
    assert refused.value.status == 403


def test_kube_proxy_may_look_and_not_touch(plane: ControlPlane, tmp_path: Path) -> None:
    proxy = as_user(plane, KUBE_PROXY, tmp_path)
    assert proxy.items("/api/v1/services")
    with pytest.raises(ApiError, match="cannot delete resource"):
        proxy.delete("/api/v1/namespaces/default/services/kubernetes")


def test_a_stranger_is_nobody(plane: ControlPlane, tmp_path: Path) -> None:
    nobody = as_user(plane, Identity("somebody"), tmp_path)
    with pytest.raises(ApiError, match='User "somebody" cannot list resource "pods"'):
        nobody.items("/api/v1/pods")


def test_a_token_bound_to_a_node_ends_with_it(api: Api) -> None:
    node = api.request("POST", "/api/v1/nodes", {"metadata": {"name": "short"}})
    token = api.token("default", "default", {**node, "kind": "Node"})

    def valid() -> bool:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        status = api.request("POST", path, review)["status"]
        extra = status.get("user", {}).get("extra", {})
        return bool(extra.get("authentication.kubernetes.io/node-name") == ["short"])

    assert valid()
    api.delete("/api/v1/nodes/short")
    wait_for(lambda: not valid(), "the token's end")


def test_apply_is_repeatable_and_names_what_it_does_not_know(api: Api) -> None:
    manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: '1'}}"
    for _ in range(2):
        api.apply_text(manifest)
    found = api.get("/api/v1/namespaces/default/configmaps/c")
    assert found
    assert found["data"] == {"a": "1"}
    with pytest.raises(ApiError, match="the API server knows no Gadget in v1"):
        api.apply_text("{apiVersion: v1, kind: Gadget, metadata: {name: g}}")


def test_a_watch_tells_what_happens_after_a_list(api: Api) -> None:
    listed = api.request("GET", ACCOUNTS)
    api.apply_text("{apiVersion: v1, kind: ServiceAccount, metadata: {name: watched}}")
    events = api.watch(ACCOUNTS, listed["metadata"]["resourceVersion"], 20)
    event = next(events)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "watched")
    events.close()


def test_no_api_server_is_one_line(plane: ControlPlane, tmp_path: Path) -> None:
    plane.write_kubeconfig(tmp_path / "k", Identity("x"), "https://127.0.0.1:1")
    with pytest.raises(ApiError, match=r"^the API server does not answer: .*refused"):
        Api(tmp_path / "k").get("/version")
