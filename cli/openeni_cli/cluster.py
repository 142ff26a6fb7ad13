"""Connect to the cluster that an administrator's kubeconfig names, and list what it has."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from openeni_cli.failures import CommandError, explain
from openeni_crds.meta import Json, S, decode
from openeni_crds.names import Kind
from openeni_kube.client import NotConfiguredError, connect
from openeni_kube.containers.exec import KubePodExec, PodExec
from openeni_kube.containers.logs import KubePodLogs, PodLogs
from openeni_kube.store import Store, StoreError, object_key

AGENT: Final = "openeni-cli"
OTHER_RELEASE: Final = "it is of another release: use this command of the operator's release"
CONNECTIONS: Final = 8
LEASE: Final = "openeni-operator"  # its name, in the operator's namespace
SELECTOR_RELEASE: Final = "app.kubernetes.io/name=openeni"  # workloads have no component
DEFAULT_KUBECONFIG: Final = Path(".kube") / "config"  # kubectl's, in the home folder


@dataclass(frozen=True)
class Cluster:
    """A cluster, as commands see it: its API server, and containers by logs and `exec`."""

    store: Store
    logs: PodLogs
    execs: PodExec

    def objects(self, kind: Kind, *, labels: str = "", fields: str = "") -> list[Json]:
        """Return all objects of a kind. Raises CommandError."""
        with asked(f"cannot list {kind.plural}"):
            found = self.store.list(kind, label_selector=labels, field_selector=fields)
        return list(found.items)

    def models(self, kind: Kind, model: type[S], *, fields: str = "") -> list[S]:
        """Return all objects of a kind of openeni's. Raises CommandError."""
        return [decoded(body, model) for body in self.objects(kind, fields=fields)]


# By the path of a kubeconfig and the name of a context; raises CommandError.
Connector: TypeAlias = Callable[[str, str], Cluster]


def decoded(body: Json, model: type[S]) -> S:
    """Return an object as a value. Raises CommandError where it is not as this release knows it."""
    try:
        return decode(body, model)
    except msgspec.ValidationError as error:
        raise CommandError(
            f"{body['kind']} {object_key(body)}: {error}; {OTHER_RELEASE}"
        ) from error


@contextmanager
def asked(what: str) -> Generator[None]:
    """Turn an error of the API server into a CommandError."""
    try:
        yield
    except StoreError as error:
        raise CommandError(explain(error, what)) from error


def connect_to(kubeconfig: str, context: str) -> Cluster:
    """Connect as `kubectl` would: the option, $KUBECONFIG, ~/.kube/config, the pod's account."""
    path = kubeconfig or os.environ.get("KUBECONFIG", "")
    default = Path.home() / DEFAULT_KUBECONFIG
    if not path and default.is_file():
        path = str(default)
    try:
        store = connect(agent=AGENT, connections=CONNECTIONS, kubeconfig=path, context=context)
    except NotConfiguredError as error:
        raise CommandError(f"{error}; --kubeconfig and --context name others") from error
    return Cluster(store, KubePodLogs(store), KubePodExec(store))
