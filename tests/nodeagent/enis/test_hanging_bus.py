"""Programs of the node that do not answer the agent hold up no ENI."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Type, find, is_true
from openeni_nodeagent.enis.nic_guards import GuardError, NICGuards, known_guards
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow
MAC = node_objects.mac(0)


class Bus:
    """The node's system bus; each of its answers waits until `answers` is set."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.refuses = False
        self.asked: list[str] = []

    def reload(self, service: str) -> None:
        self.asked.append(service)
        self.answers.wait()
        if self.refuses:
            raise GuardError(f"{service} cannot be reloaded: no answer")


@pytest.fixture
def bus() -> Iterator[Bus]:
    made = Bus()
    yield made
    made.answers.set()


@pytest.fixture
def host(tmp_path: Path, executable: Path, bus: Bus) -> AgentHost:
    return AgentHost(tmp_path, executable, reload=bus.reload)


def make_eni(host: AgentHost, number: int, *, attached: bool = True) -> None:
    name = f"pods-{number}"
    host.datapath.nics.add(node_objects.mac(number))
    node_objects.make_eni(host.store, name)
    node_objects.write_operator_status(host.store, name, number=number, attached=attached)


def answers(host: AgentHost, count: int) -> bool:
    return len(host.node_status().retired) == count


def is_prepared(host: AgentHost, number: int) -> bool:
    return is_true(host.eni(f"pods-{number}").status.conditions, Type.GUEST_PREPARED)


def test_a_bus_that_hangs_holds_up_no_eni(host: AgentHost, bus: Bus) -> None:
    """Once it answers, one reload tells of all that came meanwhile."""

    def prepared() -> list[bool]:
        return [is_prepared(host, number) for number in range(4)]

    def offered() -> bool:
        return all(host.node_status(f"pods-{number}").available for number in range(4))

    host.create_objects()
    with host.agent():
        wait_for(lambda: is_prepared(host, 0), "the first ENI is prepared")
        bus.answers.clear()
        bus.asked.clear()
        make_eni(host, 1)
        wait_for(lambda: bus.asked, "the bus is asked")
        make_eni(host, 2)
        make_eni(host, 3)
        wait_for(offered, "each ENI offers addresses")
        first, second, _ = node_objects.addresses(3)
        for retiring in ([first], [first, second]):
            asked = [{"op": "add", "path": "/spec/retiring", "value": retiring}]
            host.store.patch(names.ENIS, "pods-0", operations=asked)
            wait_for(partial(answers, host, len(retiring)), "it is answered")
        assert prepared() == [True, False, False, False]
        assert bus.asked == ["networkd"]
        bus.answers.set()
        wait_for(lambda: all(prepared()), "all are prepared")
        assert bus.asked == ["networkd", "networkd"]


def test_a_new_eni_is_prepared_only_once_the_programs_have_been_told(
    host: AgentHost, bus: Bus
) -> None:
    """The operator has a port attached after that."""
    bus.refuses = True
    node_objects.make_node(host.store)
    node_objects.make_pool(host.store)
    with host.agent():
        make_eni(host, 0, attached=False)

        def message() -> str:
            found = find(host.eni().status.conditions, Type.GUEST_PREPARED)
            assert found
            assert found.status != "True"
            return found.message

        wait_for(lambda: message() == "networkd cannot be reloaded: no answer", "it is named")
        bus.refuses = False
        wait_for(lambda: is_prepared(host, 0), "it is prepared")


def test_what_an_agent_could_not_have_read_the_next_one_has(tmp_path: Path) -> None:
    """It may end while the system bus hangs: the files are in their places then."""
    run, networkd, none = tmp_path / "run", tmp_path / "networkd", tmp_path / "none"
    for folder in (run, networkd):
        folder.mkdir()
    tried: list[bool] = []
    due: list[NICGuards] = []

    def started(*, refuses: bool = False) -> NICGuards:
        def reload(_: str) -> None:
            tried.append(refuses)
            if refuses:
                raise GuardError("networkd cannot be reloaded")

        only_networkd = [
            g for g in known_guards(none, networkd, none, none) if g.service == "networkd"
        ]
        guards = NICGuards(only_networkd, reload, run)
        guards.subscribe(lambda: due.append(guards))
        return guards

    first = started()
    first.reload()
    first.prepare(MAC)
    refused = started(refuses=True)
    assert due[-1] is refused
    assert not refused.prepare(MAC)
    with pytest.raises(GuardError):
        refused.reload()
    third = started()
    assert due[-1] is third
    third.reload()
    assert third.prepare(MAC)
    last = started()
    assert due[-1] is third
    assert last.prepare(MAC)
    assert tried == [False, True, False]
