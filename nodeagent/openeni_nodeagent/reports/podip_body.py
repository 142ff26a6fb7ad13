"""Build the bodies of a PodIP from a grant. Pure."""

from dataclasses import dataclass

from msgspec.structs import replace

from openeni_crds import names
from openeni_crds.conditions import Condition, Reason, Status, Type, condition, merge
from openeni_crds.datapath_mode import DatapathMode
from openeni_crds.meta import Json, encode
from openeni_crds.podip import DELETE, PodIP, PodIPSpec
from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.grants.grant import Grant

_ASSUMED = "the API server was away: the pod's ENIPool was assumed"


def spec(grant: Grant, node: str, pod_uid: str) -> PodIPSpec:
    """Return the record of a grant; `pod_uid` is that of the pod's object."""
    by_family = {family_of(address): address for address in grant.addresses}
    return PodIPSpec(
        pod_uid=pod_uid,
        node_name=node,
        container_id=grant.attachment.container_id,
        eni_name=grant.eni,
        pool_name=grant.pool,
        datapath_mode=DatapathMode(grant.datapath_mode),
        retention=grant.retention,
        address=by_family.get(IPV4),
        address_ipv6=by_family.get(IPV6),
    )


def same_grant(one: PodIPSpec, other: PodIPSpec) -> bool:
    """Return whether both record one grant; a new sandbox of the pod may keep its address."""
    return replace(one, container_id="") == replace(other, container_id="")


def body(grant: Grant, node: str, pod_uid: str) -> Json:
    """Return the object without its status, with the agent's finalizer.

    It is owned by its pod, unless it outlives it.
    """
    owner = {"apiVersion": "v1", "kind": "Pod", "name": grant.name, "uid": pod_uid}
    watched = grant.requested or grant.retention != DELETE
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.PODIPS.name,
        "metadata": {
            "name": grant.name,
            "namespace": grant.namespace,
            "finalizers": [names.FINALIZER_PODIP],
            **({"ownerReferences": [owner]} if grant.retention == DELETE else {}),
            **({"labels": {names.LABEL_RETAINED: "true"}} if watched else {}),
        },
        "spec": encode(spec(grant, node, pod_uid)),
    }


@dataclass(frozen=True)
class Difference:
    """Why a pod's datapath is not as planned."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class AgentStatus:
    """The agent's part of a PodIP's status."""

    conditions: tuple[Condition, ...]
    host_interface: str = ""
    pod_interface: str = ""
    gateway: str = ""


def granted_status(
    podip: PodIP,
    grant: Grant,
    on_port: frozenset[str] | None,
    difference: Difference | None,
    now: str,
) -> AgentStatus:
    """Return the status of a PodIP whose pod has the addresses.

    `on_port` are the addresses of ENI.status.port, None if the ENI or its port is unknown.
    `difference` is what the last look at the kernel could not repair, None if all is as planned.
    """
    built = condition(
        Type.DATAPATH_READY,
        difference.reason if difference else Reason.APPLIED,
        difference.message if difference else "",
        status=grant.connected and not difference,
    )
    assigned = _assigned(podip, on_port, _ASSUMED if grant.assumed else "")
    return AgentStatus(
        _conditions(podip, assigned, built, now),
        grant.host_interface,
        grant.attachment.interface,
        grant.gateway[0] if grant.gateway else "",  # ipvlan l3s and l3 need none
    )


def retained_status(podip: PodIP, on_port: frozenset[str] | None, now: str) -> AgentStatus:
    """Return the status of a PodIP whose pod has gone, and which is kept for the next one."""
    message = f"kept for the next pod of this name: {podip.spec.retention}"
    built = condition(Type.DATAPATH_READY, Reason.RETAINED, message, status=False)
    placed = _assigned(podip, on_port, "") if podip.spec.eni_name else _waiting(Type.ASSIGNED)
    return AgentStatus(_conditions(podip, placed, built, now, ready=built))


def claimed_status(podip: PodIP, now: str) -> AgentStatus:
    """Return the status of a PodIP whose pod waits for the addresses that it asks for."""
    assigned, built = _waiting(Type.ASSIGNED), _waiting(Type.DATAPATH_READY)
    return AgentStatus(_conditions(podip, assigned, built, now))


def status_body(podip: PodIP, status: AgentStatus) -> Json:
    """Return the body to apply; its uid makes it fail on another PodIP of the same name."""
    fields = {
        "hostInterface": status.host_interface,
        "podInterface": status.pod_interface,
        "gateway": status.gateway,
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.PODIPS.name,
        "metadata": {
            "name": podip.name,
            "namespace": podip.namespace,
            "uid": podip.metadata.uid,
        },
        "status": {
            "conditions": [encode(c) for c in status.conditions],
            **{name: value for name, value in fields.items() if value},
        },
    }


def is_shown(podip: PodIP, status: AgentStatus) -> bool:
    """Return True if the PodIP already shows exactly this."""
    found = podip.status
    shown = {c.type: c for c in found.conditions}
    return all(shown.get(c.type) == c for c in status.conditions) and (
        found.host_interface,
        found.pod_interface,
        found.gateway,
    ) == (status.host_interface, status.pod_interface, status.gateway)


def _conditions(
    podip: PodIP,
    assigned: Condition,
    built: Condition,
    now: str,
    ready: Condition | None = None,
) -> tuple[Condition, ...]:
    """Return the agent's conditions; Ready repeats `ready`, or else the first that is not True."""
    wrong = ready or next((c for c in (assigned, built) if c.status != Status.TRUE), None)
    ready = condition(
        Type.READY,
        Reason(wrong.reason) if wrong else Reason.READY,
        wrong.message if wrong else "",
        status=not wrong,
    )
    generation = podip.metadata.generation
    wanted = [replace(c, observed_generation=generation) for c in (assigned, built, ready)]
    return merge(podip.status.conditions, wanted, now)


def _waiting(type_: Type) -> Condition:
    return condition(type_, Reason.WAITING_FOR_ADDRESS, "see the condition Placed", status=False)


def _assigned(podip: PodIP, on_port: frozenset[str] | None, text: str) -> Condition:
    if on_port is None:
        return condition(Type.ASSIGNED, Reason.WAITING_FOR_PORT, text, status=None)
    missing = [a for a in podip.spec.addresses if a not in on_port]
    if missing:
        text = f"{', '.join(missing)} is not on the port of ENI {podip.spec.eni_name}"
    reason = Reason.ADDRESS_NOT_ON_PORT if missing else Reason.ASSIGNED
    return condition(Type.ASSIGNED, reason, text, status=not missing)
