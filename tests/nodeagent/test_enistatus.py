"""The agent's part of an ENI's status: at most once a second, and only what differs."""

from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_nodeagent import enistatus
from openeni_nodeagent.cache import Cache
from openeni_nodeagent.enistatus import EniStatus
from openeni_nodeagent.grants import Grants
from openeni_nodeagent.guest import Guest
from openeni_nodeagent.journal import Journal
from openeni_nodeagent.links import Links
from openeni_nodeagent.wiring import NodeFacts
from openeni_nodeagent.workqueue import RetryError
from openeni_testing import nodeworld
from openeni_testing.memorystore import MemoryStore
from openeni_testing.memorywiring import MemoryWiring

NODE = NodeFacts(("10.99.0.11",))


class CountingStore(MemoryStore):
    writes = 0

    def apply(
        self,
        kind: names.Kind,
        body: Json,
        *,
        manager: str,
        subresource: str = "",
        force: bool = True,
    ) -> Json:
        self.writes += manager == names.MANAGER_AGENT
        return super().apply(kind, body, manager=manager, subresource=subresource, force=force)


class World:
    def __init__(self, folder: Path) -> None:
        self.store = CountingStore()
        self.enis = Cache(names.ENI, ENI)
        nodeworld.make_eni(self.store)
        nodeworld.operator_says(self.store)
        wiring = MemoryWiring(nodeworld.mac(0))
        wiring.prepare_node(NODE)
        grants = Grants(Journal(folder / "journal", "boot"))
        guest = Guest((), lambda _: None)
        self.links = Links(self.enis, grants, wiring, guest, node=lambda: NODE, told=lambda _: None)
        self.status = EniStatus(self.store, self.enis, grants, self.links)

    def see(self) -> None:
        """The watch shows the ENI as it is now."""
        self.enis.take(self.store.get(names.ENI, "pods-0"))

    def generation_changes(self, *retiring: str) -> None:
        operation = {"op": "add", "path": "/spec/retiring", "value": list(retiring)}
        self.store.patch(names.ENI, "pods-0", [operation])
        self.see()
        self.links.reconcile("pods-0")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.see()
    assert made.status.reconcile("pods-0") == enistatus.SOON_SECONDS  # not observed yet
    made.links.reconcile("pods-0")
    return made


def test_a_second_write_waits_for_its_second(world: World) -> None:
    assert world.status.reconcile("pods-0") is None
    world.see()
    world.generation_changes(nodeworld.addresses(1)[0])
    again = world.status.reconcile("pods-0")
    assert again is not None
    assert 0 < again <= enistatus.PERIOD_SECONDS
    assert world.store.writes == 1


def test_what_the_api_shows_already_is_not_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enistatus, "PERIOD_SECONDS", 0.0)
    monkeypatch.setattr(enistatus, "LAG_SECONDS", 0.0)
    for _ in range(3):
        world.status.reconcile("pods-0")
        world.see()
    assert world.store.writes == 1


def test_a_cache_that_is_behind_is_no_reason_to_write_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enistatus, "PERIOD_SECONDS", 0.0)
    for _ in range(3):
        world.status.reconcile("pods-0")
    assert world.store.writes == 1


def test_what_somebody_else_changed_is_put_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enistatus, "PERIOD_SECONDS", 0.0)
    monkeypatch.setattr(enistatus, "LAG_SECONDS", 0.0)
    world.status.reconcile("pods-0")
    changed = {"op": "replace", "path": "/status/node/available", "value": 0}
    world.store.patch(names.ENI, "pods-0", [changed], subresource="status")
    world.see()
    world.status.reconcile("pods-0")
    node = decode(world.store.get(names.ENI, "pods-0"), ENI).status.node
    assert node is not None
    assert node.available == 3


def test_a_write_that_failed_is_tried_again(world: World) -> None:
    world.store.set_outage(outage=True)
    with pytest.raises(RetryError, match="status of ENI pods-0 not written"):
        world.status.reconcile("pods-0")
    world.store.set_outage(outage=False)
    world.status.reconcile("pods-0")
    assert world.store.writes == 2
