"""Compare the result that CHECK brings with the one that ADD would have now. Pure.

Plugins after openeni may have added interfaces, and addresses of the pod's; those are theirs to
check.
"""

import ipaddress
from collections.abc import Iterator, Sequence

from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.cni.protocol import PrevInterface, PrevResult
from openeni_nodeagent.cni.results import AddResult, ResultInterface


def differences(previous: PrevResult, expected: AddResult) -> tuple[str, ...]:
    """Return one sentence for each difference of the attachment's interfaces and addresses."""
    interfaces = previous.interfaces or ()
    pod = expected.pod
    listed = {n for n, i in enumerate(interfaces) if (i.name, i.sandbox) == (pod.name, pod.sandbox)}
    if not listed:
        return (f"the runtime's result has no interface {pod.name} in {pod.sandbox}",)
    own = [
        ip.address for ip in previous.ips or () if ip.interface is None or ip.interface in listed
    ]
    return (
        *(_macs(interfaces, expected.host) if expected.host else ()),
        *_macs(interfaces, pod),
        *_addresses(own, expected),
    )


def _addresses(own: Sequence[str], expected: AddResult) -> Iterator[str]:
    """Return one sentence for each granted address in whose place only others are listed."""
    for granted in expected.addresses:
        listed = [address for address in own if family_of(address) == family_of(granted)]
        if listed and _host(granted) not in map(_host, listed):
            has = ", ".join(listed)
            yield f"the runtime's result has {has}, the grant {', '.join(expected.addresses)}"


def _macs(interfaces: tuple[PrevInterface, ...], expected: ResultInterface) -> Iterator[str]:
    for given in interfaces:
        same = (given.name, given.sandbox) == (expected.name, expected.sandbox)
        if same and (given.mac or "").lower() not in {"", expected.mac.lower()}:
            yield f"the runtime's result has MAC {given.mac} for {given.name}, not {expected.mac}"


def _host(address: str) -> str:
    """Return an address without its prefix length, in the one form that can be compared."""
    try:
        return str(ipaddress.ip_interface(address).ip)
    except ValueError:
        return address
