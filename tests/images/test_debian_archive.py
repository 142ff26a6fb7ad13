"""How this machine reaches Debian's packages, for a suite that is not its own."""

import pytest

from openeni_lab.images.debian_archive import (
    ArchiveError,
    DebianArchive,
    backports,
    options,
    sources,
)

DEB822 = """
Types: deb deb-src
# where it was frozen
URIs: http://mirror.test/debian
Suites: bookworm
  bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://docker.test/linux/debian
Suites: bookworm
Components: stable

Enabled: no
Types: deb
URIs: http://mirror.test/off
Suites: bookworm
Components: main
"""
SECURITY = "deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/security bookworm-security main"
ONE_LINE = f"""
# deb http://mirror.test/old bookworm main
{SECURITY}
deb http://mirror.test/postgres bookworm-pgdg main
deb https://packages.test/flat ./
deb http://mirror.test/debian bookworm main
deb-src http://mirror.test/debian bookworm main
"""


def test_sources_of_another_suite_are_those_of_debian_itself() -> None:
    assert sources([DEB822, ONE_LINE], "bookworm", "trixie") == (
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie trixie-updates\n"
        "Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        "\n"
        "Types: deb\nURIs: http://mirror.test/security\nSuites: trixie-security\n"
        "Components: main\nSigned-By: /k.gpg\n"
        "\n"
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n"
    )


def test_backports_are_where_the_suite_itself_is() -> None:
    found = sources([DEB822, SECURITY], "bookworm", "trixie")
    assert backports(DebianArchive("trixie", found, ("Acquire::Retries 3;",))) == DebianArchive(
        "trixie-backports",
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie-backports\n"
        "Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
        ("Acquire::Retries 3;",),
    )


def test_a_machine_with_security_updates_alone_has_no_backports() -> None:
    found = sources([SECURITY], "bookworm", "trixie")
    with pytest.raises(ArchiveError, match="trixie"):
        backports(DebianArchive("trixie", found, ()))


@pytest.mark.parametrize("own", ["", "noble"])
def test_a_machine_without_debians_archive_is_refused(own: str) -> None:
    with pytest.raises(ArchiveError, match="Debian"):
        sources([DEB822], own, "trixie")


def test_apt_keeps_how_packages_are_reached_and_nothing_else() -> None:
    dump = (
        'APT "";\nAcquire "";\nAcquire::http "";\n'
        'Acquire::http::Proxy "p";\nAcquire::Languages "none";\n'
    )
    assert options(dump) == ('Acquire::http::Proxy "p";',)
