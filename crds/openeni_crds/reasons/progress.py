"""Reasons of conditions that are as they should be, or will be soon."""

from typing import Final

from openeni_crds.conditions import Reason
from openeni_crds.owners import AGENT_ENI, AGENT_PODIP, OPERATOR_ENI, OPERATOR_PODIP, OPERATOR_POOL
from openeni_crds.reasons.entry import OPERATOR, ReasonEntry, Reasons

ALL_IS_WELL: Final[Reasons] = {
    Reason.READY: ReasonEntry("pods can use it", "", (*OPERATOR, AGENT_PODIP)),
    Reason.REACHABLE: ReasonEntry(
        "the cloud, or the gateway, responds", "", (OPERATOR_POOL, AGENT_ENI)
    ),
    Reason.CURRENT: ReasonEntry("the credentials do not expire soon", "", (OPERATOR_POOL,)),
    Reason.AVAILABLE: ReasonEntry("nothing limits the pool", "", (OPERATOR_POOL,)),
    Reason.SUPPORTED: ReasonEntry("cloud and kernels can serve the pool", "", (OPERATOR_POOL,)),
    Reason.OWNED: ReasonEntry("every port has its ENI", "", (OPERATOR_POOL,)),
    Reason.UP_TO_DATE: ReasonEntry(
        "ports have the pool's security groups, tags and QoS policy, and their network's MTU",
        "",
        OPERATOR,
    ),
    Reason.PORT_CREATED: ReasonEntry("the port exists", "", (OPERATOR_ENI,)),
    Reason.ATTACHED: ReasonEntry("the port is attached and ACTIVE", "", (OPERATOR_ENI,)),
    Reason.SIZED: ReasonEntry("the port has the addresses that it should", "", (OPERATOR_ENI,)),
    Reason.PREPARED: ReasonEntry("the guest leaves the NIC alone", "", (AGENT_ENI,)),
    Reason.LINK_UP: ReasonEntry("the NIC carries pods", "", (AGENT_ENI,)),
    Reason.CONFIGURED: ReasonEntry("pods of the node start with openeni", "", (AGENT_ENI,)),
    Reason.ASSIGNED: ReasonEntry(
        "the addresses are on the port", "", (AGENT_PODIP, OPERATOR_PODIP)
    ),
    Reason.APPLIED: ReasonEntry("the pod's datapath is in the kernel", "", (AGENT_PODIP,)),
    Reason.RETAINED: ReasonEntry(
        "the pod has gone, and its addresses are kept for the next pod of its name, or until the "
        "PodIP is deleted",
        "",
        (AGENT_PODIP, OPERATOR_PODIP),
    ),
    Reason.IN_USE: ReasonEntry("a pod has the addresses", "", (OPERATOR_PODIP,)),
    Reason.PLACED: ReasonEntry(
        "the addresses are on an ENI of the pod's node", "", (OPERATOR_PODIP,)
    ),
}

IN_PROGRESS: Final[Reasons] = {
    Reason.WAITING_FOR_PORT: ReasonEntry(
        "the port is being created, or the agent does not know it yet",
        "see the ENI's condition `PortReady`",
        (OPERATOR_ENI, AGENT_ENI, AGENT_PODIP),
    ),
    Reason.WAITING_FOR_AGENT: ReasonEntry(
        "the node's agent has not reported yet, or has not prepared the guest for the NIC",
        "check that the agent's DaemonSet runs on the node, and read its log there",
        (OPERATOR_ENI, AGENT_ENI),
    ),
    Reason.WAITING_FOR_ATTACH: ReasonEntry(
        "Nova and Neutron are attaching the port",
        "see the ENI's condition `Attached`",
        (OPERATOR_ENI, AGENT_ENI),
    ),
    Reason.WAITING_FOR_NIC: ReasonEntry(
        "`LinkReady`: the agent looks for the NIC by its MAC address; `CNIConfigured`: no ENI of "
        "the node carries pods yet; `DatapathReady`: the NIC of the pod's ENI has gone",
        "see `LinkReady` of the ENI, which becomes `NICMissing` after a minute",
        (AGENT_ENI, AGENT_PODIP),
    ),
    Reason.WAITING_FOR_NODES: ReasonEntry(
        "no node is selected by the pool, is an OpenStack server, is in a zone of `spec.subnets` "
        "and runs the agent",
        "if there should be one, correct what the message names",
        (OPERATOR_POOL,),
    ),
    Reason.WAITING_FOR_ADDRESS: ReasonEntry(
        "the pod waits for the address that it asks for; the operator brings it to the pod's node; "
        "a new ENI's port is created after that, since it might get the address",
        "see the PodIP's condition `Placed`",
        (AGENT_PODIP, OPERATOR_PODIP, OPERATOR_ENI),
    ),
    Reason.WAITING_FOR_RELEASE: ReasonEntry(
        "the address is still on another node, whose agent has to give it up first",
        "if it lasts, check that the agent of the node that the message names runs",
        (OPERATOR_PODIP,),
    ),
    Reason.UPDATING: ReasonEntry(
        "the operator is changing the security groups, tags, QoS policies or addresses of ports; "
        "the message says what is left",
        "see `UpToDate` and `Sized` of the ENIs",
        (OPERATOR_POOL, OPERATOR_ENI),
    ),
    Reason.DELETING: ReasonEntry(
        "the object is being deleted; pods still use addresses, or Nova is detaching the port",
        "delete or drain the pods that keep it: `kubectl get podip -A` lists them",
        (*OPERATOR, AGENT_ENI),
    ),
    Reason.DELETING_PORT: ReasonEntry(
        "the operator has asked Neutron to delete the port",
        "look at Neutron if it lasts",
        (OPERATOR_ENI,),
    ),
    Reason.OUTCOME_UNKNOWN: ReasonEntry(
        "the cloud did not respond to a change; the operator checks the result before it goes on",
        "look at the cloud's API and its load balancer if this recurs",
        (OPERATOR_ENI,),
    ),
    Reason.ATTACH_UNKNOWN: ReasonEntry(
        "Nova did not report whether it attached the port; the operator checks the port",
        "look at nova-compute's log on the server's host",
        (OPERATOR_ENI,),
    ),
    Reason.THROTTLED: ReasonEntry(
        "a limit of calls is reached, the cloud's or the operator's own; the operator retries",
        "if it lasts, raise the limit that the message names: the cloud's, or "
        "`operator.cloud.*PerSecond` of the chart",
        OPERATOR,
    ),
}
