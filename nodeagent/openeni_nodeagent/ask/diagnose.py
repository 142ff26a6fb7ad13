"""Look at one node for `openeni diagnose`, as its agent does, and change nothing.

The agent runs beside: its journal is read, never opened for writing.
"""

from openeni_crds.eni import ENI
from openeni_crds.meta import S, decode
from openeni_crds.names import ENIS, PODIPS, Kind
from openeni_crds.podip import PodIP
from openeni_kube.answers import Diagnosis
from openeni_kube.store import Store
from openeni_nodeagent.ask.differences import Facts, compare
from openeni_nodeagent.attachments.wanted_pods import granted_links, pods_of
from openeni_nodeagent.datapath_api import NodeDatapath, NodeFacts, WantedNode, WantedPod
from openeni_nodeagent.enis.wanted_enis import choose_enis, every_eni
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.journal import JournalState, read
from openeni_nodeagent.grants.known_enis import is_of
from openeni_nodeagent.grants.netns_identity import leads_to_pod
from openeni_nodeagent.settings import Settings


class NotServingError(Exception):
    """There is nothing to compare with yet; one line for people."""


def diagnose(settings: Settings, store: Store, datapath: NodeDatapath, boot_id: str) -> Diagnosis:
    """Return what differs now. Raises StoreError, DatapathError, NotServingError."""
    journal, node = _read_journal(settings, boot_id)
    enis = _objects(store, ENIS, ENI, settings.node)
    podips = _objects(store, PODIPS, PodIP, settings.node)
    snapshot = datapath.observe(every_eni(enis, journal.enis.all()))
    journal, _ = _read_journal(settings, boot_id)  # after the kernel: a grant comes first
    grants = tuple(grant for grant in journal.grants.values() if grant.connected)
    used = tuple(journal.grants.values())
    choice = choose_enis(
        enis,
        journal.enis.all(),
        is_observed=lambda _: True,
        is_in_use=lambda eni: any(is_of(grant, eni.name, eni.port) for grant in used),
    )
    pods = pods_of(choice.served, grants)
    wanted = WantedNode(
        node,
        choice.served,
        choice.departing,
        tuple(WantedPod(pod, _namespace(grant)) for pod, grant in pods.items()),
        used_links=granted_links(journal.grants.values()),
    )
    report = datapath.compare(snapshot, wanted)
    differing = {
        f"{pods[pod].namespace}/{pods[pod].name}": text for pod, text in report.differing.items()
    }
    facts = Facts(
        settings.node,
        enis,
        podips,
        grants,
        {a: d for a, d in snapshot.pods.items() if not _is_pending(a, journal)},
        report,
        differing,
        frozenset(eni.name for eni in choice.departing),
    )
    compared = {"ENIs": len(choice.served), "pods": len(pods), "PodIPs": len(podips)}
    return Diagnosis(compare(facts), compared)


def _read_journal(settings: Settings, boot_id: str) -> tuple[JournalState, NodeFacts]:
    """Return what the agent last wrote. Raises NotServingError."""
    try:
        state = read(settings.journal)
    except OSError as error:
        raise NotServingError(
            f"the journal {settings.journal} cannot be read: {error.strerror}; has the agent "
            "of this node started?"
        ) from None
    if state.node is None or state.boot_id != boot_id:
        raise NotServingError(
            f"the agent of node {settings.node} has not read its Node yet: see its log"
        )
    return state, state.node


def _is_pending(address: str, journal: JournalState) -> bool:
    """Return True if a grant of the address is being connected."""
    return any(address in g.addresses and not g.connected for g in journal.grants.values())


def _objects(store: Store, kind: Kind, model: type[S], node: str) -> tuple[S, ...]:
    listed = store.list(kind, field_selector=f"spec.nodeName={node}").items
    return tuple(decode(body, model) for body in listed)


def _namespace(grant: Grant) -> str:
    return grant.netns if leads_to_pod(grant.netns, grant) else ""
