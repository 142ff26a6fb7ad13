"""Values that are text: the schema takes what the programs take, and refuses what ends them."""

import re
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.provisional import domains

from openeni_chart import schema
from openeni_nodeagent import settings as agent

Json = dict[str, Any]

ANY_TEXT = st.text("0123456789abcdefABCDEF:./x", max_size=24)
ADDRESSES = st.ip_addresses().map(str) | st.ip_addresses(v=6).map(lambda a: a.exploded)
NETWORKS = st.one_of(
    st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds("{}/{}".format, st.ip_addresses(v=6), st.integers(0, 128)),
)


def takes(section: str, name: str, text: str) -> bool:
    """Return whether the chart's schema takes a text, of a list or alone."""
    part: Json = schema.schema()["$defs"][section]["properties"][name]
    part = part.get("items", part)
    short = len(text) <= part.get("maxLength", len(text))
    return short and re.search(part["pattern"], text) is not None


def starts_with(**variables: str) -> bool:
    """Return whether the agent starts in this environment."""
    try:
        agent.from_environment({"NODE_NAME": "n", **variables})
    except agent.SettingsError:
        return False
    return True


@pytest.mark.slow
@given(ADDRESSES | ANY_TEXT.filter(bool))
@example("999.1.1.1")
@example("1::2::3")
def test_an_address_that_is_taken_is_one(text: str) -> None:
    if takes("Agent", "localDNS", text):
        assert starts_with(OPENENI_LOCAL_DNS=text)


@pytest.mark.slow
@given(ADDRESSES)
@example("::")
@example("1:2:3:4:5:6:7::")
def test_every_address_is_taken(text: str) -> None:
    assert takes("Agent", "localDNS", text)


@pytest.mark.slow
@given(NETWORKS | ANY_TEXT.filter(bool))
@example("10.96.0.0/99")
@example("fd00::/129")
def test_a_service_network_that_is_taken_is_one(text: str) -> None:
    if takes("Agent", "serviceCIDRs", text):
        assert starts_with(OPENENI_SERVICE_CIDRS=text)


@given(NETWORKS)
@example("::/0")
def test_every_service_network_is_taken(text: str) -> None:
    assert takes("Agent", "serviceCIDRs", text)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{:#x}", "{:#010x}"]))
@example(0x0000C000, "{:#010x}")
@example(0xFFFFFFFF, "{:#010x}")
def test_a_mask_is_taken_if_and_only_if_the_agent_starts_with_it(mask: int, shape: str) -> None:
    text = shape.format(mask)
    assert takes("Agent", "markMask", text) == starts_with(OPENENI_MARK_MASK=text)


@pytest.mark.parametrize("low", range(32))
def test_every_mask_of_neighbouring_bits_is_decided_as_the_agent_does(low: int) -> None:
    for high in range(low, 32):
        text = f"{(1 << high + 1) - (1 << low):#x}"
        assert takes("Agent", "markMask", text) == starts_with(OPENENI_MARK_MASK=text), text


@pytest.mark.slow
@given(domains(max_length=40))
@settings(max_examples=20)
def test_every_name_of_an_api_server_is_taken(name: str) -> None:
    assert takes("KubernetesService", "host", name)


@pytest.mark.slow
@given(st.ip_addresses(v=6))
def test_an_api_server_is_named_without_port_and_brackets(address: IPv6Address) -> None:
    assert takes("KubernetesService", "host", str(address))
    assert not takes("KubernetesService", "host", f"[{address}]")
    assert not takes("KubernetesService", "host", f"[{address}]:6443")
    assert not takes("KubernetesService", "host", "api:6443")


@pytest.mark.parametrize("name", ["/bar", "bar/", "a//b", "Bar", "a:b", "a@b", "-a"])
def test_a_repository_is_a_name_of_an_image(name: str) -> None:
    assert not takes("ComponentImage", "repository", name)
    assert takes("ComponentImage", "repository", "net/openeni-agent.x__y")
