"""Whose pods a node's container runtime starts, and what is reported about it."""

from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason, Status
from openeni_nodeagent.cni.configuration import Action, ConfigurationFacts, decide, is_other
from openeni_testing.agent.cni_call import DEEP

BARE = ConfigurationFacts(
    selected=False, enis=0, link_ready=False, grants=0, installed=False, others=()
)
SERVED = ConfigurationFacts(
    selected=True, enis=1, link_ready=True, grants=2, installed=True, others=()
)
BEFORE, AFTER = "05-cilium.conflist", "20-flannel.conflist"
MIGRATING = replace(SERVED, installed=False, grants=0, others=(AFTER,), migrating=True)


@pytest.mark.parametrize(
    ("facts", "action", "reason"),
    [
        # Nothing is put on a node before a pod can be served there.
        (BARE, Action.LEAVE, Reason.WAITING_FOR_NIC),
        (replace(BARE, selected=True), Action.LEAVE, Reason.WAITING_FOR_NIC),
        (replace(BARE, selected=True, enis=1), Action.LEAVE, Reason.WAITING_FOR_NIC),
        (replace(SERVED, installed=False, grants=0), Action.INSTALL, Reason.CONFIGURED),
        # It stays, and is put right, for as long as anything needs it.
        (SERVED, Action.INSTALL, Reason.CONFIGURED),
        (replace(SERVED, link_ready=False), Action.INSTALL, Reason.CONFIGURED),
        (replace(BARE, installed=True, selected=True), Action.INSTALL, Reason.CONFIGURED),
        (replace(BARE, installed=True, enis=1), Action.INSTALL, Reason.CONFIGURED),
        (replace(BARE, installed=True, grants=1), Action.INSTALL, Reason.CONFIGURED),
        (replace(BARE, installed=True), Action.REMOVE, Reason.WAITING_FOR_NIC),
        (replace(BARE, installed=True, others=(AFTER,)), Action.REMOVE, Reason.WAITING_FOR_NIC),
        # No node is taken over from another plugin, and none is lost to one without a word.
        (replace(SERVED, installed=False, others=(AFTER,)), Action.LEAVE, Reason.OTHER_CNI),
        (replace(MIGRATING, others=(AFTER,)), Action.INSTALL, Reason.CONFIGURED),
        (replace(MIGRATING, others=(BEFORE,)), Action.INSTALL, Reason.OTHER_CNI),
        (replace(MIGRATING, link_ready=False), Action.LEAVE, Reason.WAITING_FOR_NIC),
        (replace(SERVED, others=(BEFORE,)), Action.INSTALL, Reason.OTHER_CNI),
        (replace(SERVED, others=(AFTER,)), Action.INSTALL, Reason.CONFIGURED),
    ],
)
def test_what_is_done_and_reported(
    facts: ConfigurationFacts, action: Action, reason: Reason
) -> None:
    decision = decide(facts)
    assert (decision.action, decision.condition.reason) == (action, reason)
    assert (decision.condition.status == Status.TRUE) == (reason == Reason.CONFIGURED)


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("link_ready", [False, True])
def test_a_configuration_that_an_earlier_boot_left_serves_nothing_yet(
    installed: bool, link_ready: bool
) -> None:
    facts = replace(SERVED, installed=installed, link_ready=link_ready)
    assert decide(facts).serving == link_ready


def test_other_plugins_are_named() -> None:
    lost = decide(replace(SERVED, others=(BEFORE, AFTER))).condition.message
    assert BEFORE in lost
    assert AFTER not in lost
    assert AFTER in decide(replace(SERVED, others=(AFTER,))).condition.message
    kept = decide(replace(SERVED, installed=False, others=(BEFORE, AFTER))).condition.message
    assert f"{BEFORE}, {AFTER}" in kept


@pytest.mark.parametrize(
    ("name", "content", "other"),
    [
        ("10-openeni.conflist", b"{}", False),
        (".10-openeni.conflist.new", b"{}", False),
        ("README", b"{}", False),
        ("10-calico.conflist", b'{"plugins": [{"type": "calico"}, {"type": "portmap"}]}', True),
        ("87-podman-bridge.conflist", b'{"plugins": [{"type": "bridge"}]}', True),
        ("05-old.conf", b'{"type": "bridge"}', True),
        ("99-loopback.conf", b'{"cniVersion": "0.2.0", "type": "loopback"}', False),
        ("99-loopback.conf", b'{"Type": "loopback"}', False),
        ("00-loopback.conf", b'{"type": "loopback"}', True),  # pods would get nothing else
        ("00-lo.conflist", b'{"plugins": [{"type": "loopback"}]}', True),
        ("20-cloud.conflist", b'{"plugins": [{"type": "loopback"}, {"Type": "bridge"}]}', True),
        ("20-cloud.conflist", b'{"plugins": [1]}', True),
        ("20-list.conf", b"[]", True),
        ("00-multus.conf", b'{"type": "multus", "delegates": [{"type": "x"}]}', False),
        ("00-multus.conf", b'{"type": "multus-shim", "clusterNetwork": "/x"}', False),
        ("10-broken.json", b"{", True),
        ("10-empty.conf", b"{}", True),
        ("10-bytes.conflist", b'{"plugins": [{"type": "br\xffidge"}]}', True),
        pytest.param("10-x.conf", b'{"type":"x","y":' + DEEP + b"}", True, id="deep"),
    ],
)
def test_whose_configuration_a_file_is(name: str, content: bytes, other: bool) -> None:
    assert is_other(name, content) == other
