"""How this machine reaches Debian's packages, for a suite that is not its own."""

import os
import subprocess
from pathlib import Path

import pytest

from openeni_lab.images.debian_archive import (
    ArchiveError,
    DebianArchive,
    backports,
    bootstrap,
    bootstrap_command,
    options,
    sources,
)
from openeni_lab.machine.isolation import mount_points, unmount
from openeni_testing.lab.recording import executable

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


# In place of mmdebstrap: it fails while it has mounts in the root that it makes.
BROKEN_OFF = """#!/bin/sh
mkdir "{root}" && mount -t tmpfs tmpfs "{root}" && echo half-way && exit 1
"""


@pytest.mark.root
def test_a_root_that_was_broken_off_leaves_no_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    executable(tmp_path / "bin" / "mmdebstrap", BROKEN_OFF.format(root=root))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(ArchiveError, match="half-way"):
        bootstrap(DebianArchive("trixie", "", ()), ["hello"], root)
    left = [path for path, _ in mount_points() if path == str(root)]
    for path in left:
        unmount(path)
    assert left == []


def test_passwords_are_on_no_command_line_and_for_root_alone(tmp_path: Path) -> None:
    proxy = 'Acquire::http::Proxy "http://me:a-password@proxy.test";'
    archive = DebianArchive("trixie", "URIs: http://me:a-password@mirror.test", (proxy,))
    command = bootstrap_command(archive, ["hello"], tmp_path / "root", tmp_path)
    assert "a-password" not in " ".join(command)
    written = {path.read_text(): path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert written == {f"{proxy}\n": 0o600, archive.sources: 0o600}


# Where mmdebstrap puts its sources depends on their format.
@pytest.mark.parametrize("listed", ["sources.list", "sources.list.d/0000debian.sources"])
def test_a_root_keeps_passwords_for_root_alone(tmp_path: Path, listed: str) -> None:
    archive = DebianArchive("trixie", "URIs: http://me:a-password@mirror.test", ())
    command = bootstrap_command(archive, ["hello"], tmp_path / "root", tmp_path)
    apt = tmp_path / "root" / "etc" / "apt"
    for folder in ("apt.conf.d", "sources.list.d"):
        (apt / folder).mkdir(parents=True)
    kept = (apt / "apt.conf.d" / "99mmdebstrap", apt / listed)
    for path in kept:
        path.write_text("a-password")
        path.chmod(0o644)
    (hook,) = (word for word in command if word.startswith("--setup-hook="))
    script = hook.removeprefix("--setup-hook=")
    subprocess.run(["sh", "-c", script, "exec", tmp_path / "root"], timeout=20, check=True)
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert (apt / "sources.list.d").stat().st_mode & 0o777 == 0o755
