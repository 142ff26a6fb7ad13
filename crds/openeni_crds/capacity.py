"""How much a pool holds: numbers for each node and for the whole pool, and what it gives back."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.meta import Duration


class Growth(StrEnum):
    AUTO = "Auto"
    STATIC = "Static"
    ELASTIC = "Elastic"


class ReclaimPolicy(StrEnum):
    AFTER = "After"
    NEVER = "Never"


class Capacity(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Numbers of ENIs and addresses that each node gets.

    All numbers are per node. An address here is what one pod takes: with IPv4 and IPv6 subnets, one
    of each family.
    """

    growth: Annotated[
        Growth,
        Meta(
            description="How nodes get addresses. Static creates each ENI with addressesPerENI "
            "addresses, and a node grows and shrinks by whole ENIs. Elastic creates an ENI with as "
            "many as the node needs and adds and removes addresses of its port later, with one "
            "call for each ENI however many they are; Neutron allows that to the owner of the "
            "network. Without that right, or Neutron's extension revision-if-match, the pool is "
            "Static, and Supported is False (ElasticUnsupported). Auto is Elastic where the cloud "
            "allows it, else Static. status.growth is what is in force. A change takes nothing "
            "from ENIs at once."
        ),
    ] = Growth.STATIC
    addresses_per_eni: Annotated[
        int,
        Meta(
            ge=1,
            le=31,
            description="Addresses for pods on each ENI; with growth Elastic, the most that it may "
            "have. Its port has one more, the primary address, which stays on the node. A change "
            "concerns new ENIs; with Elastic, also the growth of others.",
        ),
    ] = field(name="addressesPerENI", default=15)
    max_enis_per_node: Annotated[
        int,
        Meta(
            ge=1,
            le=16,
            description="Maximum number of ENIs of this pool on one node. Each takes a port of the "
            "project's quota and a NIC slot of the server; without a free slot the ENI is not "
            "Ready (NoHotplugSlot), and no pool gets another one there for as long. Lowering it "
            "deletes none, it only prevents new ones.",
        ),
    ] = field(name="maxENIsPerNode", default=4)
    min_available: Annotated[
        int,
        Meta(
            ge=0,
            le=128,
            description="Addresses to keep free on each selected node for the next pods. With 1 "
            "or more a node gets its first ENI as soon as the pool selects it, even without pods; "
            "with 0, when a pod waits there. A node where pods arrive fast gets more: as many as "
            "arrive while addresses are being added, by what the operator has measured. A cordoned "
            "node gets none. With growth Elastic a node that has fewer is filled up to twice as "
            "many. If the limits below allow fewer, the node gets what they allow. A change takes "
            "effect at once.",
        ),
    ] = 2
    max_available: Annotated[
        Annotated[int, Meta(ge=0, le=128)] | None,
        Meta(
            description="A node with more free addresses than this gives back one idle ENI at a "
            "time, without waiting for reclaim.after and whatever reclaim.policy is, as long as "
            "its other Ready ENIs hold minAvailable. So a node's last ENI may exceed it; with "
            "growth Elastic single addresses go too. Absent: no maximum."
        ),
    ] = None
    max_addresses_per_node: Annotated[
        Annotated[int, Meta(ge=1, le=128)] | None,
        Meta(
            description="Maximum number of addresses of this pool on one node; the last ENI is "
            "made smaller to fit. Lowering it takes nothing back. Absent: no limit but "
            "maxENIsPerNode."
        ),
    ] = None


class Limits(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Limits for the whole pool.

    Retiring and deleting ENIs count, so allow some more for replacements.
    """

    max_enis: Annotated[
        Annotated[int, Meta(ge=0, le=100000)] | None,
        Meta(
            description="Maximum number of ENIs, and so of ports. Nodes where pods wait come "
            "first; others may have fewer addresses than capacity.minAvailable. Lowering it "
            "deletes no ENI. 0: no new ENIs. Absent: no limit."
        ),
    ] = field(name="maxENIs", default=None)
    max_addresses: Annotated[
        Annotated[int, Meta(ge=0, le=1000000)] | None,
        Meta(
            description="Maximum number of addresses for pods, counted like capacity: with IPv4 "
            "and IPv6, one of each family is one. Primary addresses are not counted: each ENI "
            "takes one more in each of its subnets. The last ENI is made smaller to fit. Lowering "
            "it takes nothing back. Absent: no limit."
        ),
    ] = None


class Reclaim(Struct, frozen=True, rename="camel", omit_defaults=True):
    """When an idle ENI is deleted. An ENI is idle while no pod has an address of it.

    With growth Elastic, also when single addresses are removed that a node has had to spare.
    """

    policy: Annotated[
        ReclaimPolicy,
        Meta(
            description="After deletes an ENI that has been idle for `after`, if the node's other "
            "Ready ENIs hold minAvailable; with growth Elastic it also removes addresses that have "
            "not been needed for `after`, beyond twice minAvailable. Never does neither; "
            "maxAvailable still applies. With either policy, an ENI that has found no slot, or is "
            "not Ready through a fault of its own, is deleted after an hour if no pod needs it."
        ),
    ] = ReclaimPolicy.AFTER
    after: Annotated[
        Duration,
        Meta(
            description="How long an ENI must have been idle: a duration such as 15m or 1h30m, "
            "from 10s to 720h. Ignored with policy Never. For single addresses it begins anew when "
            "the operator restarts. A change takes effect at once."
        ),
    ] = "15m"
