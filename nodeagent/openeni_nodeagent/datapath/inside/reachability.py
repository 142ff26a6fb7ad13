"""Wait until what is sent to a new pod reaches it: the kernel leaves a part of that for later.

Its work items wait for the rtnl lock among the ADDs of other pods. A container that starts
meanwhile loses the first packets for it, such as the answer to a DNS query.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from openeni_nodeagent.addresses import IPV6, family_of
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.linux import dumps
from openeni_nodeagent.datapath.linux.namespace import in_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink

_SECONDS: Final = 1.0  # of the clock: a look takes its time, too, among many ADDs
_PAUSE_SECONDS: Final = 0.001


def wait_until_reachable(pod: NodePod, namespace: int) -> None:
    """Wait for a second at most: there is nothing to do about a kernel that takes longer.

    The end of a pair that comes up last, the pod's, sends at once. What the host's end sends is
    dropped until linkwatch_event() has run (net/core/link_watch.c); from Linux 6.8 on that is done
    for whoever asks for the link. The kernel takes what is for an IPv6 address after
    addrconf_dad_work() (net/ipv6/addrconf.c), also without duplicate address detection.
    """
    if not pod.eni.ipvlan:
        with Netlink() as on_host:
            _wait(lambda: dumps.is_operational(on_host, pod.host_link))
    if addresses := [a for a in pod.facts.addresses if family_of(a) == IPV6]:
        with in_namespace(namespace, Netlink) as in_pod:
            _wait(lambda: all(map(partial(dumps.is_local, in_pod), addresses)))


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
