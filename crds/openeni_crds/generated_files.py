"""Write generated files, or name those that differ from what their source says."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GeneratedFiles:
    """Files below `root`, by their path there; `source` is what people change instead."""

    root: Path
    texts: Mapping[str, str]
    source: str
    command: str

    def differing(self) -> list[str]:
        """Return the paths of files that are missing or differ."""
        return [
            path
            for path, text in self.texts.items()
            if not (self.root / path).is_file() or (self.root / path).read_text() != text
        ]

    def write(self) -> None:
        """Write every file."""
        for path, text in self.texts.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Write the files, or with --check return 1 when one differs."""
        parser = argparse.ArgumentParser(prog=self.command)
        parser.add_argument("--check", action="store_true", help="write nothing, name what differs")
        if not parser.parse_args(arguments).check:
            self.write()
            return 0
        stale = self.differing()
        for path in stale:
            sys.stderr.write(f"{path} is not what {self.source} says: run `{self.command}`\n")
        return 1 if stale else 0
