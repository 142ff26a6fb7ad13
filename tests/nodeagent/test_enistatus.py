"""What the agent says of an ENI's addresses keeps up with the clock by itself."""

from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.eni import ENI
from openeni_nodeagent import grants as grants_module
from openeni_nodeagent.cache import Cache
from openeni_nodeagent.enistatus import EniStatus
from openeni_nodeagent.facts import eni_facts, eni_view
from openeni_nodeagent.grants import Ask, Grants
from openeni_nodeagent.guest import Guest
from openeni_nodeagent.journal import Journal
from openeni_nodeagent.ledger import Holder
from openeni_nodeagent.links import Links
from openeni_testing import nodeworld
from openeni_testing.memorystore import MemoryStore
from openeni_testing.memorywiring import MemoryWiring


@pytest.mark.parametrize("rest", [2.2, 2.7, 3.2, 3.7])
def test_a_rest_that_ends_while_it_is_counted_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: float
) -> None:
    """The clock passes the end of the rest between two looks at it: neither may be the last."""
    now = [1000.0]

    def passing() -> float:
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr(grants_module, "boot_seconds", passing)
    store = MemoryStore()
    nodeworld.make_eni(store)
    nodeworld.operator_says(store)
    enis = Cache(names.ENI, ENI)
    enis.take(store.get(names.ENI, "pods-0"))
    eni = enis.get("pods-0")
    assert eni is not None
    facts = eni_facts(eni)
    assert facts is not None
    grants = Grants(Journal(tmp_path / "journal", "boot"))
    grants.observe(eni_view(eni, link_ready=True), facts)
    links = Links(
        enis,
        grants,
        MemoryWiring(),
        Guest((), lambda _: None),
        node=lambda: None,
        told=lambda _: None,
    )
    status = EniStatus(store, enis, grants, links)
    holder = Holder("uid", "container", "eth0")
    grant = grants.acquire(Ask(holder, "default", "web", "", "pods", rest=rest), 1e9, lambda: True)
    assert grant is not None
    grants.release(grant)
    for _ in range(20):
        if status.reconcile("pods-0") is None:
            break
        status = EniStatus(store, enis, grants, links)  # as after the wait that it asked for
        enis.take(store.get(names.ENI, "pods-0"))
    said = store.get(names.ENI, "pods-0")["status"]["node"]
    assert (said["cooling"], said["available"]) == (0, 3)
