"""Read from the Containerfile which layers an image has and how its containers are started.

The lab puts its images together without an image builder (`product.tree_images`); this keeps the
Containerfile the only place that says what is in them. Only the instructions that it uses are
understood.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from openeni_lab.layout import REPOSITORY

PATH: Final = REPOSITORY / "Containerfile"
_LAYER: Final = re.compile(r"--from=roots /out/([a-z-]+)/ /")


class ContainerfileError(Exception):
    """The Containerfile has an instruction that the lab does not understand. One line."""


@dataclass(frozen=True)
class ImageStage:
    """A stage without a base: its layers from the lowest, and its configuration."""

    layers: tuple[str, ...] = ()  # folders of /out in the stage `roots`
    environment: tuple[str, ...] = ()  # NAME=value
    user: str = ""
    command: tuple[str, ...] = ()

    @property
    def configuration(self) -> dict[str, object]:
        """Return it as an image's configuration has it (OCI image specification, config.md)."""
        found = {"Env": self.environment, "User": self.user, "Cmd": self.command}
        return {name: value for name, value in found.items() if value}


def read(text: str) -> Mapping[str, ImageStage]:
    """Return the stages that start from nothing or from such a stage. ContainerfileError."""
    stages: dict[str, ImageStage] = {"scratch": ImageStage()}
    current = ""
    for word, rest in _instructions(text):
        if word == "FROM":
            base, current = rest.split(" AS ")
            if base in stages:
                stages[current] = stages[base]
        elif current in stages:
            stages[current] = _changed(stages[current], word, rest)
    return stages


def _changed(stage: ImageStage, word: str, rest: str) -> ImageStage:
    layer = _LAYER.fullmatch(rest)
    if word == "COPY" and layer:
        return replace(stage, layers=(*stage.layers, layer[1]))
    if word == "ENV":
        return replace(stage, environment=(*stage.environment, *shlex.split(rest)))
    if word == "USER":
        return replace(stage, user=rest)
    if word == "CMD":
        return replace(stage, command=tuple(json.loads(rest)))
    if word in {"ARG", "LABEL"}:  # of released images only
        return stage
    raise ContainerfileError(f"Containerfile: {word} {rest}: the lab cannot do that")


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word, re.sub(r"\s+", " ", rest).strip()
