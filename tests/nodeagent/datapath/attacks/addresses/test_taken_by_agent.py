"""The agent builds a pod again that has lost its interface for addresses that it had taken."""

import time
from collections.abc import Generator
from pathlib import Path

import pytest

from openeni_nodeagent.cni.build import build
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost
from openeni_testing.agent.real_node import RealNode
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import MODES

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
SOON_SECONDS = 15.0  # a periodic look comes after 30


@pytest.fixture(params=MODES[1:])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[RealNode]:
    made = RealNode(AgentHost(tmp_path, build(tmp_path / "openeni")), request.param)
    yield made
    made.close()


def test_the_next_pod_starts_at_once_and_the_first_has_its_interface_again(
    node: RealNode, caplog: pytest.LogCaptureFixture
) -> None:
    with Namespace("bad") as bad, Namespace("web") as web, node.agent():
        own = node.add(bad)
        free = [address for address in node_objects.addresses(3) if address != own]
        bad.ip(*(f"addr add {address}/32 dev eth0" for address in free))
        uid = node_objects.make_pod(node.host.store, "web")
        answer = node.runtime(web).call("ADD", "web", uid, "web")
        assert answer.code == 0
        begun = time.monotonic()
        while f" {own}/" not in bad.program("ip", "addr"):
            assert time.monotonic() - begun < SOON_SECONDS
            time.sleep(0.1)
        assert "eth0" in bad.links()
    assert "had given itself" in caplog.text
