"""Compare journal, kernel, ENIs and PodIPs of one node: ordered differences over facts. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from openeni_crds.conditions import Reason, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.names import ENIS, NODES, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.answers import Difference, difference
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ModeUnsupportedError,
    NICMissingError,
    NoCarrierError,
    NodeReport,
)
from openeni_nodeagent.grants.grant import Grant

AGENT_REMEDY: Final = (
    "the node's agent puts this right at its next look; if it stays, read its log (`kubectl logs`)"
)


@dataclass(frozen=True)
class Facts:
    """One node, as one look has found it."""

    node: str
    enis: tuple[ENI, ...]  # of the node
    podips: tuple[PodIP, ...]  # of the node
    grants: tuple[Grant, ...]  # of the journal, those whose datapath has been built
    kernel: Mapping[str, str]  # addresses of pods that the kernel has anything of
    report: NodeReport  # of the datapath's comparison
    differing: Mapping[str, str]  # `namespace/name` of a pod -> how its datapath differs
    departing: frozenset[str] = frozenset()  # names of ENIs that the node is leaving


def compare(facts: Facts) -> tuple[Difference, ...]:
    """Return all differences: of ENIs' links, of pods, of grants and PodIPs, of what is left."""
    return (
        *_of_enis(facts),
        *_of_pods(facts),
        *_of_grants(facts),
        *_of_podips(facts),
        *_left(facts),
    )


def _of_enis(facts: Facts) -> Iterator[Difference]:
    enis = {eni.name: eni for eni in facts.enis}
    for name, error in sorted(facts.report.errors.items()):
        if name not in facts.departing and not _is_expected(error, enis.get(name)):
            yield difference(ENIS.name, name, _reason(error), f"node {facts.node}: {error}")


def _is_expected(error: DatapathError, eni: ENI | None) -> bool:
    """Return True if the ENI itself says that its NIC is still to come."""
    link = find(eni.status.conditions, Type.LINK_READY) if eni is not None else None
    waits = link is None or link.reason == Reason.WAITING_FOR_NIC
    return isinstance(error, NICMissingError) and waits


def _reason(error: DatapathError) -> Reason:
    if isinstance(error, NICMissingError):
        return Reason.NIC_MISSING
    if isinstance(error, NoCarrierError):
        return Reason.NO_CARRIER
    if isinstance(error, ModeUnsupportedError):
        return Reason.MODE_UNSUPPORTED
    return Reason.KERNEL_REFUSED


def _of_pods(facts: Facts) -> Iterator[Difference]:
    for key, text in sorted(facts.differing.items()):
        message = f"the pod's datapath on node {facts.node}: {text}"
        yield difference(PODIPS.name, key, Reason.KERNEL_REFUSED, message)


def _of_grants(facts: Facts) -> Iterator[Difference]:
    """Compare each grant with its ENI's addresses and with its PodIP."""
    enis = {eni.name: eni for eni in facts.enis}
    podips = {podip.key: podip for podip in facts.podips}
    for grant in sorted(facts.grants, key=lambda grant: grant.pod_key):
        key, eni = grant.pod_key, enis.get(grant.eni)
        port = eni.status.port if eni is not None else None
        if gone := set(grant.addresses) - set(port.addresses if port is not None else ()):
            message = f"{', '.join(sorted(gone))} is not in status.port.addresses of {grant.eni}"
            yield difference(PODIPS.name, key, Reason.ADDRESS_NOT_ON_PORT, message)
        podip = podips.get(key)
        if podip is None:
            message = f"the pod has {', '.join(grant.addresses)}, and no PodIP"
            yield difference(PODIPS.name, key, None, message, AGENT_REMEDY)
        elif set(podip.spec.addresses) != set(grant.addresses):
            message = (
                f"spec has {', '.join(podip.spec.addresses) or 'no address'}, and the pod "
                f"{', '.join(grant.addresses)}"
            )
            yield difference(PODIPS.name, key, None, message, AGENT_REMEDY)


def _of_podips(facts: Facts) -> Iterator[Difference]:
    """Find PodIPs of pods that have no grant."""
    granted = {grant.pod_key for grant in facts.grants}
    for podip in sorted(facts.podips, key=lambda p: p.key):
        conditions = podip.status.conditions
        kept = podip.is_watched and not is_true(conditions, Type.DATAPATH_READY)
        if podip.key in granted or podip.metadata.deleting or kept:
            continue
        if is_true(conditions, Type.RETAINED):
            continue
        message = f"no pod of node {facts.node} has {', '.join(podip.spec.addresses)}"
        yield difference(PODIPS.name, podip.key, None, message, AGENT_REMEDY)


def _left(facts: Facts) -> Iterator[Difference]:
    """Find what the kernel has of pods or ENIs that have gone."""
    granted = {address for grant in facts.grants for address in grant.addresses}
    if stray := facts.kernel.keys() - granted:
        message = f"the kernel has {', '.join(sorted(stray))}, which no pod has"
        yield difference(NODES.name, facts.node, None, message, AGENT_REMEDY)
    if facts.report.left:
        message = f"the kernel has what no pod and no ENI is to have: {facts.report.left}"
        yield difference(NODES.name, facts.node, None, message, AGENT_REMEDY)
