"""Guards keep the network programs that a node has off an ENI."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from openeni_nodeagent.enis import system_bus
from openeni_nodeagent.enis.nic_guards import GuardError, NICGuards, known_guards
from openeni_testing.agent.fake_bus import FakeBus

MAC = "fa:16:3e:0a:0b:0c"


NAMES = ("nm", "networkd", "networkd.conf.d", "udev")
NODE_FILES = {
    "nm": "90-openeni.conf",
    "networkd": "05-openeni.network",
    "networkd.conf.d": "90-openeni.conf",
    "udev": "80-openeni.rules",
}


class Host:
    """A node that has the folders in `there`."""

    def __init__(self, folder: Path, *there: str) -> None:
        self.reloaded: list[str] = []
        self.folders = {name: folder / name for name in NAMES}
        for name in there:
            self.folders[name].mkdir()
        self.guards = NICGuards(known_guards(*self.folders.values()), self.reloaded.append)

    def files(self) -> list[str]:
        found = (path.iterdir() for path in self.folders.values() if path.is_dir())
        return sorted(f"{file.parent.name}/{file.name}" for files in found for file in files)

    def text(self, name: str) -> str:
        """Return a file's lines without comments."""
        lines = next(p for p in self.folders.values() if (p / name).exists()) / name
        return "".join(x for x in lines.read_text().splitlines(True) if not x.startswith("#"))


def test_each_program_gets_its_guards_and_is_reloaded_once(tmp_path: Path) -> None:
    host = Host(tmp_path, *NAMES)
    assert not host.guards.prepare(MAC)
    for _ in range(2):
        host.guards.reload()
        assert host.guards.prepare(MAC)
    assert host.reloaded == ["NetworkManager", "networkd"]
    assert host.text("05-openeni-fa163e0a0b0c.network") == (
        f"[Match]\nMACAddress={MAC}\n\n[Link]\nUnmanaged=yes\n"
    )
    assert host.text("90-openeni-fa163e0a0b0c.conf") == (
        f"[keyfile]\nunmanaged-devices+=mac:{MAC}\n"
    )
    assert host.text("80-openeni-fa163e0a0b0c.rules") == (
        f'SUBSYSTEM=="net", ATTR{{address}}=="{MAC}", '
        'ENV{NM_UNMANAGED}="1", ENV{ID_NET_MANAGED_BY}="openeni"\n'
    )


def test_the_node_has_guards_of_the_links_that_the_agent_makes(tmp_path: Path) -> None:
    host = Host(tmp_path, *NAMES)
    host.guards.prepare(MAC)
    assert {f"{folder}/{name}" for folder, name in NODE_FILES.items()} < set(host.files())
    assert (
        (tmp_path / "nm" / "90-openeni.conf")
        .read_text()
        .endswith("[keyfile]\nunmanaged-devices+=interface-name:oeni*\n")
    )
    assert host.text("05-openeni.network") == ("[Match]\nName=oeni*\n\n[Link]\nUnmanaged=yes\n")
    assert (
        (tmp_path / "networkd.conf.d" / "90-openeni.conf")
        .read_text()
        .endswith("[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n")
    )


def test_no_program_of_others_is_run_for_an_eni_that_comes_or_goes(tmp_path: Path) -> None:
    """Such as cloud-init's hook; when the NIC goes, its MAC is unknown, its properties are not."""
    host = Host(tmp_path, "udev")
    host.guards.prepare(MAC)
    links, programs = host.text("80-openeni.rules").splitlines()
    assert links.startswith('SUBSYSTEM=="net", KERNEL=="oeni*", ')
    assert programs == 'SUBSYSTEM=="net", ENV{ID_NET_MANAGED_BY}=="openeni", RUN{builtin}:="net_id"'
    read = [name.partition("/")[2] for name in host.files()]
    assert read == ["80-openeni-fa163e0a0b0c.rules", "80-openeni.rules"]  # in the order of udev


