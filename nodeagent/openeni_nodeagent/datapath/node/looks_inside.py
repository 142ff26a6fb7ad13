"""Look into a pod's namespace so that an error there concerns that pod alone."""

import logging
from collections.abc import Callable
from typing import Final

from openeni_nodeagent.datapath.model import Operation
from openeni_nodeagent.datapath_api import DatapathError, NamespaceGoneError, PodInterface

_log: Final = logging.getLogger(__name__)


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
