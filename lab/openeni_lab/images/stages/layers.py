"""Make the layers of both images from a source tree, on the base of the build stage.

`python3 -m openeni_lab.images.stages.layers packages|product|proof SOURCE TARGET`, with the
standard library and pip only. `packages` reads the locks in SOURCE and needs the package indexes,
`product` reads openeni's own packages, `proof` runs what each image is for. Each layer is a folder
of TARGET.
"""

import sys
from pathlib import Path
from typing import Final

from openeni_lab.images.stages import debian_root, product, proof, python_packages

SHARED: Final = ("openeni_crds", "openeni_kube")
# Each part, and the layers of Debian packages that it runs on.
PARTS: Final = {"operator": ("debian",), "nodeagent": ("debian", "nodeagent-debian")}


def make_packages(source: Path, target: Path) -> None:
    """Make the layers of Debian's packages and of the locked Python packages."""
    debian_root.assemble("debian.toml", target / "debian")
    debian_root.assemble("nodeagent.toml", target / "nodeagent-debian", target / "debian")
    for part in PARTS:
        lock = source / f"requirements-{part}.lock"
        python_packages.install(lock, target / f"{part}-packages")


def make_product(source: Path, target: Path) -> None:
    """Make the layers of openeni's own packages."""
    for part in PARTS:
        product.copy(source, target / part, (*SHARED, f"openeni_{part}"))


def prove(_source: Path, target: Path) -> None:
    """Run in each image's layers what the image is for."""
    for part, roots in PARTS.items():
        proof.prove(part, [target / name for name in (*roots, f"{part}-packages", part)])


STEPS: Final = {"packages": make_packages, "product": make_product, "proof": prove}

if __name__ == "__main__":
    step, *places = sys.argv[1:]
    try:
        STEPS[step](*map(Path, places))
    except debian_root.RootError as error:
        sys.exit(f"layers: {error}")
