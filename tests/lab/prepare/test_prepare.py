"""The only stage that installs and builds, and its result."""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_lab.cloud import bring_up
from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure
from openeni_lab.machine.boot import boot_id
from openeni_lab.machine.client import Machine
from openeni_lab.machine.enclosure import LabError
from openeni_lab.machine.steps import CancellableProgress, Step, StepError
from openeni_lab.prepare import probe, stage
from openeni_lab.prepare.build import Job
from openeni_lab.prepare.checks import ProbedMachine
from openeni_lab.programs import prepared
from openeni_lab.programs.cache import distribution
from openeni_lab.programs.prepared import MachineFacts, NotPreparedError
from openeni_lab.programs.sets import (
    EMULATOR,
    KERNEL,
    LAB_SETS,
    OPENSTACK,
    SETS,
    TEST_SETS,
    Built,
)
from openeni_lab.progress import LogProgress
from openeni_testing.lab.bare_lab import bare_lab
from openeni_testing.lab.probed_machine import GOOD, NO_IPVLAN
from openeni_testing.lab.recording import executable

ROOT = Path(__file__).parents[3]


def test_a_kernel_with_ipvlan_needs_no_other_and_tests_need_everything() -> None:
    assert KERNEL.name not in stage.wanted(everything=False, ipvlan=True)
    assert stage.wanted(everything=False, ipvlan=False) == (*LAB_SETS, KERNEL.name)
    assert not {one.name for one in TEST_SETS} & set(LAB_SETS)
    for ipvlan in (True, False):
        every = stage.wanted(everything=True, ipvlan=ipvlan)
        assert set(every) == SETS.keys() - {EMULATOR.name}


def test_the_emulators_kernel_is_fetched_for_its_benchmark_alone() -> None:
    for everything in (True, False):
        without = stage.wanted(everything=everything, ipvlan=False)
        with_it = stage.wanted(everything=everything, ipvlan=False, emulator=True)
        assert set(with_it) - set(without) == {EMULATOR.name}


def test_a_machine_that_has_everything_is_asked_nothing() -> None:
    assert stage.plan(replace(GOOD, to_build=())).text == ""


def test_the_plan_names_packages_sets_time_and_space() -> None:
    facts = replace(GOOD, features=NO_IPVLAN, packages=("bison", "nftables"), to_build=("kernel",))
    told = stage.plan(facts).text
    for words in ("bison nftables", "build: kernel", " min on two cores", " GiB in "):
        assert words in told
    assert "turns out" not in told


def test_the_plan_says_what_it_cannot_know_yet() -> None:
    assert "has no ipvlan" in stage.plan(replace(GOOD, features={})).text


def test_a_plan_that_is_refused_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_layout: Layout, **_more: bool) -> ProbedMachine:
        return replace(GOOD, packages=("bison",))

    monkeypatch.setattr(stage, "probe_machine", look)
    with pytest.raises(LabError, match="nothing was installed"):
        stage.prepare(Layout(root=tmp_path), LogProgress(), lambda _plan: False)
    assert list(tmp_path.iterdir()) == []


def test_the_wait_for_the_users_consent_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float] = []

    def look(_layout: Layout, **_more: bool) -> ProbedMachine:
        return GOOD

    def build(*_words: object, **_more: object) -> None:
        """Build nothing."""

    def consent(_plan: str) -> bool:
        times.append(time.monotonic())
        gc.collect()  # it takes its time
        times.append(time.monotonic())
        return True

    monkeypatch.setattr(stage, "probe_machine", look)
    monkeypatch.setattr(stage, "build", build)
    begun = time.monotonic()
    stage.prepare(Layout(root=tmp_path), LogProgress(), consent)
    whole = time.monotonic() - begun
    asked = prepared.read((), tmp_path).machine.asked_seconds
    assert times[1] - times[0] <= asked <= whole


def test_a_machine_that_is_not_prepared_is_told_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NotPreparedError, match=r"not prepared: run `.*openeni-lab prepare`"):
        prepared.read((), tmp_path)


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text('{"boot_id": ')
    with pytest.raises(NotPreparedError, match="not prepared"):
        prepared.read((), tmp_path)


def test_what_was_prepared_before_the_last_boot_does_not_count(tmp_path: Path) -> None:
    prepared.write(MachineFacts("another-boot", ipvlan=True), tmp_path)
    with pytest.raises(NotPreparedError, match="booted since it was prepared"):
        prepared.read((), tmp_path)


def test_what_was_not_built_is_named(tmp_path: Path) -> None:
    prepared.write(MachineFacts(boot_id(), ipvlan=True), tmp_path)
    assert prepared.read((), tmp_path).machine.ipvlan
    with pytest.raises(
        NotPreparedError, match=r"not built: node, kernel; run `.*openeni-lab prepare`"
    ):
        prepared.read(["kernel", "node"], tmp_path, cache=tmp_path)


# `apt-get install` gives back what was hidden; nothing else of apt is needed then.
APT = """#!/bin/sh
case "$*" in *install*) umount "$NFT" "$IP" ;; esac
"""
HIDDEN = """
mount --bind /dev/null "$NFT" && mount --bind /dev/null "$IP" && exec "$@"
"""
PREPARE = """
import sys
from pathlib import Path
from openeni_lab.machine.enclosure import LabError
from openeni_lab.layout import Layout
from openeni_lab.prepare import stage
from openeni_lab.progress import LogProgress
stage.prepare(Layout("t", root=Path(sys.argv[1])), LogProgress(), lambda plan: print(plan) or True)
"""


