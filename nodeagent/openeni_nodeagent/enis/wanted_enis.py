"""Decide which ENIs the node's datapath serves, and which it leaves. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from openeni_crds.eni import ENI
from openeni_nodeagent.cluster.facts import eni_facts, is_attached
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_nodeagent.grants.known_enis import KnownENIs


@dataclass(frozen=True)
class ENIChoice:
    """The ENIs of one look at the node."""

    served: tuple[ENIFacts, ...]
    departing: tuple[ENIFacts, ...] = ()  # nothing of them may be left


def choose_enis(
    enis: Iterable[ENI],
    known: Iterable[ENIFacts],
    *,
    is_observed: Callable[[str], bool],
    is_in_use: Callable[[ENIFacts], bool],
) -> ENIChoice:
    """Return the choice, by the API's objects and what the journal knows of ENIs: each has a place.

    An ENI whose object is being deleted or gone, or shows no port, is served as long as a pod uses
    it, or may: until the ledger has observed the object, that is not known. So is one that is said
    to be detached: with a pod on it, doubt changes nothing. Without one its NIC, which may be there
    all the same, is no way into the node: it stays down.
    """
    enis = tuple(enis)
    shown = {eni.name: eni for eni in enis if eni.status.port is not None}
    served: list[ENIFacts] = []
    departing: list[ENIFacts] = []
    # Those that the API shows come first: should marks run out, they have theirs.
    for facts in sorted(every_eni(enis, known), key=lambda facts: facts.name not in shown):
        eni = shown.get(facts.name)
        expected = eni is not None and (
            not is_observed(eni.name) if eni.metadata.deleting else is_attached(eni)
        )
        (served if expected or is_in_use(facts) else departing).append(facts)
    return ENIChoice(tuple(served), tuple(departing))


def every_eni(enis: Iterable[ENI], known: Iterable[ENIFacts]) -> tuple[ENIFacts, ...]:
    """Return the facts of all ENIs and their former ports, by the API's objects and the journal.

    The journal may not know of another port yet.
    """
    found = KnownENIs.of_facts(known)
    for eni in enis:
        if (facts := eni_facts(eni)) is not None:
            found.see(facts)
    return found.all()
