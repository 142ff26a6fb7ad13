"""A token is read again by the monotonic clock: NTP may set the other back by hours."""

from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.config import incluster_config

from openeni_kube import client
from openeni_kube.client import connect


class Unconnected:
    def __init__(self, configuration: Any) -> None:
        self.configuration = configuration


def test_a_rotated_token_is_read_in_time_although_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_file, trust = tmp_path / "token", tmp_path / "ca.crt"
    token_file.write_text("first")
    trust.write_text("unread")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token_file))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(trust))
    monkeypatch.setattr(client, "ApiClient", Unconnected)
    passed, ahead = [1000.0], [timedelta()]
    clock = SimpleNamespace(now=lambda: datetime.now() + ahead[0])  # noqa: DTZ005 - as the client's
    library = SimpleNamespace(datetime=clock, timedelta=timedelta)
    monkeypatch.setattr(incluster_config, "datetime", library)
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: passed[0]))
    store = connect(agent="test")
    token_file.write_text("second")
    ahead[0] = timedelta(hours=-5)
    assert store.authorization() == {"authorization": "bearer first"}
    passed[0] += 60
    assert store.authorization() == {"authorization": "bearer second"}
