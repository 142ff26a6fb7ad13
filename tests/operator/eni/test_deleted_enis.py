"""Which addresses leave the port of an ENI that is being deleted, while pods still use others."""

import pytest

from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_operator.eni.resize import Claims, Resize, resize_of
from openeni_testing.objects import eni_body, port_status

A, B, C = "10.98.0.11", "10.98.0.12", "10.98.0.13"


def a_deleted_eni(retired: tuple[str, ...] = (), generation: int = 2, **port: list[str]) -> ENI:
    """Return an ENI that shall have more addresses; the agent has answered at generation 2."""
    body = eni_body("e")
    deletion: Json = {"deletionTimestamp": "2026-01-01T00:00:00Z", "generation": generation}
    body["metadata"] |= deletion
    answers = [{"address": address, "generation": 2} for address in retired]
    status = {"port": port_status("e") | {"addresses": [A, B]} | port, "node": {"retired": answers}}
    return decode(body | {"status": status}, ENI)


@pytest.mark.parametrize(
    ("eni", "released"),
    [
        pytest.param(a_deleted_eni((A, B)), (B,), id="it is retired"),
        pytest.param(a_deleted_eni((A,)), (), id="the pod still has it"),
        pytest.param(a_deleted_eni((B,), generation=3), (), id="an earlier answer"),
        pytest.param(a_deleted_eni((A, B), addresses=[A]), (), id="it has left"),
        pytest.param(a_deleted_eni(releasing=[C]), (C,), id="another one is recorded"),
    ],
)
def test_only_what_another_eni_is_to_get_leaves(eni: ENI, released: tuple[str, ...]) -> None:
    claims, port = Claims(leaving=frozenset({B})), eni.status.port
    assert port is not None
    assert resize_of(eni, port, claims, elastic=True) == Resize(released)
    assert resize_of(eni, port, claims, elastic=False) == Resize(port.releasing)
