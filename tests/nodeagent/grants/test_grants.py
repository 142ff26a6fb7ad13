"""Grants and their journal: what happens when it cannot be written, and what is written first."""

import json
from pathlib import Path
from threading import Thread

import msgspec
import pytest
from msgspec.structs import replace

from openeni_crds import names
from openeni_kube.result import Done, RequeueAfter, Retry
from openeni_nodeagent.cni.call import StoppingError
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.enis.eni_reconciler import GUARD_PERIOD_SECONDS
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grant_log import EndReason, GrantLog
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import Journal, JournalError, JournalRecord
from openeni_nodeagent.grants.ledger import AddressOwnedError
from openeni_nodeagent.grants.requests import MAX_WAITING, GrantRequest
from openeni_nodeagent.grants.retained import Retained
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts
from openeni_testing.objects import remove
from openeni_testing.waiting import wait_for

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


def made(journal: Journal) -> Grants:
    return Grants(journal, GrantLog("n1"), lambda _: False)


def refuse(*_: JournalRecord) -> None:
    raise JournalError(REFUSED)


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
        assert parts.grants.known_enis() == ()
    assert parts.links.reconcile("pods-0") == RequeueAfter(GUARD_PERIOD_SECONDS)
    assert [facts.name for facts in parts.grants.known_enis()] == ["pods-0"]


def test_a_container_of_another_pod_is_refused_with_the_variables_that_contradict(
    parts: AgentParts,
) -> None:
    parts.grant("web", "c1", "uid-1")
    with pytest.raises(CNIError, match=r"CNI_CONTAINERID, c1, .* CNI_ARGS, uid-2$") as raised:
        parts.grant("other", "c1", "uid-2")
    assert raised.value.code == Code.INVALID_ENVIRONMENT


def test_an_eni_that_is_gone_is_retried_too(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(parts.store, names.ENIS, "pods-0")
    parts.datapath.nics.clear()
    with monkeypatch.context() as full:
        full.setattr(parts.journal, "append", refuse)
        parts.sync()
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
            parts.detacher.end(grant, EndReason.DELETED)
    assert (raised.value.code, raised.value.message) == (Code.IO, REFUSED)
    assert parts.grants.all() == (grant,)
    parts.detacher.end(grant, EndReason.DELETED)
    assert parts.grants.all() == ()


def test_a_grant_is_adopted_only_once_the_journal_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal", "boot")
    grants = made(journal)
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
    grants = made(journal)
    grants.adopt(GRANT)
    with pytest.raises(AddressOwnedError):
        grants.adopt(other_of(GRANT))
    assert tuple(journal.state.grants.values()) == (GRANT,)


def test_a_container_that_got_a_grant_meanwhile_adopts_no_other(tmp_path: Path) -> None:
    """Nobody would remove the address of the one that it has from the kernel."""
    grants = made(Journal(tmp_path / "journal", "boot"))
    grants.adopt(GRANT)
    with pytest.raises(AddressOwnedError, match="by now"):
        grants.adopt(msgspec.structs.replace(GRANT, addresses=("10.99.9.9",)))
    assert grants.all() == (GRANT,)


def request(container: str, pool: str = "pods", *addresses: str) -> GrantRequest:
    attachment = Attachment(f"uid-{container}", container, "eth0")
    return GrantRequest(
        attachment,
        "default",
        container,
        "/ns",
        pool,
        cool_down=30,
        asked_at=0.0,
        requested=addresses,
    )


def test_a_caller_that_is_gone_gets_no_address(parts: AgentParts) -> None:
    with pytest.raises(CNIError, match="abandoned"):
        parts.grants.acquire(request("c1"), float("inf"), lambda: False)
    assert parts.grants.all() == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "waits",
    [
        pytest.param(("empty",), id="of an empty pool"),
        pytest.param(("pods", "10.98.9.9"), id="each for a certain address"),
    ],
)
def test_pods_that_wait_keep_no_pod_out_that_can_be_served(
    parts: AgentParts, waits: tuple[str, ...]
) -> None:
    failures: list[str] = []

    def wait(container: str, *wanted: str) -> None:
        try:
            parts.grants.acquire(request(container, *wanted), float("inf"), lambda: True)
        except CNIError as error:
            failures.append(error.details)
        except StoppingError:
            pass

    for name in node_objects.addresses(3):
        parts.grant(name, name)
    names = [f"w{n}" for n in range(MAX_WAITING)]
    many = [Thread(target=wait, args=(name, *waits), daemon=True) for name in names]
    for thread in many:
        thread.start()
    wait_for(lambda: len(parts.grants.waits()) == MAX_WAITING, "all wait")
    with pytest.raises(CNIError, match=f"{MAX_WAITING} pods of this node already wait"):
        parts.grants.acquire(request("late", *waits), float("inf"), lambda: True)
    other = Thread(target=wait, args=("other", "pods"), daemon=True)
    other.start()
    wait_for(lambda: len(failures) == 1, "one of those that wait has made room")
    node_objects.write_operator_status(parts.store, count=4)
    parts.sync()
    other.join(60)
    assert parts.grants.find("other", "eth0") is not None
    assert f"as many of them for ENIPool {waits[0]} as for any other" in failures[0]
    parts.grants.stop()
    for thread in many:
        thread.join(60)
    assert parts.grants.waits() == ()


