"""Each entry logs in at its own pace: what keeps one out says nothing of the others (0056)."""

import pytest

from openeni_operator.cloud.clouds import MIN_PAUSE
from openeni_operator.cloud.errors import CredentialsInvalidError
from openeni_testing.cloud.accounts import Accounts, entry, write
from openeni_testing.cloud.memory import MemoryCloud

SOON = 5.0  # seconds


@pytest.mark.parametrize("count", [1, 20])
def test_a_keystone_that_was_away_keeps_many_entries_out_no_longer_than_one(
    accounts: Accounts, count: int
) -> None:
    names = [f"e{n}" for n in range(count)]
    write(accounts.file, **{name: entry(project_name=name) for name in names})
    accounts.refused, accounts.retry_after = set(names), SOON
    for second in range(15):
        if second == 10:
            accounts.refused = set()
        for name in names:
            accounts.ask(name)
        accounts.clock.advance(1)
    assert all(isinstance(accounts.ask(name), MemoryCloud) for name in names)
    assert {accounts.log_ins.count(name) for name in names} == {3}, "at 0, 5 and 15 s"


def test_an_entry_whose_project_is_wrong_keeps_no_other_from_logging_in(
    accounts: Accounts,
) -> None:
    """Keystone refuses a project in the same words as a password."""
    accounts.refused, accounts.retry_after = {"one", "two"}, SOON
    for second in range(5):
        if second == 2:
            accounts.refused = {"one"}
        for name in ("one", "two"):
            accounts.ask(name)
        accounts.clock.advance(1)
    assert isinstance(accounts.ask("one"), CredentialsInvalidError)
    assert isinstance(accounts.ask("two"), MemoryCloud)


def test_a_keystone_that_asks_for_no_pause_gets_one(accounts: Accounts) -> None:
    accounts.refused, accounts.retry_after = {"one"}, 0.0
    for _ in range(10):
        assert isinstance(accounts.ask("one"), CredentialsInvalidError)
    assert accounts.log_ins == ["one"]
    accounts.clock.advance(MIN_PAUSE)
    accounts.ask("one")
    assert accounts.log_ins == ["one", "one"]


def test_an_entry_that_changes_during_its_log_in_is_not_taken_for_what_it_was(
    accounts: Accounts,
) -> None:
    before = accounts.file.read_text()

    def change() -> None:
        write(accounts.file, one=entry("S"), two=entry())

    accounts.meanwhile = change
    accounts.ask("one")
    accounts.meanwhile = lambda: None
    accounts.file.write_text(before)
    accounts.ask("one")
    assert accounts.log_ins == ["one", "one"], "the connection may be one to the other region"
    accounts.ask("one")
    assert len(accounts.log_ins) == 2
