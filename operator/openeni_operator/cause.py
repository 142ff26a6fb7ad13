"""The cause of a condition that is not True, shared by the ENI and ENIPool controllers."""

from dataclasses import dataclass

from openeni_crds.conditions import Reason


@dataclass(frozen=True)
class Cause:
    """A condition's reason and message. The message names the field or object and the way out."""

    reason: Reason
    message: str
    unsupported: bool = False  # the spec is valid, but the cloud cannot serve it
