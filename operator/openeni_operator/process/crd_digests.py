"""The digests of the CRDs of this operator's build.

Made by `python -m openeni_crds.schema`.
"""

from typing import Final

DIGESTS: Final = {
    "enipools.openeni.io": "84433110",
    "enis.openeni.io": "fa72b424",
    "podips.openeni.io": "62fcbbc0",
}
