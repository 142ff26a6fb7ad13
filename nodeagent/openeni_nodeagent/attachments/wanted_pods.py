"""The pods that a look at the node wants, by their grants. Pure but for the paths of namespaces."""

from collections.abc import Iterable, Mapping

from openeni_crds.names import host_link
from openeni_nodeagent.attachments.detacher import pod_interface
from openeni_nodeagent.datapath_api import ENIFacts, NodeReport, PodInterface, WantedPod
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.known_enis import KnownENIs
from openeni_nodeagent.grants.netns_identity import leads_to_pod


def granted_links(grants: Iterable[Grant]) -> frozenset[str]:
    """Return the names that the grants' links have on the node."""
    attachments = (grant.attachment for grant in grants)
    return frozenset(host_link(a.container_id, a.interface) for a in attachments)


def pods_of(served: Iterable[ENIFacts], grants: Iterable[Grant]) -> dict[PodInterface, Grant]:
    """Return the grants on the ENIs that are served, by what the datapath knows of them."""
    enis = KnownENIs.of_facts(served)
    return {pod_interface(g, eni): g for g in grants if (eni := enis.of(g)) is not None}


def wanted_pod(pod: PodInterface, grant: Grant, unseen: Mapping[Attachment, int]) -> WantedPod:
    """Return the pod; with its namespace, and its turn, if this look inspects it (`unseen`)."""
    turn = unseen.get(grant.attachment)
    if turn is None or not leads_to_pod(grant.netns, grant):
        return WantedPod(pod)
    return WantedPod(pod, grant.netns, turn)


def left_pods(
    wanted: Iterable[WantedPod], held: frozenset[PodInterface], report: NodeReport
) -> frozenset[PodInterface]:
    """Return the pods that a look held to look into them, and had no time left for."""
    left = held - report.looked_into.keys() - report.broken
    return left & {pod.interface for pod in wanted if pod.netns}


def lost_paths(
    wanted: Iterable[WantedPod],
    pods: Mapping[PodInterface, Grant],
    asked: Mapping[Attachment, Grant],
) -> dict[Attachment, str]:
    """Return why pods that were asked for, and still have the same grants, were not looked into.

    A runtime removes the path of a namespace after its DEL, which ends the grant. Where it has gone
    before, somebody else has removed it, and the pod may run on.
    """
    without = (pods[each.interface] for each in wanted if not each.netns)
    return {
        grant.attachment: f"{grant.netns} no longer leads to the pod's network namespace, in which "
        "nothing can be put right any more: delete the pod"
        for grant in without
        if asked.get(grant.attachment) == grant and grant.netns_id is not None
    }
