"""Report on the Node that another program changes openeni's part of it again and again.

One repair is no news: somebody restarted a service. A repair of the same kind in several looks
within a few minutes is another program that believes the node to be its own.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from openeni_crds.meta import ObjectMeta
from openeni_crds.names import NODES
from openeni_kube.event_series import EventType
from openeni_kube.events import Recorder
from openeni_nodeagent.datapath_api import REPAIR_KINDS, Repair
from openeni_nodeagent.event_reasons import NodeReason

TIMES: Final = 3
WINDOW_SECONDS: Final = 600.0
APART_SECONDS: Final = 30.0  # what is repaired sooner again counts as one time
_NETWORKD: Final = "systemd-networkd does so when it restarts, unless networkd.conf has"
_NFT: Final = "`nft flush ruleset` of nftables.service or a firewall's reload do so"
# By kind: what it is called, and what is known to change it.
_LIKELY: Final[Mapping[str, tuple[str, str]]] = {
    "rule": ("routing rules", f"{_NETWORKD} ManageForeignRoutingPolicyRules=no"),
    "route": ("routes", f"{_NETWORKD} ManageForeignRoutes=no; or a routing daemon does"),
    "link": (
        "links",
        "NetworkManager, systemd-networkd or cloud-init sets the ENI's NIC down or changes its MTU",
    ),
    "address": (
        "addresses",
        "a DHCP client, NetworkManager or systemd-networkd manages the ENI's NIC or a pod's link",
    ),
    "neighbour": ("neighbours", "`ip neigh flush`, or a program that sets the ENI's NIC down"),
    "sysctl": ("sysctls", "`sysctl --system`, tuned, or another network plugin"),
    "element": ("nftables sets", _NFT),
    "chain": ("nftables chains", _NFT),
    "qdisc": ("limits of bandwidth", "`tc qdisc replace` or `del` on links of pods"),
}


class RepeatedRepairs:
    """Finds kinds that are repaired again and again. Pure: the caller has the clock."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {kind: deque(maxlen=TIMES) for kind in REPAIR_KINDS}

    def observe(self, repairs: Sequence[Repair], at: float) -> dict[str, str]:
        """Return the kinds of this look's repairs that are repeated, each with one of the texts."""
        texts: dict[str, str] = {}
        for repair in repairs:
            texts[repair.kind] = min(repair.text, texts.get(repair.kind, repair.text))
        return {kind: text for kind, text in texts.items() if self._repeats(kind, at)}

    def _repeats(self, kind: str, at: float) -> bool:
        times = self._times[kind]
        if not times or at - times[-1] >= APART_SECONDS:
            times.append(at)
        return len(times) == TIMES and at - times[0] <= WINDOW_SECONDS


class RepairEvents:
    """The thread that looks at the node calls `note`."""

    def __init__(self, recorder: Recorder, node: Callable[[], ObjectMeta | None]) -> None:
        """`node` returns the metadata of this Node's object, None as long as it is not known."""
        self._recorder = recorder
        self._node = node
        self._repeated = RepeatedRepairs()

    def note(self, repairs: Sequence[Repair]) -> None:
        """Note what one look has repaired, and record an Event if it is repeated."""
        repeated = self._repeated.observe(repairs, time.monotonic())
        node = self._node()
        if node is None:
            return
        for kind, text in repeated.items():
            what, likely = _LIKELY[kind]
            self._recorder.record(
                NODES,
                node,
                EventType.WARNING,
                NodeReason.REPAIRS_REPEATED,
                note=f"another program changes openeni's {what} again and again: {text}. "
                f"Likely: {likely}",
                action=f"Restore{kind.capitalize()}",
                note_varies=True,
            )
