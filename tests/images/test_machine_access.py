"""What the stages of an image's build learn of this machine's package indexes."""

import sys
from pathlib import Path

import pytest

from openeni_lab.images import machine_access
from openeni_lab.images.machine_access import certificate_file, mounts, pip_configuration
from openeni_testing.lab.recording import executable

SETTINGS = [
    ":env:.find-links='/opt/wheels'",
    ":env:.index-url='https://mirror.test/simple'",
    "global.cert='/own/bundle.pem'",
    "global.trusted-host='a.test\\nb.test'",
    "install.user='true'",
]


def test_pip_gets_the_machines_indexes_and_none_of_its_folders() -> None:
    assert pip_configuration(SETTINGS, certificates=True) == (
        "[global]\n"
        "cert = /run/certificates.crt\n"
        "index-url = https://mirror.test/simple\n"
        "trusted-host = a.test\n    b.test\n"
    )


def test_without_certificates_of_its_own_pip_uses_those_it_brings() -> None:
    assert pip_configuration([], certificates=False) == "[global]\n"


def test_the_certificates_are_pips_then_the_environments(tmp_path: Path) -> None:
    first, second = tmp_path / "first.pem", tmp_path / "second.pem"
    settings, environment = [f"global.cert='{first}'"], {"SSL_CERT_FILE": str(second)}
    second.touch()
    assert certificate_file(settings, environment) == second
    first.touch()
    assert certificate_file(settings, environment) == first


@pytest.fixture
def silent_pip(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a pip without any settings."""
    python = executable(tmp_path_factory.mktemp("bin") / "python", "#!/bin/sh\n")
    monkeypatch.setattr(sys, "executable", str(python))


@pytest.mark.usefixtures("silent_pip")
def test_only_root_can_read_the_passwords_of_pips_indexes(tmp_path: Path) -> None:
    (settings, *_) = mounts(tmp_path, own_base=False)
    assert settings == f"{tmp_path}/pip.conf:/etc/pip.conf:ro"
    assert (tmp_path / "pip.conf").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("silent_pip")
def test_a_base_made_here_has_the_machines_passwords_and_lists_of_mirrors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present, absent = tmp_path / "mirrors", tmp_path / "auth.conf.d"
    present.mkdir()
    assert Path("/etc/apt/mirrors") in machine_access.APT_FOLDERS
    monkeypatch.setattr(machine_access, "APT_FOLDERS", (absent, present))
    assert f"{present}:{present}:ro" in mounts(tmp_path, own_base=True)
    assert not [mount for mount in mounts(tmp_path, own_base=True) if str(absent) in mount]
    assert f"{present}:{present}:ro" not in mounts(tmp_path, own_base=False)