def test_a_host_without_the_folders_is_left_alone(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.guards.prepare(MAC)
    host.guards.sweep(set)
    host.guards.reload()
    assert (host.files(), host.reloaded) == ([], [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", NAMES)
def test_a_guard_that_somebody_changed_or_removed_is_written_again(
    tmp_path: Path, folder: str
) -> None:
    host = Host(tmp_path, folder)
    host.guards.prepare(MAC)
    host.guards.reload()
    written = {file: file.read_text() for file in (tmp_path / folder).iterdir()}
    assert len(written) == 1 + (folder != "networkd.conf.d")
    reloads = list(host.reloaded)
    for file, text in written.items():
        file.write_text("")
        host.guards.prepare(MAC)
        host.guards.reload()
        assert file.read_text() == text
        file.unlink()
        host.guards.prepare(MAC)
        host.guards.reload()
        assert file.read_text() == text
    assert host.reloaded == reloads * (1 + 2 * len(written))


def test_only_the_guards_of_an_eni_that_is_gone_are_removed(tmp_path: Path) -> None:
    host = Host(tmp_path, *NAMES)
    other = "fa:16:3e:00:00:01"
    foreign: list[str] = []
    for name in NAMES:
        for file in ("10-mine.network", "90-openeni2.conf", "80-openenis.rules"):
            (tmp_path / name / file).write_text("mine")
            foreign.append(f"{name}/{file}")
    host.guards.prepare(MAC)
    all_files = host.files()
    host.guards.prepare(other)
    host.guards.reload()
    host.reloaded.clear()
    for _ in range(2):
        host.guards.sweep(lambda: {MAC})
        host.guards.reload()
    assert host.files() == all_files
    assert host.reloaded == ["NetworkManager", "networkd"]
    host.guards.sweep(set)
    assert host.files() == sorted(foreign)
    assert {(tmp_path / file).read_text() for file in foreign} == {"mine"}


def test_enis_that_come_together_are_told_of_by_one_reload(tmp_path: Path) -> None:
    host = Host(tmp_path, *NAMES)
    macs = [f"fa:16:3e:00:00:0{number}" for number in range(5)]
    for mac in macs:
        host.guards.prepare(mac)
    host.guards.reload()
    assert host.reloaded == ["NetworkManager", "networkd"]
    assert all(host.guards.prepare(mac) for mac in macs)


def test_a_guard_that_is_written_during_a_reload_is_told_of_by_another(tmp_path: Path) -> None:
    (tmp_path / "networkd").mkdir()
    late = "fa:16:3e:00:00:01"
    found: list[bool] = []  # whether the programs had been told of it

    def reload(_: str) -> None:
        found.append(guards.prepare(late))

    none = tmp_path / "none"
    guards = NICGuards(known_guards(none, tmp_path / "networkd", none, none), reload)
    guards.prepare(MAC)
    guards.reload()
    found.append(guards.prepare(late))
    guards.reload()
    assert found == [False, False, False]
    assert guards.prepare(late)


def test_a_reload_that_failed_is_tried_again_although_the_files_are_there(tmp_path: Path) -> None:
    (tmp_path / "networkd").mkdir()
    tried: list[str] = []
    changes: list[int] = []  # how often it had been tried at each

    def refuse_once(service: str) -> None:
        tried.append(service)
        if len(tried) == 1:
            raise GuardError("networkd cannot be reloaded")

    none = tmp_path / "none"
    guards = NICGuards(known_guards(none, tmp_path / "networkd", none, none), refuse_once)
    guards.subscribe(lambda: changes.append(len(tried)))
    guards.prepare(MAC)
    with pytest.raises(GuardError):
        guards.reload()
    for _ in range(2):
        with pytest.raises(GuardError, match="networkd cannot be reloaded"):
            guards.prepare(MAC)
    guards.reload()
    guards.reload()
    assert guards.prepare(MAC)
    assert tried == ["networkd", "networkd"]
    assert changes == [0, 0]  # no look asks for a reload, whose back-off it would end


@pytest.mark.parametrize("folder", NAMES)
def test_a_guard_that_cannot_be_written_or_removed_is_named(tmp_path: Path, folder: str) -> None:
    host = Host(tmp_path, folder)
    obstacle = tmp_path / folder / NODE_FILES[folder]
    obstacle.mkdir()
    with pytest.raises(GuardError, match=f"{NODE_FILES[folder]} cannot be written: Is a directory"):
        host.guards.prepare(MAC)
    with pytest.raises(GuardError, match=f"{NODE_FILES[folder]} cannot be removed: Is a directory"):
        host.guards.sweep(set)


def test_a_guard_that_cannot_be_written_or_removed_keeps_no_other_from_it(tmp_path: Path) -> None:
    host = Host(tmp_path, *NAMES)
    obstacles = [tmp_path / name / NODE_FILES[name] for name in NAMES]
    for obstacle in obstacles:
        obstacle.mkdir()
        with pytest.raises(GuardError, match=f"{obstacle} cannot be written"):
            host.guards.prepare(MAC)
        assert len(host.files()) == 7
        with pytest.raises(GuardError, match=f"{obstacle} cannot be removed"):
            host.guards.sweep(set)
        assert [tmp_path / file for file in host.files()] == [obstacle]
        obstacle.rmdir()
    host.guards.reload()
    assert set(host.reloaded) == {"NetworkManager", "networkd"}


def test_a_program_that_cannot_be_reloaded_keeps_no_other_from_it(tmp_path: Path) -> None:
    reloaded: list[str] = []

    def reload(service: str) -> None:
        if service == "NetworkManager":
            raise GuardError("NetworkManager cannot be reloaded")
        reloaded.append(service)

    host = Host(tmp_path, *NAMES)
    guards = NICGuards(known_guards(*host.folders.values()), reload)
    guards.prepare(MAC)
    with pytest.raises(GuardError, match="NetworkManager"):
        guards.reload()
    assert reloaded == ["networkd"]


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
    with pytest.raises(GuardError, match=r"networkd cannot be reloaded: .*AccessDenied"):
        system_bus.reload(path, "networkd")
    system_bus.reload(path.with_name("nowhere"), "networkd")


def test_a_closed_bus_is_an_error_of_one_line(path: Path, running: FakeBus) -> None:
    running.close()
    with pytest.raises(GuardError, match="cannot be reloaded"):
        partial(system_bus.reload, path)("networkd")


def test_a_bus_that_is_full_is_an_error_of_one_line(path: Path, running: FakeBus) -> None:
    running.hello_refusal = "org.freedesktop.DBus.Error.LimitsExceeded"
    with pytest.raises(GuardError, match=r"networkd cannot be reloaded: .*LimitsExceeded"):
        system_bus.reload(path, "networkd")
    running.hello_refusal = ""
    system_bus.reload(path, "networkd")


def test_a_bus_that_answers_nothing_is_given_up(
    path: Path, running: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_bus, "RELOAD_SECONDS", 0.2)
    running.chats = True
    with pytest.raises(GuardError, match="networkd cannot be reloaded: timed out"):
        system_bus.reload(path, "networkd")
