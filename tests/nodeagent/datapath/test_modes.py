"""The modes that a kernel supports, and the error for one that it does not."""

from contextlib import suppress

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, MetadataService, Mode
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath_api import ModeUnsupportedError
from openeni_testing.network.netns import Namespace

VETH = Datapath(Mode.VETH)
L2, L3S = (Datapath(Mode.IPVLAN, IPVlanDatapath(mode)) for mode in (IPVlanMode.L2, IPVlanMode.L3S))
OPEN_L2 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2), None, MetadataService.ALLOW)
ALL = frozenset({"Veth", "IPVlanL2", "IPVlanL3S", "IPVlanL3"})


def kernel(monkeypatch: pytest.MonkeyPatch, *labels: str, egress: bool = True) -> None:
    """A kernel with these modes, whatever this machine's has."""
    monkeypatch.setattr(modes, "supported_datapath_modes", lambda: frozenset(labels))
    monkeypatch.setattr(modes, "has_egress_hook", lambda: egress)


@pytest.mark.parametrize("datapath", [VETH, L2, L3S, OPEN_L2], ids=lambda d: d.word)
def test_a_kernel_with_everything_refuses_nothing(
    monkeypatch: pytest.MonkeyPatch, datapath: Datapath
) -> None:
    kernel(monkeypatch, *ALL)
    modes.require_support(datapath)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["Veth"], "does not support mode IPVlanL3S, only Veth: use one of these"),
        (["Veth", "IPVlanL2"], "only IPVlanL2, Veth:"),
        ([], "only none:"),
    ],
)
def test_an_unsupported_mode_is_named_with_the_supported_ones(
    monkeypatch: pytest.MonkeyPatch, labels: list[str], words: str
) -> None:
    kernel(monkeypatch, *labels)
    with pytest.raises(ModeUnsupportedError, match=words):
        modes.require_support(L3S)


def test_without_an_egress_hook_only_l2_with_a_blocked_metadata_service_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel(monkeypatch, *ALL, egress=False)
    for datapath in (VETH, L3S, OPEN_L2):
        modes.require_support(datapath)
    with pytest.raises(ModeUnsupportedError, match=r"use L3S or metadataService: Allow"):
        modes.require_support(L2)


@pytest.mark.root
def test_the_kernels_modes_are_those_whose_links_iproute2_can_create() -> None:
    found: set[str] = set()
    with Namespace("probe") as netns:
        netns.ip("link add parent type veth peer name other")
        found.add("Veth")
        for mode in IPVlanMode:
            with suppress(AssertionError):
                netns.ip(f"link add slave link parent type ipvlan mode {mode.lower()}")
                netns.ip("link del slave")
                found.add(f"IPVlan{mode}")
    assert modes.supported_datapath_modes() == found


@pytest.mark.root
def test_the_egress_hook_is_detected_where_nft_accepts_a_chain_on_it() -> None:
    table = "table netdev t { chain c { type filter hook egress device lo priority 0; }; }"
    takes = False
    with Namespace("probe") as netns, suppress(AssertionError):
        netns.nft(table)
        takes = True
    assert modes.has_egress_hook() == takes
