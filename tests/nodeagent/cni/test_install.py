"""The executable and the configuration are installed whole, replaced, or an error of one line."""

import errno
import json
import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_nodeagent.cni import install
from openeni_nodeagent.cni.build import BuildError, build
from openeni_nodeagent.cni.configuration import CONFLIST
from openeni_nodeagent.cni.install import HostFiles, InstallError
from openeni_nodeagent.files import MountedFolders


@pytest.fixture
def files(executable: Path, tmp_path: Path) -> HostFiles:
    for name in ("bin", "conf"):
        (tmp_path / name).mkdir()
    return HostFiles(executable, tmp_path / "bin", tmp_path / "conf", tmp_path / "served")


def test_the_executable_is_put_in_place_and_replaced_only_when_it_differs(
    files: HostFiles,
) -> None:
    assert files.install()
    target = files.executable
    assert target.stat().st_mode & 0o777 == 0o755
    before = target.stat().st_ino
    assert not files.install()
    assert target.stat().st_ino == before
    target.write_bytes(b"an older one")
    files.upgrade()
    assert target.read_bytes() == files.source.read_bytes()
    assert target.stat().st_ino != before
    assert [path.name for path in files.bin_folder.iterdir()] == ["openeni"]


def close(path: Path) -> None:
    path.chmod(0)


def open_to_others(path: Path) -> None:
    path.chmod(0o777)


def link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere")))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [close, open_to_others, link, pipe])
def test_what_has_become_of_a_file_is_put_right(
    files: HostFiles, change: Callable[[Path], None]
) -> None:
    """A runtime cannot run an executable without its permissions, however right its content is."""
    files.install()
    for path, mode in ((files.executable, 0o755), (files.conf_folder / CONFLIST, 0o644)):
        content = path.read_bytes()
        change(path)
        files.install()
        assert (path.lstat().st_mode, path.read_bytes()) == (stat.S_IFREG | mode, content)


def test_a_stricter_mode_is_left_alone(files: HostFiles) -> None:
    files.install()
    (files.conf_folder / CONFLIST).chmod(0o600)
    files.executable.chmod(0o700)
    assert not files.install()
    assert stat.S_IMODE((files.conf_folder / CONFLIST).stat().st_mode) == 0o600


def test_an_executable_without_its_permission_is_put_right(files: HostFiles) -> None:
    files.install()
    files.executable.chmod(0o644)
    files.install()
    assert stat.S_IMODE(files.executable.stat().st_mode) == 0o755


def test_an_executable_that_is_running_can_be_replaced(files: HostFiles) -> None:
    files.executable.write_bytes(Path("/bin/sleep").read_bytes())
    files.executable.chmod(0o755)
    running = subprocess.Popen([files.executable, "60"])
    try:
        files.upgrade()
    finally:
        running.kill()
        running.wait(60)


def test_a_file_that_a_crash_left_is_replaced(files: HostFiles) -> None:
    (files.bin_folder / ".openeni.new").write_bytes(b"half")
    files.install()
    assert [path.name for path in files.bin_folder.iterdir()] == ["openeni"]


def test_an_upgrade_puts_nothing_on_a_node_that_has_no_executable(files: HostFiles) -> None:
    files.upgrade()
    assert list(files.bin_folder.iterdir()) == []


def test_an_upgrade_that_fails_leaves_the_executable_that_is_there(
    files: HostFiles, caplog: pytest.LogCaptureFixture
) -> None:
    files.install()
    files.executable.write_bytes(b"an older one")
    obstacle = files.bin_folder / ".openeni.new"
    obstacle.mkdir()
    files.upgrade()
    assert files.executable.read_bytes() == b"an older one"
    (line,) = caplog.messages
    assert str(files.executable) in line
    with pytest.raises(InstallError):
        files.install()
    obstacle.rmdir()
    files.install()
    assert files.executable.read_bytes() == files.source.read_bytes()


def test_an_administrators_plugins_stay_in_the_configuration(files: HostFiles) -> None:
    path = files.conf_folder / CONFLIST
    assert files.install()
    body = json.loads(path.read_text())
    body["plugins"] = [{"type": "tuning", "mtu": 1400}, *body["plugins"]]
    path.write_text(json.dumps(body))
    assert files.install()
    assert [p["type"] for p in json.loads(path.read_text())["plugins"]] == ["openeni", "tuning"]
    assert not files.install()


def test_a_broken_configuration_is_replaced_and_the_log_says_why(
    files: HostFiles, caplog: pytest.LogCaptureFixture
) -> None:
    path = files.conf_folder / CONFLIST
    path.write_text('{"plugins": [')
    assert files.install()
    assert [p["type"] for p in json.loads(path.read_text())["plugins"]] == ["openeni"]
    assert f"{path} is replaced; nothing of it could be kept" in caplog.text


