"""Entries of clouds.yaml that lead to one account share its budget, its slots and its throttling.

A cloud counts calls for a user or an application credential, not for the names that an
administrator gives to entries.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from openeni_operator.cloud.admission import CallLimits
from openeni_operator.cloud.call_limiter import CallLimiter, NotYetError
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.errors import (
    CloudError,
    CredentialsInvalidError,
    OutcomeUnknownError,
    QuotaExceededError,
    ThrottledError,
)
from openeni_operator.cloud.openstack import connect
from openeni_testing.cloud.accounts import (
    BURST,
    WRITE,
    Accounts,
    as_cloud_error,
    credential,
    entry,
    write,
)
from openeni_testing.cloud.fake_ports import wanted
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.cloud.grounds import connect_to_fake
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorBefore
from openeni_testing.fake_openstack.responses import throttled


def test_entries_of_an_account_have_one_budget(accounts: Accounts) -> None:
    accounts.use_up("one")
    assert isinstance(accounts.call("two"), NotYetError)
    assert accounts.call("other") is None
    assert accounts.limiters["two"].cloud == "two", "logs and metrics name the entry"


def test_of_calls_on_one_thing_one_is_in_flight_whatever_the_entry(accounts: Accounts) -> None:
    for name in ("one", "two", "other"):
        accounts.ask(name)
    verdicts: list[type[object]] = []

    def meanwhile() -> None:
        verdicts.extend(type(accounts.call(name)) for name in ("two", "other"))

    accounts.limiters["one"].call(WRITE, meanwhile, lambda error, _: as_cloud_error(error))
    assert verdicts == [NotYetError, type(None)]


def test_entries_take_turns(accounts: Accounts) -> None:
    for name in ("one", "two"):
        accounts.ask(name)
    accounts.use_up("one")
    waits = {
        name: [waiting_for(accounts, name, f"{name}-{n}") for n in range(count)]
        for name, count in (("one", 100), ("two", 2))
    }
    assert waits["one"][-1] > 19, "at five a second"
    assert max(waits["two"]) < 1.5
    accounts.clock.advance(waits["two"][0])
    assert waiting_for(accounts, "two", "two-0") == 0
    assert waiting_for(accounts, "one", "one-99") > 18


def waiting_for(accounts: Accounts, name: str, port: str) -> float:
    """Return the seconds for which an entry's call on a port has to wait; 0 if it is made."""
    call = replace(WRITE, subject=port, exclusive=port)
    try:
        accounts.limiters[name].call(call, lambda: None, lambda error, _: as_cloud_error(error))
    except NotYetError as not_yet:
        return not_yet.seconds
    return 0.0


def test_a_malformed_entry_changes_nothing_about_the_others(accounts: Accounts) -> None:
    accounts.use_up("one")
    for malformed in (None, "text", {"auth": None, "cacert": 7}, {1: b"2"}):
        write(accounts.file, one=entry(), two=entry(project_name="q"), three=malformed)
        for name in ("one", "two"):
            assert isinstance(accounts.call(name), NotYetError), malformed
    assert accounts.log_ins.count("one") == 1


def test_a_call_that_hangs_after_a_throttling_holds_up_no_other_entry(accounts: Accounts) -> None:
    for name in ("one", "two"):
        accounts.ask(name)
    accounts.call("one", ThrottledError("cloud 'one' is busy", 30))
    accounts.clock.advance(30)
    accounts.call("one", OutcomeUnknownError("no answer"))
    assert accounts.call("two") is None


def test_a_call_from_before_a_throttling_does_not_end_its_pause(accounts: Accounts) -> None:
    for name in ("one", "two"):
        accounts.ask(name)

    def throttled_meanwhile() -> None:
        accounts.clock.advance(1)
        accounts.call("two", ThrottledError("cloud 'two' is busy", 30))

    call = replace(WRITE, subject="q", exclusive="q")
    limiter = accounts.limiters["one"]
    limiter.call(call, lambda: None, lambda error, _: as_cloud_error(error), throttled_meanwhile)
    assert isinstance(accounts.call("one"), ThrottledError)


