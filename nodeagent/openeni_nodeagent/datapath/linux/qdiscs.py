"""Encode requests that put a token bucket on a link, and take it off.

pyroute2 reads them (`dumps`). Its encoder has no TCA_TBF_BURST, without which the kernel derives
the burst from a time that is rounded, and it fills tables for kernels of before Linux 3.8.
"""

import struct
from socket import AF_UNSPEC
from typing import Final

from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute, number, string
from openeni_nodeagent.datapath.model import Operation, Qdisc, Verb

TCMSG: Final = struct.Struct("=BBHiIII")
_RATE: Final = "BBHhHI"  # struct tc_ratespec
TBF: Final = struct.Struct(f"={_RATE}{_RATE}III")  # struct tc_tbf_qopt
_NO_PEAK: Final = (0, 0, 0, 0, 0, 0)


def encode(operation: Operation) -> bytes:
    """Return the request for an operation on a token bucket, which replaces any other qdisc."""
    item = operation.item
    if not isinstance(item, Qdisc):
        raise TypeError(item)
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    body = TCMSG.pack(AF_UNSPEC, 0, 0, item.index, 0, uapi.TC_H_ROOT, 0)
    body += string(uapi.TCA_KIND, "tbf")
    if operation.verb is Verb.REMOVE:
        return HEADER.pack(HEADER.size + len(body), uapi.RTM_DELQDISC, flags, 0, 0) + body
    flags |= uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE
    rate = (0, uapi.TC_LINKLAYER_ETHERNET, 0, 0, 0, item.rate)
    parameters = attribute(uapi.TCA_TBF_PARMS, TBF.pack(*rate, *_NO_PEAK, item.limit, 0, 0))
    parameters += number(uapi.TCA_TBF_BURST, item.burst)
    body += attribute(uapi.TCA_OPTIONS, parameters)
    return HEADER.pack(HEADER.size + len(body), uapi.RTM_NEWQDISC, flags, 0, 0) + body
