"""The benchmark's agent runs in its image, made of this source tree: with what it ships with."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from openeni_lab.images.archive import ImageArchive
from openeni_lab.product.pods import AGENT
from openeni_lab.product.tree_images import make_tree_images
from openeni_lab.programs import prepared
from openeni_testing.objects import REPOSITORY

_TESTS: Final = "/tests"  # for an agent whose API server is in memory
# Namespaces of pods are mounted below /run while the agent runs, so it must see new mounts there.
_ENTER: Final = """
mount --make-shared /run || exit 125
for place in dev proc run sys; do mount --rbind "/$place" "$0/$place" || exit 125; done
mount --bind "$TESTS" "$0/tests" && exec chroot "$0" "$@"
"""


class AgentRoot(msgspec.Struct, frozen=True):
    """The agent's image in a folder, with the environment that it says."""

    folder: str
    environment: dict[str, str]

    def start(
        self, module: Sequence[str], variables: Mapping[str, str], errors: int
    ) -> subprocess.Popen[bytes]:
        """Start a module in the image, in the calling thread's namespaces.

        /run must be a mount of this process. The log of grants, standard output, is nobody's here.
        """
        argv = ["sh", "-c", _ENTER, self.folder, "python", "-m", *module]
        own = {"TESTS": str(REPOSITORY / "tests"), "PYTHONPATH": _TESTS}
        environment = {**self.environment, **own, **variables}
        return subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=errors)


def unpack(folder: Path) -> AgentRoot:
    """Unpack the agent's image; make it, if it is not in the cache. Raises TreeImageError."""
    made = make_tree_images(prepared.read(["images"]).built.images)
    (archive,) = (ImageArchive(i.path) for i in made if f"/openeni-{AGENT}:" in i.name)
    archive.unpack(folder)
    (folder / _TESTS.lstrip("/")).mkdir()
    pairs: list[str] = archive.configuration()["config"]["Env"]
    return AgentRoot(str(folder), dict(pair.split("=", 1) for pair in pairs))
