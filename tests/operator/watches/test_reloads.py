"""A clouds.yaml that changes is read by itself, for the clouds that it concerns and no others."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import decode
from openeni_crds.names import ENIPOOLS, ENIS
from openeni_operator.cloud.admission import CallLimits
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cluster_state import ClusterState
from openeni_operator.keys import Key
from openeni_operator.process import reloads
from openeni_operator.settings import Settings
from openeni_operator.watch_mapping import keys_of_cloud
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.controller.running import running_operator
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.objects import eni_body, pool_body
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

FAST = CallLimits(reads=1000, writes=1000, attaches=1000)
NO_RESYNC = Settings(resync=1e6)


def change(file: Path, **entries: Any) -> None:
    """Replace entries of the file, in one step as a mounted Secret changes; None removes one."""
    content = yaml.safe_load(file.read_text())
    known = content["clouds"] | entries
    content["clouds"] = {name: entry for name, entry in known.items() if entry is not None}
    changed = file.with_suffix(".changed")
    changed.write_text(yaml.safe_dump(content))
    changed.replace(file)


def reachable(store: MemoryStore, pool: str) -> str:
    found = decode(store.get(ENIPOOLS, pool), ENIPool).status.conditions
    known = find(found, Type.CLOUD_REACHABLE)
    return known.reason if known else ""


def expect(store: MemoryStore, pool: str, reason: Reason) -> None:
    wait_for(lambda: reachable(store, pool) == reason, f"pool {pool} says {reason}")


def test_a_changed_entry_makes_its_pools_due_and_no_other_cloud_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloads, "RELOAD_SECONDS", 0.05)
    store, file = MemoryStore(), tmp_path / "clouds.yaml"
    with FakeOpenStack() as one, FakeOpenStack(seed=1) as two:
        for name, cloud in (("one", one), ("two", two)):
            cloud.write_clouds_yaml(file, name)
            cloud.state.add_subnet(cloud.state.add_network(), "pods", "10.98.0.0/20")
            cloud.state.add_group("pods")
            body = pool_body(name)
            body["spec"]["cloud"] = name
            store.create(ENIPOOLS, body)
        with running_operator(store, file, limits=FAST, settings=NO_RESYNC):
            for name in ("one", "two"):
                expect(store, name, Reason.REACHABLE)
            asked = one.audit.counts.copy()
            good = yaml.safe_load(file.read_text())["clouds"]["two"]
            wrong = good | {"auth": good["auth"] | {"application_credential_secret": "wrong"}}
            for entry, reason in ((wrong, Reason.CREDENTIALS_INVALID), (good, Reason.REACHABLE)):
                change(file, two=entry)
                expect(store, "two", reason)
            change(file, two=None)
            expect(store, "two", Reason.CLOUD_NOT_CONFIGURED)
            assert one.audit.counts == asked
            assert reachable(store, "one") == Reason.REACHABLE


def test_the_keys_of_a_cloud_are_those_of_its_pools_and_enis() -> None:
    state = ClusterState(lambda _: None)
    for version, name in enumerate(("one", "two"), 1):
        for kind, body in ((ENIPOOLS, pool_body(name)), (ENIS, eni_body(f"eni-{name}"))):
            body["metadata"] |= {"resourceVersion": str(version), "uid": name}
            body["spec"]["cloud"] = name
            state.put(kind, body)
    assert keys_of_cloud("two", state) == {Key(ENIPOOLS, "two"), Key(ENIS, "eni-two")}


class Log:
    """Log-ins at clouds in memory, by the entries of a file."""

    def __init__(self, file: Path) -> None:
        self.names: list[str] = []
        self.clouds = Clouds(file, self._log_in, lambda name: CallLimiter(name, FAST))

    def _log_in(self, _file: Path, name: str, _limiter: CallLimiter) -> MemoryCloud:
        self.names.append(name)
        return MemoryCloud()


def test_a_connection_lasts_as_long_as_its_entry_stays_the_same(tmp_path: Path) -> None:
    file, certificate = tmp_path / "clouds.yaml", tmp_path / "ca.pem"
    certificate.write_text("one")
    entry = {"auth": {"auth_url": "http://here/v3"}, "cacert": str(certificate)}
    file.write_text(yaml.safe_dump({"clouds": {"one": entry, "two": {"auth": {}}}}))
    log = Log(file)
    first = {name: log.clouds.get(name) for name in ("one", "two")}
    assert log.clouds.take_changes() == set()
    change(file, two={"auth": {"auth_url": "http://there/v3"}})
    assert log.clouds.get("one") is first["one"]
    assert log.clouds.get("two") is not first["two"], "somebody logs in before the others know"
    assert log.clouds.take_changes() == {"two"}
    assert log.clouds.take_changes() == set()
    certificate.write_text("another")
    change(file, three={"auth": {}})
    assert log.clouds.take_changes() == {"one"}
    assert log.clouds.get("one") is not first["one"]
    file.unlink()
    assert log.clouds.take_changes() == {"one", "two"}
    assert log.names == ["one", "two", "two", "one"]