def test_new_credentials_bring_no_new_budget(accounts: Accounts) -> None:
    accounts.use_up("one")
    write(accounts.file, one=credential("c"), two=entry(project_name="q"), three=credential("c"))
    for name in ("one", "two", "three"):
        assert isinstance(accounts.call(name), NotYetError), name


def test_an_entry_that_leads_elsewhere_follows_the_account_there(accounts: Accounts) -> None:
    accounts.use_up("one")
    accounts.use_up("other")
    write(accounts.file, one=entry("S"), two=entry(username="v"), other=entry(username="v"))
    assert accounts.call("one") is None, "another region has a budget of its own"
    assert isinstance(accounts.call("two"), NotYetError), "it is that of `other` now"
    accounts.clock.advance(5)  # nobody else waits any more
    accounts.use_up("two")
    assert isinstance(accounts.call("other"), NotYetError)


def test_a_call_in_flight_ends_in_the_account_that_it_began_in(accounts: Accounts) -> None:
    accounts.ask("one")
    before = accounts.limiters["one"]

    def moved() -> None:
        write(accounts.file, one=entry("S"), two=entry())
        assert accounts.call("one") is None, "there nothing is in flight on the port"
        assert isinstance(accounts.call("two"), NotYetError)

    before.call(WRITE, moved, lambda error, _: as_cloud_error(error))
    assert accounts.call("two") is None


def test_a_cloud_that_throttles_one_entry_is_not_called_by_the_other(accounts: Accounts) -> None:
    for name in ("one", "two"):
        accounts.ask(name)
    accounts.call("one", ThrottledError("cloud 'one' is busy", 30))
    found = accounts.call("two")
    assert isinstance(found, ThrottledError)
    assert found.message == "cloud 'two' is busy", "the same whoever has met it"
    assert found.retry_after == 30
    assert accounts.call("other") is None
    ratios = accounts.clouds.throttle_ratios()
    assert ratios["one"] == ratios["two"] == 0.5
    assert ratios["other"] == 0
    write(accounts.file, one=entry(), two=entry(project_name="q", password="new"))
    assert isinstance(accounts.call("two"), ThrottledError), "a new log-in says nothing of it"
    accounts.clock.advance(30)
    assert accounts.call("two") is None
    assert accounts.call("one") is None


@pytest.mark.parametrize("error", [QuotaExceededError("full"), CredentialsInvalidError("no")])
def test_what_is_wrong_with_a_project_stops_no_other_entry(
    accounts: Accounts, error: CloudError
) -> None:
    for name in ("one", "two"):
        accounts.ask(name)
    accounts.call("one", error)
    assert accounts.call("two") is None
    assert type(accounts.call("one")) is type(error), "nor does its success help"
    write(accounts.file, one=entry(), two=entry(project_name="r"))
    assert accounts.call("two") is None
    assert type(accounts.call("one")) is type(error), "nor its new credentials"
    write(accounts.file, one=entry(project_name="s"), two=entry(project_name="r"))
    assert accounts.call("one") is None


def test_two_entries_call_a_cloud_at_the_rate_of_one(tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "clouds.yaml"
    with FakeOpenStack(clock=clock, sleep=clock.advance) as fake:
        for name in ("one", "two"):
            fake.write_clouds_yaml(file, name, password=True)
        fake.write_clouds_yaml(file, "other")
        subnet = fake.state.add_subnet(fake.state.add_network(), "pods", "10.98.0.0/22")
        clouds = Clouds(
            file,
            partial(connect, timeout=20),
            partial(CallLimiter, limits=CallLimits(), clock=clock),
            clock,
        )
        port = connect_to_fake(fake, tmp_path / "own.yaml").create_port(wanted(subnet))

        def tag(name: str) -> Exception | None:
            try:
                clouds.get(name).tag_port(port.id, "a")
            except (CloudError, NotYetError) as error:
                return error
            return None

        made = sum(tag(name) is None for _ in range(BURST) for name in ("one", "two"))
        assert made == fake.audit.counts["tag port"] == BURST
        assert tag("other") is None
        clock.advance(1)
        fake.faults.add("tag port", ErrorBefore(throttled(30)))
        assert isinstance(tag("one"), ThrottledError)
        asked = fake.audit.counts["tag port"]
        assert isinstance(tag("two"), ThrottledError)
        assert fake.audit.counts["tag port"] == asked
