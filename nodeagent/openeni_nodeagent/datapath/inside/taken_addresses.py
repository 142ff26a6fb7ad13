"""Free addresses of an ipvlan ENI that pods have given themselves.

Root in a pod with CAP_NET_ADMIN may give its slave any address, and ipvlan lets an ENI's slaves
have each but once (ipvlan_addr_busy): the pod or the node that is to have it would not get it. The
pod's slaves are removed, and no loop in it is faster than that. The next look builds it again.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

from openeni_crds.names import host_link
from openeni_nodeagent.datapath.inside.slaves import remove_slaves, taken_by_slaves
from openeni_nodeagent.datapath.links import chosen_index
from openeni_nodeagent.datapath.linux.namespace import open_namespace
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    NamespaceGoneError,
    NodeReport,
    PodInterface,
    Repair,
    WantedNode,
    WantedPod,
)

_FREE_SECONDS: Final = 20.0
_log: Final = logging.getLogger(__name__)


class TakenAddresses:
    """Knows the namespaces of pods since they were built or looked into. Safe for threads."""

    def __init__(self) -> None:
        self.on_freed: Callable[[], None] = lambda: None  # called when a pod is to be built again
        self._lock = threading.Lock()
        self._pods: dict[str, WantedPod] = {}  # by the names of their links on the host
        self._unused = frozenset[str]()  # at the last look
        self._freed: set[str] = set()
        self._repairs: list[Repair] = []

    def add(self, pod: PodInterface, netns: str) -> None:
        """Note a pod that has been built."""
        key = _key(pod)
        with self._lock:
            self._pods[key] = WantedPod(pod, netns)
            self._freed.discard(key)

    def delete(self, pod: PodInterface) -> None:
        """Forget a pod that has a DEL."""
        key = _key(pod)
        with self._lock:
            self._pods.pop(key, None)
            self._freed.discard(key)

    def learn(self, wanted: WantedNode) -> None:
        """Note what a look knows of pods, and forget those that two looks knew nothing of.

        One of them may have been added after the look's list was made.
        """
        with self._lock:
            for pod in wanted.pods:
                key = _key(pod.interface)
                if pod.netns:
                    self._pods[key] = pod
                elif known := self._pods.get(key):
                    self._pods[key] = replace(known, interface=pod.interface)
            unused = frozenset(self._pods.keys() - wanted.used_links)
            for key in unused & self._unused:
                del self._pods[key]
            self._unused = unused

    def free(
        self,
        eni: ENIFacts,
        addresses: Collection[str],
        built: tuple[PodInterface, int] | None = None,
    ) -> None:
        """Free addresses of the pod that is being `built`, in its namespace, or else of the node.

        What other pods have by a grant stays theirs. It ends with the last of the addresses, which
        the pod that had it may take again as soon as it is built; and after _FREE_SECONDS: who
        wants the address asks again, and then pods come first that have not been looked into yet.
        """
        with self._lock:
            pods = [pod for pod in self._pods.values() if pod.interface.eni.mac == eni.mac]
        its = _key(built[0]) if built else ""
        granted = {a for p in pods if _key(p.interface) != its for a in p.interface.addresses}
        if not (sought := frozenset(addresses) - granted):
            return
        whose = f"pod {built[0].pod_uid}" if built else "the node"
        late = time.monotonic() + _FREE_SECONDS
        for pod in pods:
            if not sought or time.monotonic() > late:
                break
            self._move_behind_others(pod.interface)
            if taken := _free(pod, sought, built[1] if built else None):
                self._note(pod.interface, taken, whose)
                sought -= taken

    def _move_behind_others(self, pod: PodInterface) -> None:
        key = _key(pod)
        with self._lock:
            if known := self._pods.pop(key, None):
                self._pods[key] = known

    def report(self, report: NodeReport, wanted: WantedNode) -> NodeReport:
        """Add the pods that are to be built again, and why, since the last report."""
        with self._lock:
            freed = {p.interface for p in wanted.pods if _key(p.interface) in self._freed}
            self._freed.difference_update(map(_key, freed))
            repairs, self._repairs = self._repairs, []
        return replace(report, broken=report.broken | freed, repairs=(*report.repairs, *repairs))

    def _note(self, pod: PodInterface, taken: Collection[str], whose: str) -> None:
        own, others = ", ".join(pod.addresses), ", ".join(sorted(taken))
        text = f"pod {pod.pod_uid} of {own} had given itself {others} of {whose}"
        with self._lock:
            self._freed |= {_key(pod)} & self._pods.keys()  # it may have had its DEL meanwhile
            self._repairs.append(Repair("address", f"{text}: its interface is built again"))
        self.on_freed()


def _free(pod: WantedPod, sought: frozenset[str], spared: int | None) -> frozenset[str]:
    """Return which of the addresses slaves in the pod's namespace had, which are gone now.

    What cannot be read, whatever root in the pod has put there, keeps no other pod from its turn.
    """
    its = pod.interface
    mac, index = its.eni.mac, chosen_index(its.interface)
    try:
        with open_namespace(pod.netns) as namespace:
            if spared is not None and os.path.sameopenfile(namespace, spared):
                return frozenset()
            if taken := taken_by_slaves(mac, index, namespace, sought):
                remove_slaves(mac, index, namespace, ())
            return taken
    except NamespaceGoneError:
        return frozenset()  # its DEL is still to come
    except DatapathError as error:
        _log.warning("addresses of container %s cannot be freed: %s", its.container_id, error)
    except Exception:  # noqa: BLE001 - a decoder's, of what it was not made for
        _log.exception("addresses of container %s cannot be read", its.container_id)
    return frozenset()


def _key(pod: PodInterface) -> str:
    return host_link(pod.container_id, pod.interface)
