"""Build the bodies of a PodIP from a grant. Pure."""

from typing import Any

from msgspec.structs import replace

from openeni_crds import names
from openeni_crds.conditions import Condition, Reason, Type, condition, merge
from openeni_crds.datapath_mode import DatapathMode
from openeni_crds.meta import Json, encode
from openeni_crds.podip import PodIP, PodIPSpec
from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.grants.ledger import Grant

_ASSUMED = "the API server was away: the pod's ENIPool was assumed"


def spec(grant: Grant, node: str) -> PodIPSpec:
    by_family = {family_of(address): address for address in grant.addresses}
    return PodIPSpec(
        pod_uid=grant.holder.pod_uid,
        node_name=node,
        container_id=grant.holder.container_id,
        eni_name=grant.eni,
        pool_name=grant.pool,
        datapath_mode=DatapathMode(grant.mode),
        address=by_family.get(IPV4),
        address_ipv6=by_family.get(IPV6),
    )


def same_grant(one: PodIPSpec, other: PodIPSpec) -> bool:
    """Return whether both record one grant; a new sandbox of the pod may keep its address."""
    return replace(one, container_id="") == replace(other, container_id="")


def body(grant: Grant, node: str) -> Json:
    """Return the object without its status: owned by its pod, with the agent's finalizer."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": grant.name, "uid": grant.holder.pod_uid}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.PODIPS.name,
        "metadata": {
            "name": grant.name,
            "namespace": grant.namespace,
            "ownerReferences": [owner],
            "finalizers": [names.FINALIZER_PODIP],
        },
        "spec": encode(spec(grant, node)),
    }


def conditions(
    grant: Grant, on_port: frozenset[str] | None, generation: int
) -> tuple[Condition, ...]:
    """Return the conditions without times.

    `on_port` are the addresses of ENI.status.port, None if the ENI or its port is unknown.
    """
    missing = [a for a in grant.addresses if on_port is not None and a not in on_port]
    assigned = on_port is not None and not missing
    text = _ASSUMED if grant.assumed else ""
    if missing:
        text = f"{', '.join(missing)} is not on the port of ENI {grant.eni}"
    reason = Reason.ASSIGNED if assigned else Reason.ADDRESS_NOT_ON_PORT
    if on_port is None:
        reason = Reason.WAITING_FOR_PORT
    return (
        condition(
            Type.ASSIGNED,
            reason,
            text,
            status=None if on_port is None else assigned,
            generation=generation,
        ),
        condition(
            Type.DATAPATH_READY, Reason.APPLIED, status=grant.connected, generation=generation
        ),
        condition(
            Type.READY,
            Reason.READY if assigned else reason,
            text if not assigned else "",
            status=assigned and grant.connected,
            generation=generation,
        ),
    )


def status(
    podip: PodIP, grant: Grant, on_port: frozenset[str] | None, now: str
) -> tuple[Json, bool]:
    """Return the body of the agent's part of the status, and True if the PodIP shows it already."""
    merged = merge(
        podip.status.conditions,
        conditions(grant, on_port, podip.metadata.generation),
        now,
    )
    fields: dict[str, Any] = {
        "hostInterface": grant.host_interface,
        "podInterface": grant.holder.interface,
    }
    if grant.gateway:  # ipvlan l3s and l3 need none
        fields["gateway"] = grant.gateway[0]
    shown_conditions = {c.type: c for c in podip.status.conditions}
    shown = (podip.status.host_interface, podip.status.pod_interface, podip.status.gateway)
    wanted = (grant.host_interface, grant.holder.interface, fields.get("gateway", ""))
    same = all(shown_conditions.get(c.type) == c for c in merged) and shown == wanted
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.PODIPS.name,
        "metadata": {
            "name": podip.name,
            "namespace": podip.namespace,
            "uid": podip.metadata.uid,
        },
        "status": {"conditions": [encode(c) for c in merged], **fields},
    }, same
