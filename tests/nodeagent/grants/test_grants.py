"""Grants and their journal: what happens when it cannot be written, and what is written first."""

import errno
import os
from pathlib import Path

import msgspec
import pytest

from openeni_crds import names
from openeni_kube.result import Done, Retry
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import Journal, JournalError, JournalRecord
from openeni_nodeagent.grants.ledger import AddressOwnedError, Attachment, Grant
from openeni_testing.agent.parts import AgentParts
from openeni_testing.objects import remove

REFUSED = "the journal of grants cannot be written: No space left on device"
GRANT = Grant(
    Attachment("uid", "c1", "eth0"),
    "default",
    "web",
    "",
    "pods-0",
    "pods",
    ("10.98.0.5",),
    "Veth",
    1450,
    at=0,
    cool_down=30,
)


def refuse(*_: JournalRecord) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects()
    return made


def other_of(grant: Grant) -> Grant:
    return msgspec.structs.replace(grant, attachment=Attachment("other", "c2", "eth0"))


def test_an_eni_is_retried_with_one_line_until_the_journal_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = AgentParts(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(parts.journal, "append", refuse)
        parts.create_objects()
        assert parts.links.reconcile("pods-0") == Retry(f"ENI pods-0: {REFUSED}")
        assert parts.grants.facts("pods-0") is None
    assert parts.links.reconcile("pods-0") == Done()
    assert parts.grants.facts("pods-0") is not None


def test_an_eni_that_is_gone_is_retried_too(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(parts.store, names.ENIS, "pods-0")
    parts.sync()
    with monkeypatch.context() as full:
        full.setattr(parts.journal, "append", refuse)
        assert parts.links.reconcile("pods-0") == Retry(f"ENI pods-0: {REFUSED}")
    assert parts.links.reconcile("pods-0") == Done()
    assert parts.grants.known_enis() == ()


def test_a_command_that_cannot_end_a_grant_is_an_io_error_for_the_runtime(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = parts.grant("web", "c1")
    with monkeypatch.context() as full:
        full.setattr(parts.journal, "append", refuse)
        with pytest.raises(CNIError) as raised:
            parts.commands.end_grant(grant)
    assert (raised.value.code, raised.value.message) == (Code.IO, REFUSED)
    assert parts.grants.all() == (grant,)
    parts.commands.end_grant(grant)
    assert parts.grants.all() == ()


def test_a_grant_is_adopted_only_once_the_journal_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal", "boot")
    grants = Grants(journal)
    with monkeypatch.context() as full:
        full.setattr(journal, "append", refuse)
        with pytest.raises(JournalError, match="No space left"):
            grants.adopt(GRANT)
    assert grants.all() == ()
    grants.adopt(GRANT)
    assert grants.all() == tuple(journal.state.grants.values()) == (GRANT,)


def test_a_grant_of_anothers_address_is_never_in_the_journal(tmp_path: Path) -> None:
    """The next process could not start from such a journal."""
    journal = Journal(tmp_path / "journal", "boot")
    grants = Grants(journal)
    grants.adopt(GRANT)
    with pytest.raises(AddressOwnedError):
        grants.adopt(other_of(GRANT))
    assert tuple(journal.state.grants.values()) == (GRANT,)