@pytest.mark.root
@pytest.mark.cloud  # everything is built: only programs of the machine are missing
def test_a_machine_without_ip_and_nft_is_ready_once_they_are_installed(tmp_path: Path) -> None:
    """The kernel was tried before the programs for it were installed: it must be tried again."""
    stub = executable(tmp_path / "bin" / "apt-get", APT)
    executable(stub.with_name("dpkg"), "#!/bin/sh\n")
    there = {"NFT": "/usr/sbin/nft", "IP": "/usr/sbin/ip"}
    environment = {**os.environ, **there, "PATH": f"{stub.parent}:{os.environ['PATH']}"}
    inner = [sys.executable, "-c", PREPARE, str(tmp_path / "state")]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", HIDDEN, "sh", *inner],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "install Debian packages: iproute2 nftables" in done.stdout
    found = json.loads((tmp_path / "state" / "machine.json").read_text())
    assert found["ipvlan"] == (probe.try_features()["ipvlan"] == "")


@pytest.mark.root
def test_pruning_is_refused_while_a_lab_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENI_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stage, "ROOT", tmp_path / "labs")
    used = tmp_path / "cache" / distribution() / "node-1.0.0-00000000"
    used.mkdir(parents=True)
    with bare_lab(tmp_path / "labs") as (lab, _):
        with pytest.raises(LabError, match=f"labs are running: {lab.name}; take them down"):
            stage.prune(LogProgress())
        assert used.is_dir()


@pytest.mark.root
def test_pruning_takes_down_the_lab_of_a_killed_prepare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENI_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stage, "ROOT", tmp_path / "labs")
    lab = Layout(stage.TEMPLATE_LAB, root=tmp_path / "labs")
    lab.logs.mkdir(parents=True)
    stage.prune(LogProgress())
    assert not lab.state.exists()


def test_the_lab_of_the_template_ends_with_prepare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[int | None] = []

    def start(_lab: Layout, _lock: int, *, owner: int | None = None) -> Step:
        owners.append(owner)
        raise LabError("enough is known")

    def look(_layout: Layout, **_more: bool) -> ProbedMachine:
        return GOOD

    def built(_names: object) -> Built:
        return Built({OPENSTACK.name: tmp_path}, {})

    def build(*_words: object, after: Mapping[str, Job], **_more: object) -> None:
        after[OPENSTACK.name](CancellableProgress(threading.Event(), LogProgress()))

    monkeypatch.setenv("OPENENI_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(enclosure, "start_init_step", start)
    monkeypatch.setattr(stage, "probe_machine", look)
    monkeypatch.setattr(stage, "find_built_sets", built)
    monkeypatch.setattr(stage, "build", build)
    with pytest.raises(LabError, match="enough is known"):
        stage.prepare(Layout(root=tmp_path), LogProgress(), lambda _plan: True)
    assert owners == [os.getpid()]


def test_pruning_removes_what_this_checkout_does_not_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENI_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(stage, "ROOT", tmp_path / "no-labs")
    kept = SETS["kubectl"].entry.folder(tmp_path)
    old = kept.with_name("kubectl-1.0.0-00000000")
    other = tmp_path / "debian-1" / "kubectl-1.0.0-00000000"
    downloads = tmp_path / "go" / "modules" / "m"
    half_removed = tmp_path / "go.removed-1"
    for folder in (kept, old, other, downloads, half_removed):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(1 << 20))
    downloads.chmod(0o500)  # as Go leaves it
    removed = stage.prune(LogProgress())
    assert removed.keys() == {old.name, "go", half_removed.name}
    assert removed[old.name] >= 1
    assert kept.is_dir()
    assert other.is_dir()
    assert not old.exists()
    assert not (tmp_path / "go").exists()
    assert not half_removed.exists()
    assert kept.parent.name == distribution()


@pytest.mark.root
def test_a_template_that_is_cancelled_ends_at_once_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the template's lab runs would take minutes, and nothing of it reports progress."""
    lab = Layout(f"cancel-{os.getpid()}", root=tmp_path / "labs")
    cancelled = threading.Event()

    def built(_names: object) -> Built:
        return Built({OPENSTACK.name: tmp_path}, {})

    def no_wires(_wires: LabNetwork) -> list[Step]:
        return []

    def template_step(_lab: Layout, machine: Machine, _venv: Path) -> Step:
        def make() -> None:
            machine.start("service", ["sleep", "300"], log=lab.logs / "service.log")
            cancelled.set()
            machine.check(["sleep", "300"], timeout=300)

        return Step("template", lambda: False, make)

    monkeypatch.setattr(stage, "TEMPLATE_LAB", lab.name)
    monkeypatch.setattr(stage, "find_built_sets", built)
    monkeypatch.setattr(LabNetwork, "steps", no_wires)
    monkeypatch.setattr(bring_up, "template_step", template_step)
    begun = time.monotonic()
    with pytest.raises(StepError, match="cancelled: "):
        stage.make_template(Layout(root=lab.root), CancellableProgress(cancelled, LogProgress()))
    assert time.monotonic() - begun < 60
    assert enclosure.leftovers(lab) == []
