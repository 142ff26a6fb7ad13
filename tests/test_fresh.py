"""The rules of `make fresh`: the packages of a bare root, and what a run may leave in it."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_lab.images.debian_archive import DebianArchive
from openeni_lab.machine import isolation
from openeni_testing.fresh import debian, remains
from openeni_testing.fresh import machine as fresh_machine
from openeni_testing.fresh.debian import FreshError, Recipe, make_root, prerequisites
from openeni_testing.lab.machine_facts import cgroups, differences, occupied, services

README = Path(__file__).parent.parent / "README.md"
# Run in a network of its own, where nobody else changes anything.
OBSERVER = """
import json, socket, subprocess, sys
from openeni_testing.lab.machine_facts import differences, machine_facts
def names_of_changes(command):
    before = machine_facts("none")
    subprocess.run(command, shell=True, check=True, timeout=20)
    return sorted({line.split(":")[0] for line in differences(before, machine_facts("none"))})
print(json.dumps([names_of_changes(command) for command in sys.argv[1:]]))
"""
MEMBER = """
import sys
from openeni_lab.machine.isolation import join_cgroup
join_cgroup(sys.argv[1])
print("joined", flush=True)
sys.stdin.read()
"""
NETWORK_CHANGES = {
    "ip link set lo up": ["links", "routes", "routes of IPv6"],
    "nft 'table inet f { chain c { type filter hook input priority 0; counter; }; }'": ["nftables"],
    "echo counted > /dev/udp/127.0.0.1/9": [],
    "ip link add v0 type veth peer name v1": ["links"],
    "ip rule add table 7": ["rules"],
    "ip -6 rule add table 7": ["rules of IPv6"],
    "ip route add 192.0.2.0/24 dev lo table 7": ["routes"],
    "ip -6 route add 2001:db8::/64 dev lo table 7": ["routes of IPv6"],
    "echo 1 > /proc/sys/net/ipv4/ip_forward": ["sysctls"],
    "ip link delete v0": ["links"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with one installed package."""
    write_package(tmp_path, "old", "1", ["/bin/old"])
    return tmp_path


def write_package(root: Path, name: str, version: str, files: list[str]) -> None:
    state = root / "var/lib/dpkg"
    (state / "info").mkdir(parents=True, exist_ok=True)
    with (state / "status").open("a") as status:
        status.write(f"Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n")
    (state / "info" / f"{name}:amd64.list").write_text("\n".join(files))


def left(root: Path, before: remains.Installed, changed: dict[str, str]) -> list[str]:
    now = remains.installed(root)
    packages = remains.touched(before, now)
    after = remains.snapshot(root)
    return remains.remainders(changed, after, packages, now, ["/home/stranger"])


def test_the_readme_names_its_prerequisites_in_one_line() -> None:
    assert "make" in prerequisites(README.read_text())


def test_options_of_apt_are_no_packages_and_other_sections_do_not_count() -> None:
    text = (
        "## Try it\n```\napt-get install --yes make git  # first\n```\n## More\napt-get install x\n"
    )
    assert prerequisites(text) == ("make", "git")


@pytest.mark.parametrize("text", ["", "## Try it\n", "## Try it\n" + 2 * "apt-get install a\n"])
def test_a_readme_without_the_one_line_is_refused(text: str) -> None:
    with pytest.raises(FreshError, match="one must name every prerequisite"):
        prerequisites(text)


def test_each_thing_that_decides_a_roots_contents_names_another_root() -> None:
    archive = DebianArchive("bookworm", "s", ())
    one = Recipe(("make",), archive)
    others = [
        Recipe(("make", "git"), archive),
        *(
            Recipe(("make",), replace(archive, **change))
            for change in ({"suite": "trixie"}, {"sources": "t"}, {"options": ("o",)})
        ),
    ]
    assert len({r.key for r in [one, *others]}) == 5


def test_what_is_mounted_in_an_unfinished_root_is_not_removed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Recipe(("make",), DebianArchive("bookworm", "s", ()))
    mounted = tmp_path / f"{wanted.key}.new" / "proc"
    mounted.mkdir(parents=True)
    monkeypatch.setattr(debian, "mounts", lambda: [(str(mounted), "proc")])
    with pytest.raises(FreshError, match="is mounted: umount it"):
        make_root(wanted, tmp_path)
    assert mounted.exists()


def test_a_stranger_has_the_registries_of_this_machine_and_none_of_its_settings() -> None:
    own = {"PIP_INDEX_URL": "i", "PIP_FIND_LINKS": "/wheels", "PYTHONPATH": "tests", "CI": "true"}
    found = fresh_machine.environment(own)
    assert set(found) == {"HOME", "PATH", "LANG", "USER", "PIP_INDEX_URL"}


def test_settings_are_copied_and_not_written_through_the_links_of_a_root(tmp_path: Path) -> None:
    root, machine, elsewhere = tmp_path / "root", tmp_path / "machine", tmp_path / "elsewhere"
    for place, text in ((machine, "given"), (elsewhere, "kept")):
        (place / "etc/ssl/certs").mkdir(parents=True)
        for name in ("etc/hosts", "etc/ssl/certs/one.pem"):
            (place / name).write_text(text)
    (root / "etc/ssl/certs").mkdir(parents=True)
    for name in ("etc/hosts", "etc/ssl/certs/one.pem"):
        (root / name).symlink_to(elsewhere / name)
    fresh_machine.copy_settings(root, tmp_path / "home", machine)
    for name in ("etc/hosts", "etc/ssl/certs/one.pem"):
        assert (root / name).read_text() == "given"
        assert (elsewhere / name).read_text() == "kept"


