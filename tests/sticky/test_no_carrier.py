"""A pod that keeps its address leaves a node whose NIC has no carrier."""

from collections.abc import Callable

import pytest

from openeni_nodeagent.datapath_api import NoCarrierError
from openeni_nodeagent.enis import link_reports
from openeni_testing.sticky.world import KEPT, StickyWorld


def test_its_address_leaves_for_another_node(
    make_world: Callable[..., StickyWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_reports, "CARRIER_LOST_SECONDS", 0.0)  # not of the world's time
    world = make_world(capacity={"addressesPerENI": 4, "minAvailable": 1, "maxENIsPerNode": 2})
    (address,) = world.start("web-0", "n1", **KEPT)
    world.agents["n1"].datapath.eni_error = NoCarrierError("NIC ens7 has no carrier")
    world.step(20)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    assert world.retry("web-0", 120) == (address,)
