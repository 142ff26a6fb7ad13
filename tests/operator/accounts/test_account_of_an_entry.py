"""Whose account an entry of clouds.yaml leads to, told by its own words."""

from pathlib import Path

import pytest

from openeni_operator.cloud.clouds_file import CloudsFile
from openeni_testing.cloud.accounts import SECRET, URL, Json, credential, entry, write

SAME = {
    "another project": entry(project_name="q"),
    "another password": entry(password="other"),
    "no version in the URL": entry(auth_url="https://keystone.example/identity"),
    "a slash at its end": entry(auth_url=URL + "/"),
    "its port": entry(auth_url="https://keystone.example:443/identity/v3"),
    "capitals": entry(auth_url="HTTPS://Keystone.example/identity/v3"),
    "another interface": entry() | {"interface": "internal"},
}
OTHERS = {
    "another user": entry(username="v"),
    "another domain": entry(user_domain_id="e"),
    "an application credential": credential("c"),
    "another region": entry("S"),
    "another Keystone": entry(auth_url="https://keystone.example/other/v3"),
    "another port": entry(auth_url="https://keystone.example:5000/identity/v3"),
}
UNCLEAR: dict[str, object] = {
    "no mapping": 7,
    "nothing": None,
    "no auth": {"region_name": "R"},
    "no URL": {"auth": {"username": "u"}},
    "no host": entry(auth_url="keystone"),
    "a number as URL": entry(auth_url=7),
    "no port": entry(auth_url="https://keystone.example:x/v3"),
    "a token": {"region_name": "R", "auth": {"auth_url": URL, "token": SECRET}},
}


@pytest.mark.parametrize("other", SAME.values(), ids=SAME)
def test_entries_that_name_the_same_user_lead_to_one_account(tmp_path: Path, other: Json) -> None:
    file = CloudsFile(tmp_path / "clouds.yaml")
    write(file.path, one=entry(), two=other)
    assert file.entry("one").account == file.entry("two").account
    assert file.entry("one").version != file.entry("two").version


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_user_keystone_or_region_is_another_account(tmp_path: Path, other: Json) -> None:
    file = CloudsFile(tmp_path / "clouds.yaml")
    write(file.path, one=entry(), two=other)
    assert file.entry("one").account != file.entry("two").account


@pytest.mark.parametrize("unclear", UNCLEAR.values(), ids=UNCLEAR)
def test_an_entry_that_does_not_say_who_has_an_account_of_its_own(
    tmp_path: Path, unclear: object
) -> None:
    file = CloudsFile(tmp_path / "clouds.yaml")
    write(file.path, one=unclear, two=unclear, three=entry())
    found = [file.entry(name) for name in ("one", "two", "three", "absent")]
    assert len({each.account for each in found}) == 4
    assert file.entry("one") == found[0]


def test_an_account_holds_no_secret(tmp_path: Path) -> None:
    file = CloudsFile(tmp_path / "clouds.yaml")
    url = f"https://u:{SECRET}@keystone.example/v3"
    write(file.path, one=entry(), two=credential("c"), three=entry(auth_url=url))
    assert not any(SECRET in repr(file.entry(name)) for name in ("one", "two", "three"))
