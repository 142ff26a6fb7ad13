"""What the stages of an image's build learn of this machine's package indexes."""

from pathlib import Path

from openeni_lab.images.machine_access import certificate_file, pip_configuration

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
