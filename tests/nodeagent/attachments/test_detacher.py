"""Links that an attachment has left are gone before the next one is built in its namespace."""

from collections.abc import Collection
from pathlib import Path

import pytest
from msgspec.structs import replace

from openeni_nodeagent.attachments import detacher
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.datapath_api import PodInterface
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    """An agent that has ended the containers c1 and c2 and not removed their links yet."""
    made = AgentParts(tmp_path)
    made.create_objects()
    for container in ("c1", "c2"):
        made.grant(container, container)
        made.detacher.delete(container, "eth0", "")
    return made


def removed(parts: AgentParts) -> list[str]:
    return [container for container, _ in parts.datapath.ended]


def kept_by(parts: AgentParts, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Return a list that gets the addresses that each removal of links has to keep."""
    found: list[set[str]] = []

    def finish(_: PodInterface, __: str, kept: Collection[str] = ()) -> None:
        found.append(set(kept))

    monkeypatch.setattr(parts.datapath, "finish_delete", finish)
    return found


def test_a_new_grant_waits_for_what_its_own_attachment_has_left_anywhere(
    parts: AgentParts,
) -> None:
    grant = parts.grant("web", "c1", connect=False)
    with parts.locks.locked("c1"):
        parts.detacher.finish_before(grant)
    assert removed(parts) == ["c1"]


def test_a_new_grant_waits_for_what_others_have_left_in_its_namespace(parts: AgentParts) -> None:
    parts.netns("c3").hardlink_to(parts.netns("c2"))
    parts.detacher.finish_before(parts.grant("c3", "c3", connect=False))
    assert removed(parts) == ["c2"]


def test_a_namespace_that_no_path_leads_to_any_more_is_another_until_the_kernel_refuses_it(
    parts: AgentParts,
) -> None:
    """A new one may have its inode's number."""
    parts.netns("c3").hardlink_to(parts.netns("c1"))
    parts.netns("c1").unlink()
    grant = parts.grant("c3", "c3", connect=False)
    parts.detacher.finish_before(grant)
    assert removed(parts) == []
    assert parts.detacher.finish_others(grant)
    assert removed(parts) == ["c1"]


def test_a_new_grant_is_refused_while_its_own_links_cannot_be_removed(parts: AgentParts) -> None:
    grant = parts.grant("web", "c1", connect=False)
    parts.datapath.refused = "EBUSY"
    with pytest.raises(CNIError, match="cannot be removed"):
        parts.detacher.finish_before(grant)


def test_those_of_the_same_namespace_alone_are_removed(parts: AgentParts) -> None:
    parts.netns("c3").hardlink_to(parts.netns("c1"))
    grant = parts.grant("c3", "c3", connect=False)
    for found in (True, False):
        assert parts.detacher.finish_others(grant) is found
        assert removed(parts) == ["c1"]
    parts.finish()
    assert removed(parts) == ["c1", "c2"]


def test_an_attachment_keeps_its_own_and_removes_those_of_its_containers_others(
    parts: AgentParts,
) -> None:
    grant = parts.grant("web", "c1", connect=False)
    other = replace(grant, attachment=replace(grant.attachment, interface="eth1"))
    parts.detacher.delete("c1", "eth0", "")
    with parts.locks.locked("c1"):
        assert not parts.detacher.finish_others(grant)
        assert removed(parts) == []
        assert parts.detacher.finish_others(other)
    assert removed(parts) == ["c1"]


@pytest.mark.parametrize("beside", [True, False])
def test_links_that_have_a_grant_stay_in_its_namespace_alone(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch, *, beside: bool
) -> None:
    """Those of another pod, or of another interface."""
    kept = kept_by(parts, monkeypatch)
    if beside:
        parts.netns("c3").hardlink_to(parts.netns("c1"))
    other = parts.grant("c3", "c3")
    parts.detacher.finish("c1/eth0")
    assert kept == [set(other.addresses) if beside else set()]


def adopted(parts: AgentParts, grant: Grant, container: str) -> Grant:
    """Return a grant of a container's second interface as a lost journal has it adopted."""
    parts.grants.end_grant(grant, EndReason.DELETED)
    attachment = replace(grant.attachment, container_id=container, interface="eth1")
    found = replace(grant, attachment=attachment, netns="", netns_id=None)
    parts.grants.adopt(found)
    return found


@pytest.mark.parametrize("own", [True, False], ids=["its container's", "another's"])
def test_of_grants_whose_namespace_is_not_known_its_containers_alone_are_there(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch, *, own: bool
) -> None:
    """Another one may have left its address to the pod, which has it beyond its end then."""
    kept = kept_by(parts, monkeypatch)
    other = adopted(parts, parts.grant("c3", "c3"), "c1" if own else "c3")
    parts.detacher.finish("c1/eth0")
    assert kept == [set(other.addresses) if own else set()]


def test_a_grant_of_another_eni_keeps_no_slave_of_this_one(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_by(parts, monkeypatch)
    parts.netns("c3").hardlink_to(parts.netns("c1"))
    node_objects.make_eni(parts.store, "pods-1")
    node_objects.write_operator_status(parts.store, "pods-1", number=1)
    parts.sync(look=False)
    grant = parts.grant("c3", "c3")
    parts.grants.end_grant(grant, EndReason.DELETED)
    parts.grants.adopt(replace(grant, eni="pods-1", port=""))
    parts.detacher.finish("c1/eth0")
    assert kept == [set()]


def test_a_container_that_moves_leaves_nothing_where_it_was(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its grant already, or still."""
    kept = kept_by(parts, monkeypatch)
    grant = parts.grant("c3", "c3")
    parts.detacher.move(grant)
    assert kept == [set()]


def test_a_namespace_that_is_not_known_is_nobody_elses(parts: AgentParts) -> None:
    parts.netns("c3").touch()
    grant = replace(parts.grant("c3", "c3", connect=False), netns_id=None)
    parts.detacher.finish_others(grant)
    assert removed(parts) == []


def test_a_container_that_is_busy_is_not_waited_for_without_end(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detacher, "OTHER_CALL_SECONDS", 0.05)
    parts.netns("c3").hardlink_to(parts.netns("c1"))
    grant = parts.grant("c3", "c3", connect=False)
    with parts.locks.locked("c1"), pytest.raises(CNIError, match="container c1") as raised:
        parts.detacher.finish_others(grant)
    assert raised.value.code == Code.TRY_AGAIN


def test_links_that_cannot_be_removed_are_an_error_that_names_their_address(
    parts: AgentParts,
) -> None:
    parts.netns("c3").hardlink_to(parts.netns("c1"))
    grant = parts.grant("c3", "c3", connect=False)
    parts.datapath.refused = "EBUSY"
    with pytest.raises(CNIError, match="cannot be removed") as raised:
        parts.detacher.finish_others(grant)
    assert (raised.value.code, raised.value.details) == (Code.IO, "EBUSY")
