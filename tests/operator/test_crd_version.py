"""The operator says at its start when the CRDs are not of its version."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from openeni_crds.names import ANNOTATION_BUNDLE_VERSION, BUNDLE_VERSION, CRDS, PODIPS, crd_name
from openeni_kube.client import KubeStore
from openeni_operator.__main__ import start
from openeni_operator.cloud.admission import CallLimits
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.openstack import connect
from openeni_operator.process.crd_version import OWN, difference
from openeni_operator.process.metrics import Metrics
from openeni_operator.settings import Settings
from openeni_testing.controller.recorded_events import RecordedEvents

OWN_VERSIONS = {"enis": "0.2.0+1", "podips": "0.2.0+2"}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"enis": "0.1.0+1", "podips": "0.2.0+2"}, "enis is 0.1.0+1 instead of 0.2.0+1"),
        ({"enis": "0.2.0+1", "podips": "0.2.0+9"}, "podips is 0.2.0+9 instead of 0.2.0+2"),
        ({"podips": "", "enis": "0.2.0"}, "enis is 0.2.0 instead of 0.2.0+1, podips is unknown"),
    ],
)
def test_a_difference_is_one_line_with_both_versions_and_what_to_do(
    found: dict[str, str], words: str
) -> None:
    line = difference(found, OWN_VERSIONS)
    assert line.startswith(f"the CRDs are not those of this operator's build: {words}")
    assert "helm upgrade with crds.enabled, or apply crds/" in line


def test_crds_of_the_operators_build_are_no_line() -> None:
    assert difference(OWN_VERSIONS, OWN_VERSIONS) == ""


@contextmanager
def annotated(store: KubeStore, version: str) -> Generator[None]:
    def write(value: str) -> None:
        path = f"/metadata/annotations/{ANNOTATION_BUNDLE_VERSION.replace('/', '~1')}"
        change = {"op": "replace", "path": path, "value": value}
        store.patch(CRDS, crd_name(PODIPS), operations=[change])

    write(version)
    yield
    write(OWN[crd_name(PODIPS)])


@pytest.mark.cluster
def test_the_operator_warns_of_a_real_api_servers_crd_of_another_build(
    real_store: KubeStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert not _start_and_stop(real_store)
    assert _warnings(caplog) == []
    other = f"{BUNDLE_VERSION}+0a1b2c3d"  # another build of the same release
    with annotated(real_store, other):
        assert _start_and_stop(real_store)
    (message,) = _warnings(caplog)
    assert f": podips.openeni.io is {other} instead of {BUNDLE_VERSION}+" in message


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what it says of CRDs; those that were installed just now are not served yet."""
    logger = "openeni_operator.process.crd_version"
    return [record.getMessage() for record in caplog.records if record.name == logger]


def _start_and_stop(store: KubeStore) -> bool:
    """Return whether the metrics report a difference."""
    metrics = Metrics()
    clouds = Clouds(
        Path("/none"), partial(connect, timeout=5), lambda name: CallLimiter(name, CallLimits())
    )
    start(Settings(), store, clouds, RecordedEvents(), metrics).stop(5)
    return b"openeni_crd_version_skew 1.0" in metrics.page()
