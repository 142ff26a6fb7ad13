"""The modes that a kernel supports, and the error for one that it does not."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, MetadataService, Mode
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath_api import ModeUnsupportedError, ProgramFailedError
from openeni_testing.network.netns import Namespace

VETH = Datapath(Mode.VETH)
L2, L3S, L3 = (Datapath(Mode.IPVLAN, IPVlanDatapath(mode)) for mode in IPVlanMode)
OPEN_L2 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2), None, MetadataService.ALLOW)
BY_NFT = [modes.has_egress_hook, modes.has_flow_offload, modes.knows_sockets]
ALL = frozenset({"Veth", "IPVlanL2", "IPVlanL3S", "IPVlanL3"})


def kernel(
    monkeypatch: pytest.MonkeyPatch, *labels: str, egress: bool = True, sockets: bool = True
) -> None:
    """A kernel with these modes, whatever this machine's has."""

    def is_supported(datapath: Datapath) -> bool:
        return datapath.word in labels

    monkeypatch.setattr(modes, "knows_sockets", lambda: sockets)
    monkeypatch.setattr(modes, "_is_supported", is_supported)
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


def test_without_cgroups_of_sockets_only_modes_in_which_pods_send_through_the_node_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel(monkeypatch, *ALL, sockets=False)
    for datapath in (VETH, L2):
        modes.require_support(datapath)
    for datapath in (L3S, L3):
        with pytest.raises(ModeUnsupportedError, match=r"CONFIG_CGROUP_NET_CLASSID.*use Veth or"):
            modes.require_support(datapath)


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
def test_a_mode_that_the_kernel_refuses_is_tried_again_once_a_minute_whoever_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its module may be installed while the node runs, and each ENI asks whenever it changes."""
    tried: list[str] = []
    now = [0.0]

    def refuses(datapath: Datapath) -> bool:
        tried.append(datapath.word)
        return False

    truth = modes.supported_datapath_modes()
    monkeypatch.setattr(modes, "_supported", set[str]())
    monkeypatch.setattr(modes, "_refused_at", dict[str, float]())
    monkeypatch.setattr(modes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with monkeypatch.context() as patch:
        patch.setattr(modes, "_creates_link", refuses)
        for now[0] in (0.0, 59.0, 60.0, 119.0):
            assert modes.supported_datapath_modes() == frozenset()
            with pytest.raises(ModeUnsupportedError, match="only none"):
                modes.require_support(VETH)
    assert {tried.count(word) for word in ALL} == {4}  # twice each time
    now[0] = 120.0
    modes.require_support(VETH)
    assert modes.supported_datapath_modes() == truth


@pytest.mark.root
@pytest.mark.parametrize(
    ("asked", "table"),
    [
        (
            modes.has_egress_hook,
            "table netdev t { chain c { type filter hook egress device lo priority 0; }; }",
        ),
        (  # every kernel that runs these tests is new enough
            modes.has_flow_offload,
            "table inet t { flowtable f { hook ingress priority 0; devices = { lo }; }; }",
        ),
    ],
    ids=["egress hook", "flow offload"],
)
def test_what_nft_accepts_is_detected(asked: Callable[[], bool], table: str) -> None:
    takes = False
    with Namespace("probe") as netns, suppress(AssertionError):
        netns.nft(table)
        takes = True
    assert asked() == takes


@pytest.mark.parametrize("release", ["5.14.0-427.el9.x86_64", "5.18.19", "4.18.0"])
def test_a_kernel_whose_flows_nobody_can_end_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    def refuse(_: object) -> bool:
        raise AssertionError("asked")

    monkeypatch.setattr(modes, "in_new_namespace", refuse)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    assert not modes.has_flow_offload.__wrapped__()
    for newer in ("5.19.0", "6.1.0-50-amd64", "7.3-rc1"):
        monkeypatch.setattr(os, "uname", lambda newer=newer: SimpleNamespace(release=newer))
        with pytest.raises(AssertionError, match="asked"):
            modes.has_flow_offload.__wrapped__()


@pytest.mark.root
@pytest.mark.parametrize(
    "failure",
    ["kill -KILL $$", "echo 'netlink: Error: Cannot allocate memory' >&2; exit 1"],
    ids=["killed", "no memory"],
)
@pytest.mark.parametrize("asked", BY_NFT)
def test_a_kernel_that_nft_could_not_ask_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str, asked: Any
) -> None:
    truth = asked()
    asked.cache_clear()
    (tmp_path / "nft").write_text(f"#!/bin/sh\n{failure}\n")
    (tmp_path / "nft").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(ProgramFailedError):
            asked()
    assert asked() == truth


@pytest.mark.root
@pytest.mark.parametrize("asked", [modes.has_egress_hook, modes.knows_sockets])
def test_one_refusal_is_not_yet_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    truth = asked()
    asked.cache_clear()
    real, refused = shutil.which("nft"), tmp_path / "refused"
    (tmp_path / "nft").write_text(
        f'#!/bin/sh\n[ -e {refused} ] && exec {real} "$@"\n'
        f"touch {refused}; echo 'netlink: Error: Cannot allocate memory' >&2; exit 1\n"
    )
    (tmp_path / "nft").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert asked() == truth
    assert refused.exists()
