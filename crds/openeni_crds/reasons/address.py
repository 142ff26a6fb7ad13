"""Reasons for which a pod does not get the address that it asks for."""

from typing import Final

from openeni_crds.conditions import Reason
from openeni_crds.owners import OPERATOR_PODIP
from openeni_crds.reasons.entry import ReasonEntry, Reasons

_OTHER_ADDRESS: Final = (
    "ask for another address with the annotation `openeni.io/address`, or for none"
)

ADDRESS: Final[Reasons] = {
    Reason.ADDRESS_IN_USE: ReasonEntry(
        "another pod of this cluster has the address, or it is kept for one, or another pod asked "
        "for it first",
        f"wait until that pod has ended, or delete the PodIP that keeps it; or {_OTHER_ADDRESS}",
        (OPERATOR_PODIP,),
    ),
    Reason.ADDRESS_TAKEN: ReasonEntry(
        "a port that is not of the pod's pool has the address, or the cloud refuses to give it to "
        "the pod's node. A pod that asked for no address by name gets another one",
        f"free it, or {_OTHER_ADDRESS}",
        (OPERATOR_PODIP,),
    ),
    Reason.ADDRESS_IS_PRIMARY: ReasonEntry(
        "the address is the primary one of an ENI, which stays on its node",
        _OTHER_ADDRESS,
        (OPERATOR_PODIP,),
    ),
    Reason.ADDRESS_IS_RESERVED: ReasonEntry(
        "the address is the gateway of its subnet, or the subnet's network, broadcast or anycast "
        "address, which no pod gets. A pod that asked for no address by name gets another one",
        _OTHER_ADDRESS,
        (OPERATOR_PODIP,),
    ),
    Reason.ADDRESS_OUTSIDE_SUBNETS: ReasonEntry(
        "the address is in no subnet of the ENIs that the pod's pool has on the node",
        f"add the subnet to the pool, or {_OTHER_ADDRESS}",
        (OPERATOR_PODIP,),
    ),
    Reason.MOVE_UNSUPPORTED: ReasonEntry(
        "the address is not on the pod's node, and ports of the pool keep the addresses that they "
        "were created with: its growth is Static",
        "have the pod scheduled to the node that has the address, set `spec.capacity.growth` to "
        "`Elastic`, or delete the PodIP, so that the pod gets another address",
        (OPERATOR_PODIP,),
    ),
}
