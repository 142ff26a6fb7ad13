"""The set that openeni's images are made from: a base to build on, and layers of packages."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.images import build_root, machine_access
from openeni_lab.images.layer import pack
from openeni_lab.layout import REPOSITORY
from openeni_lab.programs.cache import CacheEntry, Workshop

BASE: Final = "base"  # a root
LAYERS: Final = "layers"  # of packages, as `images.layer` packs them
STAGES: Final = REPOSITORY / "lab" / "openeni_lab" / "images" / "stages"
LOCKS: Final = ("requirements-operator.lock", "requirements-nodeagent.lock")
_CODE: Final = ("bytecode.py", "debian_root.py", "layers.py", "python_packages.py")
_PACKING: Final = (STAGES.parent / "build_root.py", STAGES.parent / "layer.py")
_LISTS: Final = ("debian.toml", "nodeagent.toml", "python.toml")


@dataclass(frozen=True)
class ImageSet:
    """The base and the layers of packages. Openeni's own layers are made from them in seconds."""

    name: str = "images"
    seconds: float = 55

    @property
    def entry(self) -> CacheEntry:
        """Return the entry. An update in Debian's archive rebuilds nothing."""
        own = (STAGES / name for name in (*_CODE, *_LISTS))
        files = (*own, *_PACKING, *(REPOSITORY / name for name in LOCKS))
        how = repr((build_root.PACKAGES, build_root.EXCLUDED)).encode()
        return CacheEntry(
            self.name, build_root.SUITE, (how, *(path.read_bytes() for path in files))
        )

    def build(self, workshop: Workshop) -> None:
        """Make them. Raises BuildError, or ArchiveError if Debian's archive cannot be reached."""
        root, scratch = workshop.entry / BASE, workshop.scratch
        # Passwords of package indexes must not stay after a build that fails.
        with tempfile.TemporaryDirectory(dir=scratch) as private:
            with workshop.step(f"Debian {build_root.SUITE} for images", 20) as step:
                archive = build_root.base_archive()
                make = build_root.bootstrap_command(archive, root, Path(private))
                step.run(make, cwd=scratch)
            with workshop.step("packages of openeni's images", 35) as step:
                out = scratch / "out"
                out.mkdir()
                mounts = (
                    f"{REPOSITORY / 'lab'}:/run/build:ro",
                    f"{REPOSITORY}:/run/source:ro",
                    f"{out}:/run/out",
                    *machine_access.mounts(Path(private), own_base=True),
                )
                for argv in (("apt-get", "-q", "update"), build_root.layers_command("packages")):
                    step.run(build_root.command(root, mounts, argv), cwd=scratch)
                (workshop.entry / LAYERS).mkdir()
                for layer in sorted(out.iterdir()):
                    pack(layer, workshop.entry / LAYERS)
        workshop.toolchain = f"Debian {build_root.SUITE}"
