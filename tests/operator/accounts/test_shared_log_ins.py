"""Entries with the same credentials log in at the pace of one while Keystone refuses them."""

import pytest

from openeni_operator.cloud.error_responses import MAX_RETRY_AFTER
from openeni_operator.cloud.errors import CredentialsInvalidError
from openeni_testing.cloud.accounts import Accounts, entry, write
from openeni_testing.cloud.memory import MemoryCloud


@pytest.mark.parametrize("entries", [("one", "two"), ("one", "two", "three")])
def test_a_password_that_entries_share_is_tried_no_more_often_than_that_of_one(
    accounts: Accounts, entries: tuple[str, ...]
) -> None:
    write(accounts.file, **{name: entry(project_name=name) for name in entries})
    accounts.refused = set(entries)
    for _ in range(660):
        for name in entries:
            assert isinstance(accounts.ask(name), CredentialsInvalidError)
        accounts.clock.advance(1)
    first, later = accounts.log_ins[: len(entries)], accounts.log_ins[len(entries) :]
    assert tuple(first) == entries, "each entry finds out once by itself"
    assert len(later) <= 11, "then there is one a minute"
    assert {later.count(name) for name in entries} <= {
        len(later) // len(entries) + n for n in (0, 1)
    }


def test_a_pause_that_keystone_asks_for_is_not_taken_in_turns(accounts: Accounts) -> None:
    accounts.refused, accounts.retry_after = {"one", "two"}, MAX_RETRY_AFTER
    for name in ("one", "two"):
        accounts.ask(name)
    accounts.refused = set()
    accounts.clock.advance(MAX_RETRY_AFTER - 1)
    assert isinstance(accounts.ask("one"), CredentialsInvalidError)
    accounts.clock.advance(1)
    assert isinstance(accounts.ask("one"), MemoryCloud)


def test_a_log_in_that_succeeds_has_the_other_entry_try_at_once(accounts: Accounts) -> None:
    accounts.refused = {"one", "two"}
    for _ in range(200):
        for name in ("one", "two"):
            accounts.ask(name)
        accounts.clock.advance(1)
    accounts.refused = set()
    accounts.clock.advance(120)
    assert isinstance(accounts.ask("one"), MemoryCloud)
    assert isinstance(accounts.ask("two"), MemoryCloud)


def test_an_entry_whose_project_is_wrong_keeps_no_other_from_logging_in(
    accounts: Accounts,
) -> None:
    """Keystone refuses a project in the same words as a password."""
    accounts.refused = {"one"}
    assert isinstance(accounts.ask("one"), CredentialsInvalidError)
    assert isinstance(accounts.ask("two"), MemoryCloud)
