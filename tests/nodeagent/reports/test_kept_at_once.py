"""What a PodIP keeps is kept from the moment on in which the cache shows it."""

from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.meta import Json
from openeni_crds.podip import PodIP
from openeni_testing.agent.parts import AgentParts
from openeni_testing.objects import podip_body

KEY = "default/web"


def kept(address: str) -> Json:
    """Return a PodIP that has come to this node without a pod."""
    body = podip_body("web")
    body["metadata"]["labels"] = {names.LABEL_RETAINED: "true"}
    its = {"eniName": "pods-0", "poolName": "pods", "retention": "1h", "address": address}
    body["spec"] |= its | {"nodeName": "n1"}
    return body


def test_one_that_comes_while_its_key_is_reconciled_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = AgentParts(tmp_path, node="n1")
    parts.create_objects(count=1)
    (eni,) = parts.caches.enis.all()
    assert eni.status.port
    (address,) = eni.status.port.addresses
    made = parts.store.create(names.PODIPS, kept(address))
    podips, get = parts.caches.podips, parts.caches.podips.get
    events = [made]

    def get_before_the_event(key: str) -> PodIP | None:
        """Return what is there; the informer's thread has its turn next."""
        found = get(key)
        while events:
            podips.put(events.pop())
        return found

    monkeypatch.setattr(podips, "get", get_before_the_event)
    for _ in range(2):  # also for the event
        parts.publisher.reconcile(KEY)
    assert parts.grants.find_retained(KEY, "pods") == (address,)
