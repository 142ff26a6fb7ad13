"""Reasons for which what an ENIPool asks for cannot be served."""

from typing import Final

from openeni_crds.conditions import Reason
from openeni_crds.owners import AGENT_ENI, OPERATOR_PODIP, OPERATOR_POOL
from openeni_crds.reasons.entry import OPERATOR, ReasonEntry, Reasons

SPEC: Final[Reasons] = {
    Reason.INVALID_SPEC: ReasonEntry(
        "a field does not fit the cloud, or the cloud refuses a request made from it",
        "correct the field that the message names",
        OPERATOR,
    ),
    Reason.DHCP_ENABLED: ReasonEntry(
        "a subnet has DHCP, which could lease a pod's address to a node",
        "`openstack subnet set --no-dhcp`; replace an IPv6 subnet with a mode, which cannot be "
        "changed, by one without: see [IPv6](ipv6.md)",
        (OPERATOR_POOL,),
    ),
    Reason.SLAAC_ENABLED: ReasonEntry(
        "a subnet of the network uses SLAAC, so Neutron adds an address of it to every port",
        "use a network without SLAAC subnets: see [IPv6](ipv6.md)",
        (OPERATOR_POOL,),
    ),
    Reason.SUBNETS_DIFFER: ReasonEntry(
        "the subnets are on different networks", "create a pool for each network", (OPERATOR_POOL,)
    ),
    Reason.QOS_UNSUPPORTED: ReasonEntry(
        "the pool has `spec.ports.qosPolicy`, and the cloud has no QoS; pods start, and their "
        "ports have no policy",
        "remove the field, or have the cloud's administrators load Neutron's service plugin `qos`",
        (OPERATOR_POOL,),
    ),
    Reason.MODE_UNSUPPORTED: ReasonEntry(
        "the kernel of these nodes lacks the datapath",
        "use another `spec.datapath.mode` in a new pool, or exclude them by `spec.nodeSelector`",
        (OPERATOR_POOL, AGENT_ENI),
    ),
    Reason.ELASTIC_UNSUPPORTED: ReasonEntry(
        "the pool asks for `growth: Elastic`, and the cloud does not let the project change fixed "
        "IPs of ports on this network; the pool works as with `growth: Static`",
        "give the network to the project, or the project's role the permission that the message "
        "names; or set `spec.capacity.growth` to `Auto` or `Static`",
        (OPERATOR_POOL,),
    ),
    Reason.NODE_LIMIT: ReasonEntry(
        "pods wait for an address on nodes that may have no other ENI",
        "raise `maxENIsPerNode` or `maxAddressesPerNode`, or run fewer pods on these nodes",
        (OPERATOR_POOL, OPERATOR_PODIP),
    ),
    Reason.POOL_LIMIT: ReasonEntry(
        "`spec.limits` of the pool forbids another ENI",
        "raise the field that the message names, or run fewer pods on the nodes it names",
        (OPERATOR_POOL, OPERATOR_PODIP),
    ),
    Reason.PAUSED: ReasonEntry(
        "`spec.paused` of the pool is true: nothing is changed in the cloud",
        "set it to false when the maintenance is over",
        (*OPERATOR, OPERATOR_PODIP),
    ),
    Reason.SELECTION_CHANGED: ReasonEntry(
        "the terms of `spec.securityGroups` no longer select a group that ports have, or that of "
        "`spec.ports.qosPolicy` selects another policy or none, although the spec has not changed; "
        "ports keep what they have",
        "restore the tag or the name in the cloud, or give what is wanted by `id`",
        (OPERATOR_POOL,),
    ),
}
