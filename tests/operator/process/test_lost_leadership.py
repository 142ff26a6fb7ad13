"""A leader ends once another operator has led, and is restarted when it could never lead again."""

from dataclasses import dataclass, field
from typing import Any, Final
from unittest.mock import Mock

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import LEASES
from openeni_operator.__main__ import checks_of
from openeni_operator.process import leadership
from openeni_operator.process.leadership import NAME, RENEW_SECONDS, Leadership
from openeni_operator.process.lease import DURATION
from openeni_operator.process.probes import LoopCheck
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

NAMESPACE: Final = "openeni-system"


@dataclass
class Election:
    """A leader and a standby on one API server."""

    clock: FakeClock = field(default_factory=FakeClock)
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.leader, self.standby = (
            Leadership(self.store, NAMESPACE, name, clock=self.clock) for name in "ab"
        )
        assert self.leader.try_to_lead() == 0
        assert self.standby.try_to_lead() > 0

    def lease(self) -> Json:
        return self.store.get(LEASES, NAME, NAMESPACE)

    def be_taken_over(self) -> None:
        """Let the standby lead, since the leader does not renew."""
        self.clock.advance(DURATION)
        assert self.standby.try_to_lead() == 0


def test_a_leader_renews_and_ends_once_another_leads() -> None:
    election = Election()
    for _ in range(20):
        election.clock.advance(RENEW_SECONDS)
        assert election.leader.renew()
        assert election.leader.holds()
        assert election.standby.try_to_lead() > 0
    election.be_taken_over()
    assert not election.leader.renew()
    assert election.leader.leader == "b"


def test_a_leader_without_an_api_server_leads_on_if_nobody_else_did() -> None:
    election = Election()
    election.store.set_outage(True)
    election.clock.advance(10 * DURATION)
    assert election.leader.renew()
    assert not election.leader.holds()
    election.store.set_outage(False)
    assert election.leader.renew()
    assert election.leader.holds()


def test_a_leader_that_was_cut_off_does_not_lead_on_after_another() -> None:
    """What it remembers of the clouds is from before the other one."""
    election = Election()
    election.be_taken_over()
    election.standby.release()
    assert not election.leader.renew()
    assert not election.leader.holds()
    assert election.lease()["spec"]["holderIdentity"] == ""


def keep(election: Election, patch: pytest.MonkeyPatch) -> None:
    """Let the leader renew the Lease all the time."""
    patch.setattr(leadership, "RENEW_SECONDS", 0.01)
    election.leader.keep(lambda: None)


def test_who_never_leads_again_fails_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal to end may have got lost, since kopf was just run again."""
    election, controllers = Election(), Mock()
    check = checks_of(controllers, LoopCheck(), election.leader)["leadership"]
    assert check()
    keep(election, monkeypatch)
    assert check()
    taken = [{"op": "add", "path": "/spec/holderIdentity", "value": "b"}]
    election.store.patch(LEASES, NAME, NAMESPACE, operations=taken)
    wait_for(lambda: not check(), "the probe fails")
    assert not election.leader.holds()
    assert "leadership" not in checks_of(controllers, LoopCheck(), None)


def test_an_answer_that_is_no_lease_ends_no_renewal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy in between may give it."""
    election = Election()
    garbled, get = [{"error": "try later"}], election.store.get

    def garble(*names: Any) -> Json:
        return garbled.pop() if garbled else get(*names)

    monkeypatch.setattr(election.store, "get", garble)
    keep(election, monkeypatch)
    wait_for(lambda: "KeyError" in caplog.text, "it is logged")
    before = get(LEASES, NAME, NAMESPACE)
    wait_for(lambda: get(LEASES, NAME, NAMESPACE) != before, "it is renewed")
    assert election.leader.keeps()
    election.leader.release()
