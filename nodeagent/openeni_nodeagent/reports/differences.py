"""Tell what a look has found of each pod that its datapath is not as planned. Pure."""

from collections.abc import Mapping

from openeni_crds.conditions import Reason
from openeni_nodeagent.datapath_api import (
    DatapathError,
    NICMissingError,
    NoCarrierError,
    NodeReport,
    PodInterface,
)
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.reports.podip_body import Difference


def differences_of(
    report: NodeReport, pods: Mapping[PodInterface, Grant], unseen: Mapping[Attachment, Difference]
) -> Mapping[Attachment, Difference]:
    """Return the pods that differ, and all pods of an ENI that does: they reach nothing by it.

    `unseen` are those that no look has looked into since that was due, and why.
    """
    found: dict[Attachment, Difference] = {}
    for pod, grant in pods.items():
        if text := report.differing.get(pod):
            found[grant.attachment] = Difference(Reason.KERNEL_REFUSED, text)
        elif error := report.errors.get(pod.eni.name):
            found[grant.attachment] = Difference(_reason(error), f"ENI {pod.eni.name}: {error}")
        elif difference := unseen.get(grant.attachment):
            found[grant.attachment] = difference
    return found


def _reason(error: DatapathError) -> Reason:
    match error:
        case NICMissingError():
            return Reason.WAITING_FOR_NIC
        case NoCarrierError():
            return Reason.NO_CARRIER
        case _:
            return Reason.KERNEL_REFUSED
