"""What each reason means, what to do about it, and which component finds it on which kind.

`make generate` writes docs/conditions.md from these tables. `make test` fails if a reason is
missing here, or if no test has its setters write it to the API.
"""

from collections.abc import Mapping
from typing import Final

from openeni_crds.reasons.address import ADDRESS
from openeni_crds.reasons.cloud import CLOUD
from openeni_crds.reasons.entry import Reasons
from openeni_crds.reasons.node import NODE
from openeni_crds.reasons.progress import ALL_IS_WELL, IN_PROGRESS
from openeni_crds.reasons.spec import SPEC

SECTIONS: Final[Mapping[str, Reasons]] = {
    "All is well": ALL_IS_WELL,
    "In progress: wait, unless it lasts": IN_PROGRESS,
    "The cloud": CLOUD,
    "The spec cannot be served": SPEC,
    "The node": NODE,
    "The address that a pod asks for": ADDRESS,
}
REASONS: Final[Reasons] = {
    reason: entry for section in SECTIONS.values() for reason, entry in section.items()
}
