"""Look into pods' namespaces so that what is wrong in one concerns that pod alone."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from openeni_nodeagent.datapath.model import Operation
from openeni_nodeagent.datapath_api import (
    DatapathError,
    NamespaceGoneError,
    PodInterface,
    WantedPod,
)

_LONGEST_SECONDS: Final = 60.0  # the live probe fails for a look that lasts 15 times as long
_RETRY_SECONDS: Final = 1.0
_log: Final = logging.getLogger(__name__)


def in_turn(pods: Collection[WantedPod]) -> Iterator[WantedPod]:
    """Yield the pods to be looked into; of those where that has failed the first, at the end.

    Each may take as long as root in a pod likes: what is left after a minute is the next look's.
    More of those where it has failed follow in their turn as long as they take no more than
    _RETRY_SECONDS together: what has kept them from being read has passed.
    """
    in_order = sorted((pod for pod in pods if pod.netns), key=lambda pod: pod.turn)
    yield from _until_late((pod for pod in in_order if pod.turn < 1), _LONGEST_SECONDS)
    yield from _until_late((pod for pod in in_order if pod.turn >= 1), _RETRY_SECONDS)


def _until_late(pods: Iterable[WantedPod], seconds: float) -> Iterator[WantedPod]:
    """Yield the first, and others as long as all together take no more than that."""
    deadline = time.monotonic() + seconds
    for pod in pods:
        yield pod
        if time.monotonic() > deadline:
            return


def look_inside(
    pod: PodInterface, look: Callable[[], tuple[Operation, ...]]
) -> tuple[tuple[Operation, ...], str]:
    """Return what a look into the pod's namespace finds, and why it failed; "" if it did not.

    Whatever the error is: root in the pod decides what is there to be read.
    """
    try:
        return look(), ""
    except NamespaceGoneError:
        return (), ""  # its DEL is still to come
    except DatapathError as error:
        return (), str(error)
    except Exception as error:  # noqa: BLE001 - a decoder's, of what it was not made for
        _log.exception("the namespace of container %s cannot be read", pod.container_id)
        return (), f"the pod's namespace cannot be read: {error!r}"
