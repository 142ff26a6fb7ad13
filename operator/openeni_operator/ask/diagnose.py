"""Look at objects, Neutron and Nova for `openeni diagnose`, and compare them."""

from collections.abc import Callable, Iterable
from datetime import datetime

from openeni_crds.eni import ENI
from openeni_crds.names import cluster_tag
from openeni_kube.answers import Diagnosis
from openeni_kube.store import Store
from openeni_operator.ask.cluster import list_cluster, list_podips
from openeni_operator.ask.differences import CloudFacts, Facts, compare
from openeni_operator.ask.patience import patiently
from openeni_operator.cloud.api import Cloud, Port
from openeni_operator.cloud.errors import CloudError, ResourceNotFoundError


def diagnose(store: Store, cloud: Callable[[str], Cloud], own: str, now: datetime) -> Diagnosis:
    """Return what differs now; `own` is the cluster's ID. Raises StoreError.

    A cloud that does not answer is in `unread`.
    """
    listed = list_cluster(store)
    podips, ignored = list_podips(store)
    unread = [*listed.ignored, *ignored]
    clouds: dict[str, CloudFacts] = {}
    enis = tuple(listed.state.enis())
    for name in sorted(listed.state.clouds()):
        ours = [eni for eni in enis if eni.spec.cloud == name]
        try:
            clouds[name] = _look(patiently(cloud, name), own, ours)
        except CloudError as error:
            unread.append(f"cloud {name!r}: {error.message}")
    differences = compare(Facts(own, now, enis, podips, clouds))
    ports = sum(len(facts.ports) for facts in clouds.values())
    compared = {"ENIs": len(enis), "ports": ports, "PodIPs": len(podips)}
    return Diagnosis(differences, compared, tuple(unread))


def _look(cloud: Cloud, own: str, enis: Iterable[ENI]) -> CloudFacts:
    """Look at a cloud: one list, and one read of each port and server that may be missing."""
    found = {port.id: port for port in patiently(cloud.ports_tagged, cluster_tag(own))}
    servers: set[str] = set()
    for eni in enis:
        servers.add(eni.spec.server_id)
        recorded = eni.status.port
        if recorded is not None and recorded.id not in found:
            port = _port(cloud, recorded.id)
            found |= {recorded.id: port} if port is not None else {}
    missing = {s for s in servers if not patiently(cloud.server_exists, s)}
    return CloudFacts(cloud.place, found, frozenset(missing))


def _port(cloud: Cloud, port_id: str) -> Port | None:
    """Return a port that has lost its tag; None if Neutron has none of that ID."""
    try:
        return patiently(cloud.port, port_id)
    except ResourceNotFoundError:
        return None
