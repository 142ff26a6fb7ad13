"""The operator says at its start when the CRDs are not of its version."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from openeni_crds.names import ANNOTATION_BUNDLE_VERSION, BUNDLE_VERSION, CRDS, PODIPS, crd_name
from openeni_kube.client import KubeStore
from openeni_operator.__main__ import start
from openeni_operator.cloud.call_limiter import CallLimiter, CallLimits
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.openstack import connect
from openeni_operator.crd_version import difference
from openeni_operator.settings import Settings


@pytest.mark.parametrize(
    ("found", "versions", "names"),
    [
        ({"enis": "0.1.0", "podips": "0.1.0"}, "0.1.0", "enis, podips"),
        ({"enis": "0.3.0", "podips": "", "pools": "0.2.0"}, "0.3.0 and unknown", "enis, podips"),
    ],
)
def test_a_difference_is_one_line_with_both_versions_and_what_to_do(
    found: dict[str, str], versions: str, names: str
) -> None:
    line = difference(found, "0.2.0")
    assert line.startswith(f"CRDs are of version {versions}, this operator is 0.2.0: helm upgrade")
    assert line.endswith(f"({names})")


def test_crds_of_the_operators_version_are_no_line() -> None:
    assert difference({"enis": "0.2.0", "podips": "0.2.0"}, "0.2.0") == ""


@contextmanager
def annotated(store: KubeStore, version: str) -> Generator[None]:
    def write(value: str) -> None:
        path = f"/metadata/annotations/{ANNOTATION_BUNDLE_VERSION.replace('/', '~1')}"
        change = {"op": "replace", "path": path, "value": value}
        store.patch(CRDS, crd_name(PODIPS), operations=[change])

    write(version)
    yield
    write(BUNDLE_VERSION)


@pytest.mark.cluster
def test_the_operator_warns_of_a_real_api_servers_older_crd(
    real_store: KubeStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "openeni_operator.crd_version")
    _start_and_stop(real_store)
    assert caplog.messages == []
    with annotated(real_store, "0.0.9"):
        _start_and_stop(real_store)
    (message,) = caplog.messages
    assert message.startswith(f"CRDs are of version 0.0.9, this operator is {BUNDLE_VERSION}: ")
    assert "podips.openeni.io" in message


def _start_and_stop(store: KubeStore) -> None:
    clouds = Clouds(
        Path("/none"), partial(connect, timeout=5), lambda name: CallLimiter(name, CallLimits())
    )
    start(Settings(), store, clouds).stop(5)
