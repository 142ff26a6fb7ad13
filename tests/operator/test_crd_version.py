"""The operator says at its start when the CRDs are not of its version."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ANNOTATION_BUNDLE_VERSION, BUNDLE_VERSION, CRDS, PODIPS, crd_name
from openeni_kube.client import KubeStore
from openeni_operator.crd_version import difference, report_difference


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({"enis": "0.2.0", "podips": "0.2.0"}, ""),
        (
            {"enis": "0.1.0", "podips": "0.1.0"},
            "CRDs are of version 0.1.0, this operator is 0.2.0: helm upgrade with crds.enabled, or "
            "apply crds/ of 0.2.0 (enis, podips)",
        ),
        (
            {"enis": "0.3.0", "podips": "", "enipools": "0.2.0"},
            "CRDs are of version 0.3.0 and unknown, this operator is 0.2.0: helm upgrade with "
            "crds.enabled, or apply crds/ of 0.2.0 (enis, podips)",
        ),
    ],
)
def test_a_difference_is_one_line_with_both_versions_and_what_to_do(
    found: dict[str, str], line: str
) -> None:
    assert difference(found, "0.2.0") == line


@contextmanager
def annotated(store: KubeStore, version: str) -> Iterator[None]:
    def write(value: str) -> None:
        path = f"/metadata/annotations/{ANNOTATION_BUNDLE_VERSION.replace('/', '~1')}"
        operation: Json = {"op": "replace", "path": path, "value": value}
        store.patch(CRDS, crd_name(PODIPS), operations=[operation])

    write(version)
    yield
    write(BUNDLE_VERSION)


@pytest.mark.cluster
def test_the_operator_warns_of_a_real_api_servers_older_crd(
    serving_store: KubeStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    report_difference(serving_store)
    assert caplog.messages == []
    with annotated(serving_store, "0.0.9"):
        report_difference(serving_store)
    (message,) = caplog.messages
    assert message.startswith(f"CRDs are of version 0.0.9, this operator is {BUNDLE_VERSION}: ")
    assert "podips.openeni.io" in message
