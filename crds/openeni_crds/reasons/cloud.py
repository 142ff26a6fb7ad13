"""Reasons that lie in the cloud."""

from typing import Final

from openeni_crds.conditions import Reason
from openeni_crds.owners import OPERATOR_ENI, OPERATOR_PODIP, OPERATOR_POOL
from openeni_crds.reasons.entry import OPERATOR, ReasonEntry, Reasons

CLOUD: Final[Reasons] = {
    Reason.CLOUD_NOT_CONFIGURED: ReasonEntry(
        "`clouds.yaml` is missing, cannot be read, or lacks the entry that `spec.cloud` names",
        "put the entry into the mounted Secret; the operator reloads the file by itself",
        OPERATOR,
    ),
    Reason.CREDENTIALS_INVALID: ReasonEntry(
        "Keystone rejects the credentials, or they are of another project or region than the port",
        "correct the entry in `clouds.yaml`; the operator reloads the file by itself",
        OPERATOR,
    ),
    Reason.CREDENTIALS_EXPIRING: ReasonEntry(
        "the application credential expires within 30 days; then the operator can do nothing, and "
        "pods go on with the addresses that their nodes have",
        "create another one with [`openeni credentials`](cli.md), and put it into the mounted "
        "Secret; the operator reloads the file by itself",
        (OPERATOR_POOL,),
    ),
    Reason.CLOUD_UNREACHABLE: ReasonEntry(
        "the cloud's API does not respond, or responds with a server error",
        "make `auth_url` and the endpoints of the catalog reachable from the operator's pod",
        OPERATOR,
    ),
    Reason.DENIED: ReasonEntry(
        "the cloud's policy forbids a call",
        "give the project's role the permission that the message names",
        OPERATOR,
    ),
    Reason.QUOTA_EXCEEDED: ReasonEntry(
        "the project's quota is used up",
        "ask for a higher port quota, or delete unused ports",
        (OPERATOR_ENI,),
    ),
    Reason.SUBNET_EXHAUSTED: ReasonEntry(
        "the ENI's subnet has no free address; if the pool has another subnet, it is tried next",
        "add a subnet to `spec.subnets`, or free addresses",
        (OPERATOR_ENI,),
    ),
    Reason.NOT_FOUND: ReasonEntry(
        "the cloud has nothing of that ID, name or tags that the project can see",
        "correct the term in the field that the message begins with, or create what it names; "
        "without a field, follow the cloud's text",
        OPERATOR,
    ),
    Reason.AMBIGUOUS_NAME: ReasonEntry(
        "several resources have the name of a term",
        "use the `id` of one, or select by `tags`",
        (OPERATOR_POOL,),
    ),
    Reason.CONFLICT: ReasonEntry(
        "the resource's present state does not allow the call",
        "resolve the conflict that the message names; one of two calls at the same time passes by "
        "itself",
        (OPERATOR_ENI,),
    ),
    Reason.PORT_CHANGED: ReasonEntry(
        "somebody changed the port's fixed IPs, the recorded port is not the ENI's, or two ports "
        "of the ENI are attached; the operator replaces the ENI once its pods have ended",
        "restore the port as the message says, or wait for the new ENI",
        (OPERATOR_ENI,),
    ),
    Reason.ATTACHED_ELSEWHERE: ReasonEntry(
        "somebody attached the port to another server; another ENI takes its place",
        "detach it from that server",
        (OPERATOR_ENI,),
    ),
    Reason.SERVER_NOT_FOUND: ReasonEntry(
        "the node's server is not in the project and region of the credentials",
        "correct the pool's `spec.cloud` or its entry in `clouds.yaml`",
        (OPERATOR_ENI,),
    ),
    Reason.ORPHANED_PORTS: ReasonEntry(
        "ports of this cluster have no ENI; the message says what becomes of each",
        "see [orphaned ports](orphans.md)",
        (OPERATOR_POOL,),
    ),
    Reason.TOO_MANY_ORPHANS: ReasonEntry(
        "so many ports have no ENI that ENIs may be missing; no port is deleted",
        "find out which, then see [orphaned ports](orphans.md)",
        (OPERATOR_POOL,),
    ),
    Reason.PORT_LOST: ReasonEntry(
        "Neutron no longer shows the port, or an address of it; a lost port is replaced",
        "restart the pods that had one of its addresses; if many ports are lost at once, check "
        "that the entry in `clouds.yaml` leads to the right project",
        (OPERATOR_ENI, OPERATOR_PODIP),
    ),
    Reason.PORT_NOT_ACTIVE: ReasonEntry(
        "the port has been attached for two minutes and is not ACTIVE; the operator attaches one "
        "that is DOWN anew from time to time, as long as no pod has an address of it",
        "check Neutron's agent on the server's host",
        (OPERATOR_ENI,),
    ),
    Reason.REATTACHING: ReasonEntry(
        "the port stayed DOWN, so the operator detaches it and attaches it anew",
        "wait for two minutes; if that does not help, see `PortNotActive`",
        (OPERATOR_ENI,),
    ),
    Reason.PORT_DISABLED: ReasonEntry(
        "somebody disabled the port (`admin_state_up` is false), so it carries nothing; the "
        "operator leaves it so",
        "`openstack port set --enable`, or `kubectl delete eni` for another one",
        (OPERATOR_ENI,),
    ),
    Reason.MTU_CHANGED: ReasonEntry(
        "somebody changed the network's MTU; the ENI's NIC and its pods keep the former one",
        "`kubectl delete eni`, one after the other: each is replaced once its pods have ended",
        (OPERATOR_ENI,),
    ),
    Reason.UNEXPECTED_RESPONSE: ReasonEntry(
        "the cloud's response was none that its API documents, so it is not known what it means; "
        "the operator retries",
        "look at what answers in the place of the cloud's API, such as a proxy; if it is the API, "
        "report the message as an error of openeni",
        OPERATOR,
    ),
    Reason.NO_HOTPLUG_SLOT: ReasonEntry(
        "the server has no slot for another NIC",
        "lower `spec.capacity.maxENIsPerNode`, or give the flavor more slots for NICs",
        (OPERATOR_ENI,),
    ),
}
