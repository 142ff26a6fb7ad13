"""What the operator says of a clouds.yaml that it cannot use, and that it tries again."""

import os
from pathlib import Path

import pytest

from openeni_crds.terms import SubnetTerm
from openeni_operator.cloud.admission import CallLimits
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.errors import (
    CloudNotConfiguredError,
    CloudUnreachableError,
    CredentialsInvalidError,
)
from openeni_operator.cloud.openstack import connect
from openeni_testing.cloud.grounds import real_file


def clouds(file: Path, timeout: float = 20) -> Clouds:
    return Clouds(
        file,
        lambda path, name, limiter: connect(path, name, limiter, timeout),
        lambda name: CallLimiter(name, CallLimits()),
    )


@pytest.mark.cloud
@pytest.mark.inside
def test_a_wrong_password_is_reported_until_the_file_is_corrected(tmp_path: Path) -> None:
    name, good = os.environ["OS_CLOUD"], real_file().read_text()
    secret = next(
        line.split(":", 1)[1].strip()
        for line in good.splitlines()
        if "application_credential_secret" in line
    )
    file = tmp_path / "clouds.yaml"
    file.write_text(good.replace(secret, "wrong"))
    mounted = clouds(file)
    with pytest.raises(CredentialsInvalidError, match=f"cloud '{name}' rejects the credentials"):
        mounted.get(name)
    file.write_text(good)
    assert mounted.get(name).find_subnets(SubnetTerm(name="pods"))
    assert mounted.get(name) is mounted.get(name)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CloudNotConfiguredError, match=r"put a clouds\.yaml there"):
        clouds(tmp_path / "clouds.yaml").get("default")


def test_a_missing_entry_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text("clouds:\n  other:\n    auth: {auth_url: http://127.0.0.1:1/v3}\n")
    with pytest.raises(CloudNotConfiguredError, match="default"):
        clouds(file).get("default")


@pytest.mark.parametrize(
    "text", ["clouds: [", "clouds: {default: 7}", "- 1", "\tpassword: hunter2"]
)
def test_a_malformed_file_is_reported_without_quoting_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text(text)
    with pytest.raises(CloudNotConfiguredError) as raised:
        clouds(file).get("default")
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_incomplete_credentials_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text("clouds:\n  default:\n    auth: {username: x}\n")
    with pytest.raises((CredentialsInvalidError, CloudNotConfiguredError)) as raised:
        clouds(file).get("default")
    assert "\n" not in str(raised.value)


def test_an_unreachable_keystone_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text(
        "clouds:\n  default:\n    auth:\n      auth_url: http://127.0.0.1:1/v3\n"
        "      username: u\n      password: hunter2\n      project_name: p\n"
        "      user_domain_id: default\n      project_domain_id: default\n"
    )
    with pytest.raises(CloudUnreachableError, match="make its auth_url") as raised:
        clouds(file).get("default")
    assert "hunter2" not in str(raised.value)
