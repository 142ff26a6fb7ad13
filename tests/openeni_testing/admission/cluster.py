"""A real API server with the chart's kinds and rights, and its admission policies on demand."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from openeni_crds.meta import Json
from openeni_crds.names import ENIS, Kind
from openeni_kube.client import KubeStore, connect
from openeni_kube.store import ConflictError, StoreError
from openeni_kube.wire import object_path
from openeni_lab.kubernetes import kubeconfig
from openeni_lab.kubernetes.api import Api
from openeni_lab.kubernetes.certificates import Identity
from openeni_lab.product import chart
from openeni_testing.admission import bodies
from openeni_testing.lab.api_server import ApiServer
from openeni_testing.objects import unique
from openeni_testing.waiting import wait_for

_ADMISSION: Final = "admissionregistration.k8s.io"
POLICIES: Final = Kind(
    _ADMISSION,
    "v1",
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
    namespaced=False,
)
BINDINGS: Final = Kind(
    _ADMISSION,
    "v1",
    "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicyBinding",
    namespaced=False,
)
ROLE_BINDINGS: Final = Kind(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
REVIEWS: Final = Kind(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
)
ALICE: Final = Identity("alice")  # may do everything that RBAC can give, and is in no group
WRITERS: Final = "openeni-writers"
MANAGER: Final = "openeni-tests"
_ALICES_RIGHTS: Final = "alice-is-admin"


@dataclass
class Cluster:
    """What the chart installs, on an API server of the tests' own."""

    server: ApiServer
    admin: KubeStore  # of system:masters
    documents: tuple[Json, ...]  # as Helm renders them
    folder: Path  # for kubeconfig files
    guarded: bool = False
    _users: dict[Identity, KubeStore] = field(default_factory=dict[Identity, KubeStore])

    def install(self) -> None:
        """Apply the chart's accounts and rights, and give alice those of cluster-admin."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": chart.NAMESPACE}}
        left_out = {"CustomResourceDefinition", POLICIES.name, BINDINGS.name}
        rights = [d for d in chart.objects(self.documents) if d["kind"] not in left_out]
        Api(self.server.kubeconfig).apply([namespace, *rights])
        grant_everything(self, _ALICES_RIGHTS, [{"kind": "User", "name": ALICE.user}])
        wait_for(lambda: may_do_everything(self.user(ALICE)), "alice's rights")

    def guard(self) -> None:
        """Put the policies in force."""
        if self.guarded:
            return
        for kind in (POLICIES, BINDINGS):
            for body in self._in_order(kind):
                self.admin.apply(kind, body, manager=MANAGER)
        self.guarded = True
        wait_for(self._refuses, "the policies are in force")

    def unguard(self) -> None:
        """Take the policies out of force."""
        if not self.guarded:
            return
        for kind in (BINDINGS, POLICIES):
            for body in self._in_order(kind):
                self.admin.delete(kind, body["metadata"]["name"])
        self.guarded = False
        wait_for(lambda: not self._refuses(), "the policies are out of force")

    def remove(self) -> None:
        """Leave the API server to tests that know nothing of the chart."""
        self.unguard()
        self.admin.delete(ROLE_BINDINGS, _ALICES_RIGHTS)

    def user(self, identity: Identity) -> KubeStore:
        """Return the API server as somebody else sees it, by a client certificate."""
        if identity not in self._users:
            path = self.folder / unique("kubeconfig")
            address = kubeconfig.read(self.server.kubeconfig).server
            self.server.control_plane.write_kubeconfig(path, identity, address)
            self._users[identity] = connect(agent=MANAGER, kubeconfig=str(path))
        return self._users[identity]

    def account(
        self, name: str, bound_to: Json | None = None, *, namespace: str = chart.NAMESPACE
    ) -> KubeStore:
        """Return the API server as the holder of an account's token sees it."""
        spec: dict[str, Any] = {"expirationSeconds": 3600}
        if bound_to is not None:
            spec["boundObjectRef"] = {
                "apiVersion": "v1",
                "kind": bound_to["kind"],
                "name": bound_to["metadata"]["name"],
                "uid": bound_to["metadata"]["uid"],
            }
        answer = self.admin.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        config = yaml.safe_load(self.server.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": answer["status"]["token"]}
        path = self.folder / unique("kubeconfig")
        path.write_text(yaml.safe_dump(config))
        return connect(agent=name, kubeconfig=str(path))

    def _in_order(self, kind: Kind) -> list[Json]:
        """Return the policies or bindings, the one that is probed last.

        The API server hears of them in the order of their writes: when the last one is in force,
        or gone, so are the others.
        """
        found = [d for d in self.documents if d["kind"] == kind.name]
        return sorted(found, key=lambda d: bool(d["metadata"]["name"] == WRITERS))

    def _refuses(self) -> bool:
        """Whether openeni-writers is in force."""
        pool = {"metadata": {"name": "nowhere", "uid": "0"}}
        probe = bodies.eni(unique("probe"), "nowhere", pool)
        try:
            self.user(ALICE).request("POST", object_path(ENIS), body=probe, query={"dryRun": "All"})
        except StoreError as error:
            if WRITERS not in error.message:
                raise
            return True
        return False


def grant_everything(cluster: Cluster, name: str, subjects: Iterable[Json]) -> None:
    """Bind cluster-admin to the subjects."""
    role = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "cluster-admin",
    }
    body: Json = {
        "apiVersion": ROLE_BINDINGS.api_version,
        "kind": ROLE_BINDINGS.name,
        "metadata": {"name": name},
        "roleRef": role,
        "subjects": list(subjects),
    }
    with suppress(ConflictError):
        cluster.admin.create(ROLE_BINDINGS, body)


def may_do_everything(store: KubeStore) -> bool:
    """Return whether RBAC gives the store's user every right by now."""
    asked = {"verb": "*", "group": "*", "resource": "*"}
    body: Json = {
        "apiVersion": REVIEWS.api_version,
        "kind": REVIEWS.name,
        "metadata": {},
        "spec": {"resourceAttributes": asked},
    }
    return bool(store.create(REVIEWS, body)["status"]["allowed"])
