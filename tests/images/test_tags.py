"""The tag that `make images` prints: one for each build, and the same for the same build."""

import re
from pathlib import Path
from typing import Any

from openeni_lab.images.archive import ImageArchive, write
from openeni_lab.images.command import describe, tag


def built(path: Path, **configuration: Any) -> ImageArchive:
    """Return an image whose name says no more than its version."""
    with path.open("wb") as file:
        write(file, "localhost/openeni-agent:0.1.0", configuration, [])
    return ImageArchive(path)


def test_each_build_has_a_tag_of_its_own(tmp_path: Path) -> None:
    one = built(tmp_path / "one", Labels={"org.opencontainers.image.revision": "a"})
    same = built(tmp_path / "same", Labels={"org.opencontainers.image.revision": "a"})
    other = built(tmp_path / "other", Labels={"org.opencontainers.image.revision": "b"})
    assert re.fullmatch("0[.]1[.]0-[0-9a-f]{12}", tag(one))
    assert tag(one) == tag(same) != tag(other)
    assert f"  tag to push {tag(one)}" in describe(one).splitlines()
