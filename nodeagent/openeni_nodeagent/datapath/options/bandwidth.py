"""Plan the limits of a pod's bandwidth: token buckets on its own links. Pure.

What a pod sends waits in its own namespace, in every mode. What it gets waits at the node's end of
its veth pair. (`pod_options.unenforced` says why an ipvlan pod's does not.)
"""

from typing import Final

from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.model import NOTHING, PodPlan, Qdisc, State
from openeni_nodeagent.pod_options import RateLimit

_SHARE: Final = 10  # a bucket holds a tenth of a second at most ...
_PACKETS: Final = 4  # ... but as many packets at least: a larger one than the bucket is dropped
# What waits counts against its sender's socket, which may be one of many peers: the node's DNS. The
# kernel's own answers to pings have one for all namespaces. So no packet waits for long.
_LEAST: Final = 12_500  # bytes per second
_WAIT_SHARE: Final = 20  # what waits is sent within a twentieth of a second
_MOST: Final = (1 << 32) - 1  # bytes, and bytes per second: tc counts them in 32 bits


def limits(pod: NodePod) -> PodPlan:
    """Return the token buckets of the pod's links."""
    bandwidth = pod.facts.bandwidth
    ingress = None if pod.eni.ipvlan else bandwidth.ingress
    return PodPlan(
        _buckets(pod.host_index, ingress, pod.facts.mtu),
        _buckets(pod.pod_index, bandwidth.egress, pod.facts.mtu),
    )


def _buckets(index: int, limit: RateLimit | None, mtu: int) -> State:
    """Return the token bucket for a limit; none for one above 34 Gbit/s, which no pod gets to.

    For want of an annotation, runtimes ask for a burst of 4 Gbit, so that a limit of 10 Mbit/s
    would begin after half a gigabyte: such a burst counts as none.
    """
    if limit is None or limit.rate // 8 > _MOST:
        return NOTHING
    rate = max(limit.rate // 8, _LEAST)
    burst = max(min(limit.burst // 8, rate // _SHARE), _PACKETS * mtu)
    return frozenset({Qdisc(index, rate, burst + rate // _WAIT_SHARE, burst)})
