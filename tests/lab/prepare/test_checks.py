from dataclasses import replace
from pathlib import Path

import pytest

from openeni_lab.layout import Layout
from openeni_lab.prepare.checks import CAPABILITIES, STATE_GIB, ProbedMachine, find_problems, space
from openeni_lab.prepare.probe import TRIALS, gather, try_features
from openeni_testing.lab.probed_machine import GOOD, NO_IPVLAN


def test_a_good_machine_gives_nothing_to_say() -> None:
    assert find_problems(GOOD) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(GOOD, system="Darwin arm64"), "Darwin arm64"),
        (replace(GOOD, python=(3, 9)), "Python is 3.9"),
        (replace(GOOD, capabilities=GOOD.capabilities - {21, 12}), "CAP_NET_ADMIN, CAP_SYS_ADMIN"),
        (replace(GOOD, features={**GOOD.features, "veth": "Unknown device"}), "veth: Unknown"),
        (replace(GOOD, features={**GOOD.features, "nftables bridge": "no"}), "nftables bridge"),
        (replace(GOOD, cgroups="Read-only file system"), "Read-only file system"),
        (replace(GOOD, memory_gib=1.5), "1.5 GiB of memory"),
        (replace(GOOD, cache_gib=4.0), "disk free for the cache"),
        (replace(GOOD, state_gib=1.0), "disk free for the labs"),
        (replace(GOOD, packages=("nftables",), installable=False), "packages: nftables"),
        (replace(GOOD, to_build=("emulator",), installable=False), "no apt-get"),
        (replace(GOOD, registries={"Go modules": "no answer within 20 s"}), "Go modules"),
        (
            replace(GOOD, features={**NO_IPVLAN, "tap": "No such device"}),
            "no tap devices: No such device",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_lack_stops_the_lab_with_one_line_and_a_way_out(
    facts: ProbedMachine, words: str
) -> None:
    stopping = [finding for finding in find_problems(facts) if finding.stops]
    assert len(stopping) == 1
    assert words in stopping[0].what
    for text in (stopping[0].what, stopping[0].why, stopping[0].fix):
        assert text
        assert "\n" not in text


def test_everything_that_is_missing_is_said_at_once() -> None:
    bare = replace(
        GOOD,
        capabilities=frozenset[int](),
        cgroups="no cgroup hierarchy is mounted",
        memory_gib=0.5,
        cache_gib=0.1,
        installable=False,
        packages=("nftables", "mariadb-server-core"),
        registries={"Go modules": "refused", "Python packages": "refused"},
    )
    whats = " | ".join(finding.what for finding in find_problems(bare))
    for word in ("CAP_SYS_ADMIN", "cgroup", "memory", "disk", "mariadb-server-core"):
        assert word in whats
    assert whats.count("no answer from the registry") == 2


def test_packages_that_prepare_installs_by_itself_do_not_stop_it() -> None:
    found = find_problems(replace(GOOD, packages=("bison",)))
    assert [finding.stops for finding in found] == [False]


def test_a_kernel_that_could_not_be_tried_yet_is_not_blamed() -> None:
    found = find_problems(replace(GOOD, features={}, packages=("nftables",)))
    assert [finding.what for finding in found] == ["missing Debian packages: nftables"]


def test_a_kernel_without_ipvlan_is_worth_a_word_and_no_more() -> None:
    found = find_problems(replace(GOOD, features=NO_IPVLAN))
    assert [(finding.what, finding.stops) for finding in found] == [
        ("the kernel has no ipvlan", False)
    ]


def test_what_a_running_lab_takes_does_not_stop_it() -> None:
    """`make demo` on a lab that is up continues with it."""
    found = find_problems(replace(GOOD, lab_exists=True, memory_gib=1.0, state_gib=1.0))
    assert [finding.stops for finding in found] == [False]


def test_a_running_lab_hides_no_lack_of_space_for_what_is_to_be_built() -> None:
    building = ("busybox", "kernel")
    assert space(building) == STATE_GIB  # the two lacks differ by their place alone
    found = find_problems(replace(GOOD, lab_exists=True, to_build=building, cache_gib=1.0))
    assert ["disk free for the cache" in finding.what for finding in found] == [True, False]


def test_what_stops_the_lab_comes_first() -> None:
    found = find_problems(replace(GOOD, lab_exists=True, features=NO_IPVLAN, cgroups="read-only"))
    assert [finding.stops for finding in found] == [True, False, False]


@pytest.mark.root
def test_the_features_of_this_machine_are_tried_for_real() -> None:
    features = try_features()
    assert set(features) == {"namespaces", *TRIALS}
    for needed in ("namespaces", "veth", "bridge", "nftables", "nftables bridge"):
        assert features[needed] == ""


def test_a_kernel_is_tried_only_with_the_programs_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openeni_lab.prepare.probe.TRIED_WITH", ("no-such-program",))
    assert try_features() == {}


@pytest.mark.root
def test_what_the_capabilities_of_root_are_is_read_from_the_kernel(tmp_path: Path) -> None:
    facts = gather(Layout(root=tmp_path), {}, sets=())
    assert facts.capabilities >= CAPABILITIES.keys()
    assert facts.registries == {}  # nothing to build: no registry is asked
    assert not facts.lab_exists


@pytest.mark.root
@pytest.mark.network
def test_registries_are_asked_by_their_ordinary_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENI_LAB_CACHE", str(tmp_path))
    facts = gather(Layout(root=tmp_path), {}, sets=("kubectl",))
    assert facts.to_build == ("kubectl",)
    assert facts.registries == {"Python packages": ""}


def test_a_registry_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENI_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "openeni_lab.prepare.probe.uv_command", lambda: ["sh", "-c", "echo no >&2; exit 2"]
    )
    found = find_problems(gather(Layout(root=tmp_path), {}, sets=("kubectl",)))
    assert any(
        "registry of Python packages: no" in finding.what for finding in found if finding.stops
    )
