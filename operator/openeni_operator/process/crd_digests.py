"""The digests of the CRDs of this operator's build.

Made by `python -m openeni_crds.schema`.
"""

from typing import Final

DIGESTS: Final = {
    "enipools.openeni.io": "36cc071c",
    "enis.openeni.io": "6495cbd2",
    "podips.openeni.io": "62fcbbc0",
}
