"""Look at the ports of this cluster in one cloud, and at the ENIs: two lists."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from openeni_crds.meta import parse_time
from openeni_crds.names import ENIS, cluster_tag
from openeni_kube.store import Store
from openeni_operator.cloud.api import Cloud, Port
from openeni_operator.cluster_state import ClusterState
from openeni_operator.sweep.ownership import is_proven, named_enis
from openeni_operator.sweep.plan import PortFacts


@dataclass(frozen=True)
class Sources:
    """Where a look finds its facts."""

    state: ClusterState
    store: Store
    cluster_id: str
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds


@dataclass(frozen=True)
class Look:
    """What one look has found."""

    ports: tuple[PortFacts, ...]
    lost: frozenset[tuple[str, str]]  # names of ENIs, and the recorded ports that are not listed


def look(sources: Sources, cloud: Cloud, name: str) -> Look:
    """List the ports, and only then the ENIs: an ENI is older than its port.

    Raises CloudError and StoreError: an error is not evidence of absence.
    """
    recorded = {
        (eni.name, eni.status.port.id)
        for eni in sources.state.enis()
        if eni.spec.cloud == name and eni.status.port
    }
    ports = cloud.ports_tagged(cluster_tag(sources.cluster_id))
    listed = {port.id for port in ports}
    uids = _list_enis(sources)
    nodes = {node.server_id for node in sources.state.nodes()}
    now = parse_time(sources.now())
    return Look(
        tuple(_facts(port, sources.cluster_id, uids, nodes, now) for port in ports),
        frozenset((eni, port) for eni, port in recorded if port not in listed),
    )


def _list_enis(sources: Sources) -> frozenset[str]:
    """Return the UIDs of all ENIs, valid or not, that the API server or the cache has."""
    pages = sources.store.pages(ENIS)
    listed = {body["metadata"]["uid"] for page in pages for body in page}
    return frozenset(listed | {eni.metadata.uid for eni in sources.state.enis()})


def _facts(
    port: Port, cluster_id: str, uids: frozenset[str], nodes: set[str], now: datetime
) -> PortFacts:
    return PortFacts(
        port.id,
        proven=is_proven(port, cluster_id),
        has_eni=bool(named_enis(port, cluster_id) & uids),
        server_id=port.device_id,
        on_node=port.device_id in nodes,
        age=_age(port, now),
    )


def _age(port: Port, now: datetime) -> float | None:
    """Return the seconds since Neutron created the port; None if it does not say."""
    try:
        return (now - parse_time(port.created_at)).total_seconds()
    except ValueError:
        return None
