"""Build the bodies of a PodIP from a grant. Pure."""

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
        pod_uid=grant.attachment.pod_uid,
        node_name=node,
        container_id=grant.attachment.container_id,
        eni_name=grant.eni,
        pool_name=grant.pool,
        datapath_mode=DatapathMode(grant.datapath_mode),
        address=by_family.get(IPV4),
        address_ipv6=by_family.get(IPV6),
    )


def same_grant(one: PodIPSpec, other: PodIPSpec) -> bool:
    """Return whether both record one grant; a new sandbox of the pod may keep its address."""
    return replace(one, container_id="") == replace(other, container_id="")


def body(grant: Grant, node: str) -> Json:
    """Return the object without its status: owned by its pod, with the agent's finalizer."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": grant.name, "uid": grant.attachment.pod_uid}
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
    podip: PodIP, grant: Grant, on_port: frozenset[str] | None, now: str
) -> tuple[Condition, ...]:
    """Return the agent's conditions of the PodIP.

    `on_port` are the addresses of ENI.status.port, None if the ENI or its port is unknown.
    """
    wanted = _conditions(grant, on_port, podip.metadata.generation)
    return merge(podip.status.conditions, wanted, now)


def status_body(podip: PodIP, grant: Grant, conditions: tuple[Condition, ...]) -> Json:
    """Return the body to apply; its uid makes it fail on another PodIP of the same name."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.PODIPS.name,
        "metadata": {
            "name": podip.name,
            "namespace": podip.namespace,
            "uid": podip.metadata.uid,
        },
        "status": {"conditions": [encode(c) for c in conditions], **_fields(grant)},
    }


def is_shown(podip: PodIP, grant: Grant, conditions: tuple[Condition, ...]) -> bool:
    """Return True if the PodIP already shows exactly this."""
    status, fields = podip.status, _fields(grant)
    shown = {c.type: c for c in status.conditions}
    return all(shown.get(c.type) == c for c in conditions) and (
        status.host_interface,
        status.pod_interface,
        status.gateway,
    ) == (fields["hostInterface"], fields["podInterface"], fields.get("gateway", ""))


def _fields(grant: Grant) -> dict[str, str]:
    fields = {
        "hostInterface": grant.host_interface,
        "podInterface": grant.attachment.interface,
    }
    if grant.gateway:  # ipvlan l3s and l3 need none
        fields["gateway"] = grant.gateway[0]
    return fields


def _conditions(
    grant: Grant, on_port: frozenset[str] | None, generation: int
) -> tuple[Condition, ...]:
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
