"""CHECK compares the runtime's result with the one that ADD would have now."""

from dataclasses import replace

import pytest

from openeni_nodeagent.cni.previous_result import differences
from openeni_nodeagent.cni.protocol import PrevInterface, PrevIP, PrevResult
from openeni_nodeagent.cni.results import AddResult, ResultInterface

EXPECTED = AddResult(
    ResultInterface("oe1234", "ee:ee:ee:ee:ee:ee"),
    ResultInterface("eth0", "0a:00:00:00:00:0f", "/ns", 1450),
    ("10.98.0.5", "2001:db8::5"),
    ("169.254.1.1", ""),
    (),
)
HOST = PrevInterface("oe1234", "ee:ee:ee:ee:ee:ee")
POD = PrevInterface("eth0", "0a:00:00:00:00:0f", "/ns")
IPS = (PrevIP("10.98.0.5/32", 1), PrevIP("2001:db8::5/128", 1))


def found(*interfaces: PrevInterface, ips: tuple[PrevIP, ...] = IPS) -> tuple[str, ...]:
    return differences(PrevResult(interfaces, ips), EXPECTED)


def test_the_result_of_the_add_does_not_differ() -> None:
    assert found(HOST, POD) == ()


def test_forms_of_one_address_and_of_one_mac_do_not_differ() -> None:
    upper = PrevInterface("eth0", "0A:00:00:00:00:0F", "/ns")
    assert found(HOST, upper, ips=(PrevIP("2001:DB8:0::5/128", 1), PrevIP("10.98.0.5"))) == ()


def test_what_later_plugins_have_added_is_theirs_to_check() -> None:
    theirs = PrevInterface("eth1", "02:00:00:00:00:01", "/ns")
    assert found(HOST, POD, theirs, ips=(*IPS, PrevIP("192.0.2.1/24", 2))) == ()
    for of_the_pods in (PrevIP("192.0.2.1/24", 1), PrevIP("192.0.2.1/24"), PrevIP("fd00::1/64", 1)):
        assert found(HOST, POD, ips=(of_the_pods, *IPS)) == ()
    only_ipv4 = replace(EXPECTED, addresses=EXPECTED.addresses[:1])
    assert differences(PrevResult((HOST, POD), IPS), only_ipv4) == ()


def test_what_later_plugins_have_left_out_is_no_difference() -> None:
    assert found(POD, ips=()) == ()
    for mac in ("", None):
        assert found(HOST, PrevInterface("eth0", mac, "/ns")) == ()
    assert differences(PrevResult((POD,), None), EXPECTED) == ()


@pytest.mark.parametrize(
    ("interfaces", "ips", "sentence"),
    [
        ((), IPS, "the runtime's result has no interface eth0 in /ns"),
        ((HOST, PrevInterface("eth0", POD.mac, "/other")), IPS, "no interface"),
        ((HOST, PrevInterface("eth1", POD.mac, "/ns")), IPS, "no interface eth0 in /ns"),
        (
            (HOST, PrevInterface("eth0", "02:00:00:00:00:01", "/ns")),
            IPS,
            "the runtime's result has MAC 02:00:00:00:00:01 for eth0, not 0a:00:00:00:00:0f",
        ),
        ((PrevInterface("oe1234", "02:00:00:00:00:01"), POD), IPS, "MAC 02:00:00:00:00:01 for oe1"),
        ((HOST, POD), (PrevIP("10.98.0.6/32", 1),), "has 10.98.0.6/32, the grant 10.98.0.5, 2001"),
        ((HOST, POD), (PrevIP("10.98.0.6/32"),), "has 10.98.0.6/32, the grant"),
        ((HOST, POD), (PrevIP("10.98.0.6/32"), IPS[1]), "has 10.98.0.6/32, the grant"),
        ((HOST, POD), (IPS[0], PrevIP("2001:db8::6/128")), "has 2001:db8::6/128, the grant"),
        ((HOST, POD), (PrevIP("none", 1),), "has none, the grant"),
    ],
)
def test_each_difference_is_one_sentence(
    interfaces: tuple[PrevInterface, ...], ips: tuple[PrevIP, ...], sentence: str
) -> None:
    (only,) = found(*interfaces, ips=ips)
    assert sentence in only


def test_a_result_without_interfaces_is_not_the_one_of_the_add() -> None:
    for nothing in (PrevResult(), PrevResult((), IPS), PrevResult(None, IPS)):
        assert differences(nothing, EXPECTED) == (
            "the runtime's result has no interface eth0 in /ns",
        )


def test_two_differences_are_two_sentences() -> None:
    wrong = replace(EXPECTED, addresses=("10.98.0.9",), pod=replace(EXPECTED.pod, mac="02:00"))
    assert len(differences(PrevResult((HOST, POD), IPS), wrong)) == 2
