"""Guards keep the network programs that a node has off an ENI."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from openeni_nodeagent.enis import system_bus
from openeni_nodeagent.enis.nic_guards import GuardError, NICGuards, known_guards
from openeni_testing.agent.fake_bus import FakeBus

MAC = "fa:16:3e:0a:0b:0c"


class Host:
    """A node that has the programs in `installed`."""

    def __init__(self, folder: Path, *installed: str) -> None:
        self.reloaded: list[str] = []
        self.folders = {name: folder / name for name in ("nm", "networkd", "udev")}
        for name in installed:
            self.folders[name].mkdir()
        known = known_guards(self.folders["nm"], self.folders["networkd"], self.folders["udev"])
        self.guards = NICGuards(known, self.reloaded.append)

    def files(self) -> list[str]:
        return sorted(
            file.name for path in self.folders.values() if path.is_dir() for file in path.iterdir()
        )


def test_each_program_gets_its_guard_and_is_reloaded_once(tmp_path: Path) -> None:
    host = Host(tmp_path, "nm", "networkd", "udev")
    host.guards.prepare(MAC)
    host.guards.prepare(MAC)
    assert host.reloaded == ["NetworkManager", "networkd"]
    network = (tmp_path / "networkd" / "05-openeni-fa163e0a0b0c.network").read_text()
    assert network == f"[Match]\nMACAddress={MAC}\n\n[Link]\nUnmanaged=yes\n"
    manager = (tmp_path / "nm" / "90-openeni-fa163e0a0b0c.conf").read_text()
    assert manager == f"[keyfile]\nunmanaged-devices+=mac:{MAC}\n"
    udev = (tmp_path / "udev" / "80-openeni-fa163e0a0b0c.rules").read_text()
    assert f'ATTR{{address}}=="{MAC}"' in udev
    assert 'ENV{NM_UNMANAGED}="1"' in udev


def test_a_host_without_them_is_left_alone(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.guards.prepare(MAC)
    host.guards.forget(MAC)
    host.guards.sweep([])
    assert (host.files(), host.reloaded) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_a_guard_that_somebody_changed_is_written_again(tmp_path: Path) -> None:
    host = Host(tmp_path, "networkd")
    host.guards.prepare(MAC)
    (file,) = (tmp_path / "networkd").iterdir()
    file.write_text("")
    host.guards.prepare(MAC)
    assert "Unmanaged=yes" in file.read_text()
    assert host.reloaded == ["networkd", "networkd"]


def test_only_the_guards_of_an_eni_that_is_gone_are_removed(tmp_path: Path) -> None:
    host = Host(tmp_path, "networkd", "udev")
    host.guards.prepare(MAC)
    host.guards.prepare("fa:16:3e:00:00:01")
    (tmp_path / "networkd" / "10-mine.network").touch()
    host.guards.forget(MAC)
    host.guards.forget(MAC)
    assert host.files() == [
        "05-openeni-fa163e000001.network",
        "10-mine.network",
        "80-openeni-fa163e000001.rules",
    ]
    host.guards.sweep(["fa:16:3e:00:00:01"])
    assert len(host.files()) == 3
    host.guards.sweep([])
    assert host.files() == ["10-mine.network"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    host = Host(tmp_path, "networkd")
    (tmp_path / "networkd" / "05-openeni-fa163e0a0b0c.network").mkdir()
    with pytest.raises(GuardError, match=r"05-openeni-fa163e0a0b0c\.network cannot be written"):
        host.guards.prepare(MAC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus"


@pytest.fixture
def running(path: Path) -> Iterator[FakeBus]:
    made = FakeBus(path, "org.freedesktop.network1", "org.freedesktop.NetworkManager")
    yield made
    made.close()


def test_reload_is_the_call_that_each_program_knows(path: Path, running: FakeBus) -> None:
    for service in ("NetworkManager", "networkd"):
        system_bus.reload(path, service)
    assert running.calls == [
        ("org.freedesktop.NetworkManager", "Reload", (1,)),
        ("org.freedesktop.network1", "Reload", ()),
    ]


def test_a_program_that_does_not_run_is_not_started_by_us(path: Path) -> None:
    empty = FakeBus(path)
    try:
        system_bus.reload(path, "networkd")
        assert (empty.calls, empty.started) == ([], [])
    finally:
        empty.close()


def test_a_refusal_is_an_error_and_a_missing_bus_is_not(path: Path, running: FakeBus) -> None:
    running.refusal = "org.freedesktop.DBus.Error.AccessDenied"
    with pytest.raises(GuardError, match=r"networkd refused to reload: .*AccessDenied"):
        system_bus.reload(path, "networkd")
    system_bus.reload(path.with_name("nowhere"), "networkd")


def test_a_closed_bus_is_an_error_of_one_line(path: Path, running: FakeBus) -> None:
    running.close()
    with pytest.raises(GuardError, match="cannot be reloaded"):
        partial(system_bus.reload, path)("networkd")
