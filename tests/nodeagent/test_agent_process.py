"""The agent as a process: what it logs first, and that there is only one of it on a node."""

import gc
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_nodeagent import __main__ as program
from openeni_testing.agent.host import AgentHost
from openeni_testing.agent.nursery import KERNEL_FILE, Agents
from openeni_testing.nursery import Child
from openeni_testing.store.remote import serve
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def agents(tmp_path: Path, executable: Path) -> Generator[Agents]:
    host = AgentHost(tmp_path, executable)
    host.create_objects()
    serve(host.store, tmp_path / "store.sock")
    with Agents(host, "memory") as made:
        yield made


def stop(agent: Child) -> None:
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0


def test_an_agent_says_its_version_before_anything_else(agents: Agents) -> None:
    agent = agents.start_agent()
    wait_for(agents.log, "the agent logs something")
    assert f"agent {names.BUNDLE_VERSION} starts" in agents.log().splitlines()[0]
    stop(agent)


def test_of_two_agents_the_second_waits_until_the_first_has_ended(agents: Agents) -> None:
    host = agents.host
    first = agents.start_agent()
    wait_for(host.conflist.exists, "the first serves")
    second = agents.start_agent()
    wait_for(lambda: "waiting for it to end" in agents.log(), "the second waits")
    host.add("one", "c1")
    stop(first)
    host.add("two", "c2")
    kernel = (host.folder / KERNEL_FILE).read_text()
    assert "c1" in kernel
    assert "c2" in kernel
    stop(second)


def test_an_agent_that_waits_for_another_ends_on_sigterm(agents: Agents) -> None:
    first = agents.start_agent()
    wait_for(agents.host.conflist.exists, "the first serves")
    second = agents.start_agent()
    wait_for(lambda: "waiting for it to end" in agents.log(), "the second waits")
    stop(second)
    stop(first)


@pytest.fixture
def own_signals() -> Generator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_when_an_agent_starts_its_modules_are_out_of_the_collectors_sight(
    agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[int] = []

    class Started:
        def __init__(self, *_: object, **__: object) -> None: ...

        def start(self) -> None:
            frozen.append(gc.get_freeze_count())
            raise OSError("it has started far enough")

    monkeypatch.setattr(program, "Agent", Started)
    host = agents.host
    try:
        with pytest.raises(program.StartError, match="far enough"):
            program.run(host.settings, host.store, host.datapath, host.gateways)
    finally:
        gc.unfreeze()
    assert frozen[0] > len(gc.get_objects()) / 2