@pytest.mark.slow
def test_pods_that_wait_for_what_never_comes_keep_no_address_and_no_namespace_out(
    parts: AgentParts,
) -> None:
    own = node_objects.addresses(3)[0]
    parts.grants.retain("default/web-0", Retained("pods", (own,)))
    taken = [parts.grant(name, name).addresses[0] for name in ("a", "b")]
    refused: list[str] = []

    def wait(wanted: GrantRequest) -> None:
        try:
            parts.grants.acquire(wanted, float("inf"), lambda: True)
        except CNIError as error:
            refused.append(error.details)
        except StoppingError:
            pass

    waits = [request("any"), *(request(f"w{n}", "pods", "10.98.9.9") for n in range(95))]
    threads = [Thread(target=wait, args=(each,), daemon=True) for each in waits]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(parts.grants.waits()) == MAX_WAITING, "all wait")
    grant = parts.grants.acquire(request("web-0"), 0.0, lambda: True)
    assert grant is not None
    assert grant.addresses == (own,)
    late = replace(request("late", "pods", taken[0]), namespace="shop")
    threads.append(Thread(target=wait, args=(late,), daemon=True))
    threads[-1].start()
    wait_for(lambda: late in [w.request for w in parts.grants.waits()], "it waits, too")
    wait_for(lambda: refused, "one has made room")
    parts.grants.stop()
    for thread in threads:
        thread.join(60)
    (error,) = refused  # none for the address that was free
    assert "of namespace default as of any other" in error


def test_the_journal_keeps_no_cool_down_that_is_over(parts: AgentParts) -> None:
    """However many addresses a node has had."""
    for number in range(600):
        grant = msgspec.structs.replace(
            GRANT, addresses=(f"10.99.{number // 250}.{number % 250}",), cool_down=-1.0
        )
        parts.grants.adopt(grant)
        parts.grants.end_grant(grant, EndReason.DELETED)
    parts.grants.compact()
    assert len(parts.journal.state.cooling_until) == 600  # the kernel may still have them
    parts.look()
    for _ in range(600):
        parts.grants.adopt(GRANT)
    parts.grants.compact()
    assert parts.journal.state.cooling_until == {}


def test_an_interrupted_add_and_its_end_are_a_pair_in_the_log(parts: AgentParts) -> None:
    parts.grants.end_grant(
        parts.grant("web", "c1", connect=False), EndReason.ADD_FAILED, used=False
    )
    parts.log.flush()
    lines = [json.loads(line) for line in parts.log_lines]
    assert [(line["event"], line.get("reason", "")) for line in lines] == [
        ("GrantBegan", ""),
        ("GrantEnded", "AddFailed"),
    ]


def test_an_eni_whose_status_shows_no_port_offers_nothing_and_others_serve(
    parts: AgentParts,
) -> None:
    node_objects.make_eni(parts.store, "pods-1")
    node_objects.write_operator_status(parts.store, "pods-1", number=1)
    parts.datapath.nics.add(node_objects.mac(1))
    parts.sync()
    parts.sync()
    operations = [{"op": "remove", "path": "/status/port"}]
    parts.store.patch(names.ENIS, "pods-0", operations=operations, subresource="status")
    parts.sync()
    assert parts.grants.counts("pods-0") is None
    for number in range(3):
        assert parts.grant(f"web-{number}", f"c{number}").eni == "pods-1"