def test_all_of_it_is_removed_and_removing_again_is_no_error(files: HostFiles) -> None:
    files.install()
    files.mark()
    assert files.installed()
    for _ in range(2):
        files.remove()
    assert not files.installed()
    assert not files.marker.exists()
    assert [*files.bin_folder.iterdir(), *files.conf_folder.iterdir()] == []


def test_other_configurations_are_named_in_the_runtimes_order(files: HostFiles) -> None:
    files.install()
    (files.conf_folder / "20-flannel.conflist").write_text('{"plugins": [{"type": "flannel"}]}')
    (files.conf_folder / "05-cilium.conflist").write_text('{"plugins": [{"type": "cilium-cni"}]}')
    (files.conf_folder / "99-loopback.conf").write_text('{"type": "loopback"}')
    (files.conf_folder / "folder.conf").mkdir()
    assert files.others() == ("05-cilium.conflist", "20-flannel.conflist")


def test_what_the_runtime_would_stop_at_is_another_configuration(files: HostFiles) -> None:
    """Its loader passes over folders alone (ConfFiles of libcni) and opens all else, in order."""
    (files.conf_folder / "folder.conf").mkdir()
    (files.conf_folder / "loopback").write_text('{"type": "loopback"}')
    links = {
        "01-nowhere.conf": "nowhere",
        "02-folder.json": "folder.conf",
        "03-loop.conf": "03-loop.conf",
        "14-loopback.conf": "loopback",
        "15-nowhere": "nowhere",
        "15-of-the-host.conf": "/usr/share/somewhere/loopback.conf",
        "15-above.conf": "../nowhere.conf",
    }
    for name, leads_to in links.items():
        (files.conf_folder / name).symlink_to(leads_to)
    os.mkfifo(files.conf_folder / "16-pipe.conflist")
    first_three = tuple(links)[:3]
    assert files.others() == (*first_three, "16-pipe.conflist")


def test_a_folder_of_somebody_else_is_named_with_what_to_do(
    files: HostFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root without CAP_DAC_OVERRIDE may write to its own folders only, as the agent's container."""

    def refuse(*_: object) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(install, "write_atomically", refuse)
    with pytest.raises(InstallError) as raised:
        files.install()
    assert str(raised.value) == (
        f"{files.executable} cannot be written: Permission denied: give {files.bin_folder} to root"
    )


def test_a_failed_installation_is_an_error_of_one_line(files: HostFiles, tmp_path: Path) -> None:
    nothing = replace(files, source=tmp_path / "nothing")
    for failing in (nothing.install, nothing.upgrade):
        with pytest.raises(InstallError, match=r"no CNI executable at .*cni\.build") as raised:
            failing()
        assert "\n" not in str(raised.value)
    nowhere = replace(files, conf_folder=tmp_path / "nowhere")
    with pytest.raises(InstallError, match="cannot be written"):
        nowhere.install()
    with pytest.raises(InstallError, match="cannot be read"):
        nowhere.others()


def test_what_cannot_be_put_in_place_leaves_nothing_beside_it(files: HostFiles) -> None:
    files.executable.mkdir()
    with pytest.raises(InstallError, match="cannot be written"):
        files.install()
    assert [path.name for path in files.bin_folder.iterdir()] == ["openeni"]


def test_a_removal_that_fails_leaves_the_configuration_and_is_tried_again(files: HostFiles) -> None:
    files.install()
    files.executable.unlink()
    files.executable.mkdir()
    with pytest.raises(InstallError, match="cannot be removed"):
        files.remove()
    assert files.installed()
    files.executable.rmdir()
    files.remove()
    assert not files.installed()


def test_the_executable_is_static_and_has_musl(executable: Path) -> None:
    """So it runs on any host, and begins at once."""
    content = executable.read_bytes()
    assert b"GNU C Library" not in content
    assert b"/lib/ld-" not in content  # PT_INTERP, the loader of a dynamic program


def test_without_musl_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="install musl-tools"):
        build(tmp_path / "openeni")


def read_in_turn(monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> None:
    def read(_: Path) -> str:
        return texts.pop(0)

    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.parametrize("missed", [0, 1, 2])
def test_a_mount_that_one_reading_of_them_has_missed_is_no_moved_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missed: int
) -> None:
    texts = [f"36 35 98:0 /host {tmp_path} rw - ext4 /dev/root rw\n"] * 10
    texts[missed] = ""
    read_in_turn(monkeypatch, texts)
    folders = MountedFolders([tmp_path])
    assert {folders.problem() for _ in range(5)} == {""}


def test_a_folder_whose_mount_has_another_source_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"36 35 98:0 /host {tmp_path} rw - ext4 /dev/root rw\n"
    read_in_turn(monkeypatch, [line, line.replace("/host", "/host.bak")])
    assert "now /host.bak" in MountedFolders([tmp_path]).problem()