def test_every_kind_of_change_is_seen(tmp_path: Path) -> None:
    for name in ("same", "gone", "longer", "newer", "mode", "moved"):
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to("same")
    before = remains.snapshot(tmp_path)
    (tmp_path / "gone").unlink()
    (tmp_path / "longer").write_text("xx")
    os.utime(tmp_path / "newer", (1, 1))
    (tmp_path / "mode").chmod(0o700)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("gone")
    (tmp_path / "moved").rename(tmp_path / "there")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/new").touch()
    assert remains.changes(before, remains.snapshot(tmp_path)) == {
        "/gone": "gone",
        "/longer": "other",
        "/newer": "other",
        "/mode": "other",
        "/link": "other",
        "/moved": "gone",
        "/there": "new",
        "/folder": "new",
        "/folder/new": "new",
    }


def test_files_of_a_new_package_are_no_remainders_under_either_of_their_names(root: Path) -> None:
    before = remains.installed(root)
    write_package(root, "tool", "1", ["/lib/tool.so", "/usr/bin/tool"])
    assert left(root, before, {"/usr/lib/tool.so": "new", "/usr/bin/tool": "new"}) == []


def test_a_changed_file_of_an_old_package_is_a_remainder(root: Path) -> None:
    before = remains.installed(root)
    assert left(root, before, {"/usr/bin/old": "other"}) == ["file: other: /usr/bin/old"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/systemd/system/multi-user.target.wants/nginx.service",
        "/usr/sbin/policy-rc.d",
        "/home/stranger2/file",
        "/etc/ssl/certs/own.pem",  # ca-certificates is not among the new packages
        "/tmp/left",  # noqa: S108 - a name
        "/usr/lib/python3/dist-packages/module.py",
    ],
)
def test_what_no_package_and_no_list_explains_is_a_remainder(root: Path, path: str) -> None:
    assert left(root, remains.installed(root), {path: "new"}) == [f"file: new: {path}"]


def test_a_new_folder_is_named_once_and_a_gone_one_with_all_that_was_in_it(root: Path) -> None:
    changed = {"/a": "new", "/a/b": "new", "/a/b/c": "new", "/d": "gone", "/d/e": "gone"}
    assert left(root, remains.installed(root), changed) == [
        "file: new: /a",
        "file: gone: /d",
        "file: gone: /d/e",
    ]


def test_caches_the_checkout_and_compiled_modules_may_stay(root: Path) -> None:
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/nc").symlink_to("/etc/alternatives/nc")
    paths = (
        "/home/stranger",
        "/home/stranger/.venv",
        "/usr/bin/nc",
        "/usr/lib/python3.11/__pycache__",
        "/usr/lib/python3.11/json/__pycache__/tool.cpython-311.pyc",
        "/var/lib/apt/lists/index",
        "/var/log/dpkg.log",
    )
    assert left(root, remains.installed(root), dict.fromkeys(paths, "new")) == []


def test_a_package_that_was_asked_for_must_have_been_named(root: Path) -> None:
    before = remains.installed(root)
    for name in ("told", "secret", "dependency"):
        write_package(root, name, "1", [])
    states = root / "var/lib/apt"
    states.mkdir()
    (states / "extended_states").write_text("Package: dependency\nAuto-Installed: 1\n\n")
    after = remains.installed(root)
    assert remains.unannounced(before, after, {"told"}) == [
        "package: new, but never named in the output: secret"
    ]
    assert remains.unannounced(after, before, ()) != []


def test_facts_are_compared_in_both_directions() -> None:
    before = {"routes": ["a", "b"], "sysctls": {"x": "1"}, "policy-rc.d": None}
    after = {"routes": ["b", "c"], "sysctls": {"x": "2"}, "policy-rc.d": b"exit 101"}
    assert differences(before, before) == []
    assert differences(before, after) == [
        "policy-rc.d: new: b'exit 101'",
        "routes: gone: a",
        "routes: new: c",
        "sysctls: gone: x = 1",
        "sysctls: new: x = 2",
    ]


def test_enabled_services_are_seen_where_systemd_and_sysvinit_look(tmp_path: Path) -> None:
    names = ["etc/rc2.d/S01nginx", "etc/systemd/system/multi-user.target.wants/nginx.service"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).symlink_to("/dev/null")
    assert services(tmp_path) == names


@pytest.mark.root
def test_a_lab_that_was_killed_is_no_running_lab() -> None:
    name = f"openeni-lab-fresh{os.getpid()}"
    command = [sys.executable, "-c", MEMBER, f"{name}/node"]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as member:
            assert member.stdout
            assert member.stdout.readline() == b"joined\n"
            assert occupied(name)
            member.kill()
        assert cgroups(name)
        assert not occupied(name)
    finally:
        isolation.remove_cgroups(name)


@pytest.mark.root
def test_each_change_of_the_network_is_a_difference_and_traffic_is_none() -> None:
    commands = [f"bash -c {shlex.quote(command)}" for command in NETWORK_CHANGES]
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", OBSERVER, *commands],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = dict(zip(NETWORK_CHANGES, json.loads(done.stdout), strict=True))
    assert seen == NETWORK_CHANGES
