"""ADD, DEL, CHECK, GC and looks in every order of their steps: one address, one owner.

The commands, the ledger, the journal, the locks and the look are the real ones. A task may be
preempted before each step that another one could see: at a container's lock, at the ledger, before
and after each change of the kernel. The agent crashes after each step as well; then the next one
starts from journal and kernel, and the runtime sends its DELs. OPENENI_PREEMPTIONS sets how many
there may be in one order.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from openeni_testing.agent.interleavings import Decision, Interleaving, Schedule, explore
from openeni_testing.agent.stepped_agent import World

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(3600)]
PREEMPTIONS: Final = int(os.environ.get("OPENENI_PREEMPTIONS", "1"))
FEWEST_ORDERS: Final = 40
GC_AGE: Final = "openeni_nodeagent.attachments.garbage_collection.GC_AGE_SECONDS"


Tasks = Sequence[tuple[str, Callable[[], None]]]


def add_while_another_ends(world: World) -> Tasks:
    return (
        ("DEL c1", partial(world.delete, "c1")),
        ("ADD c2", partial(world.add, "c2")),
        ("look", world.look),
    )


def two_adds_for_one_address(world: World) -> Tasks:
    world.make_room()
    return (
        ("ADD c2", partial(world.add, "c2")),
        ("ADD c3", partial(world.add, "c3")),
        ("look", world.look),
    )


def calls_of_one_container(world: World) -> Tasks:
    return (
        ("ADD c1", partial(world.add, "c1")),
        ("DEL c1", partial(world.delete, "c1")),
        ("look", world.look),
    )


def check_beside_others(world: World) -> Tasks:
    world.make_room()
    return (
        ("CHECK c1", partial(world.check, "c1")),
        ("DEL c1", partial(world.delete, "c1")),
        ("ADD c2", partial(world.add, "c2")),
    )


def links_that_are_removed_late(world: World) -> Tasks:
    world.delete("c1")
    world.ending.clear()
    return (
        ("finish c1", world.finish),
        ("ADD c1", partial(world.add, "c1")),
        ("look", world.look),
    )


def garbage_collection(world: World) -> Tasks:
    world.delete_pod("c1")
    return (
        ("GC", partial(world.collect, "c1")),
        ("ADD c2", partial(world.add, "c2")),
        ("look", world.look),
    )


def gc_and_del_of_one_container(world: World) -> Tasks:
    world.delete_pod("c1")
    return (
        ("GC", partial(world.collect, "c1")),
        ("DEL c1", partial(world.delete, "c1")),
        ("ADD c2", partial(world.add, "c2")),
    )


def gc_and_add_of_one_container(world: World) -> Tasks:
    world.delete_pod("c1")
    return (
        ("GC", partial(world.collect, "c1")),
        ("ADD c1", partial(world.add, "c1")),
        ("look", world.look),
    )


def a_del_that_removes_nothing(world: World) -> Tasks:
    world.kernel.deletes_nothing = True
    return (
        ("DEL c1", partial(world.delete, "c1")),
        ("look", world.look),
        ("ADD c2", partial(world.add, "c2")),
    )


def a_pod_that_is_built_again(world: World) -> Tasks:
    ((address, container),) = world.kernel.owners().items()
    world.kernel.lose(address)
    world.lost.add(container)
    return (
        ("look", world.look),
        ("DEL c1", partial(world.delete, "c1")),
        ("ADD c2", partial(world.add, "c2")),
    )


def an_address_that_is_free(world: World) -> Tasks:
    world.delete("c1")
    world.look()
    return (
        ("look", world.look),
        ("ADD c2", partial(world.add, "c2")),
        ("ADD c3", partial(world.add, "c3")),
    )


SCENARIOS: Final = (
    add_while_another_ends,
    two_adds_for_one_address,
    calls_of_one_container,
    check_beside_others,
    links_that_are_removed_late,
    garbage_collection,
    gc_and_del_of_one_container,
    gc_and_add_of_one_container,
    a_del_that_removes_nothing,
    a_pod_that_is_built_again,
    an_address_that_is_free,
)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_in_every_order_of_steps_an_address_has_one_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Callable[[World], Tasks]
) -> None:
    monkeypatch.setattr(GC_AGE, 0.0)
    orders = set[Schedule]()

    def run(schedule: Schedule, crash_after: int | None = None) -> Sequence[Decision]:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            interleaving = Interleaving(schedule, crash_after)
            world = World(Path(folder), interleaving)
            try:
                if not interleaving.run(scenario(world)):
                    world.crash()
                world.require_one_owner()
            except BaseException:
                print(f"after {interleaving}, crash: {crash_after}")  # noqa: T201 shown if it fails
                raise
            finally:
                world.close()
        return interleaving.decisions

    for decisions in explore(run, PREEMPTIONS):
        orders.add(tuple(d.chosen for d in decisions))
    for decisions in explore(run, 0):
        schedule = tuple(d.chosen for d in decisions)
        for number in range(len(schedule)):
            run(schedule, number)
    assert len(orders) > FEWEST_ORDERS
