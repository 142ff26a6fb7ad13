"""The lab's own way to images: read the Containerfile, pack layers, write an archive."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from openeni_lab.images import containerfile
from openeni_lab.images.archive import ImageArchive, write
from openeni_lab.images.containerfile import ContainerfileError, ImageStage
from openeni_lab.images.layer import Layer, pack

TEXT = """\
# A comment \\
ARG BASE=somewhere
FROM ${BASE} AS roots
RUN make everything \\
    and more
FROM scratch AS debian
LABEL title="a b"
ENV PATH=/bin LANG="C.UTF-8"
COPY --from=roots /out/debian/ /
FROM debian AS operator
USER 65532:65532
CMD ["python", "-m", "openeni_operator"]
COPY --from=roots /out/operator/ /
"""


def test_the_stages_that_start_from_nothing_are_read() -> None:
    operator = containerfile.read(TEXT)["operator"]
    assert operator == ImageStage(
        ("debian", "operator"),
        ("PATH=/bin", "LANG=C.UTF-8"),
        "65532:65532",
        ("python", "-m", "openeni_operator"),
    )
    assert containerfile.read(TEXT)["debian"].configuration == {
        "Env": ("PATH=/bin", "LANG=C.UTF-8")
    }
    assert "roots" not in containerfile.read(TEXT)


@pytest.mark.parametrize("line", ["RUN ls", "COPY a b", "VOLUME /x", "COPY --from=other /out/a/ /"])
def test_an_instruction_that_the_lab_cannot_follow_is_refused(line: str) -> None:
    with pytest.raises(ContainerfileError, match=line.split(maxsplit=1)[0]):
        containerfile.read(f"FROM scratch AS one\n{line}\n")


def test_the_containerfile_of_this_tree_is_understood() -> None:
    stages = containerfile.read(containerfile.PATH.read_text())
    assert stages["operator"].layers == ("debian", "operator-packages", "operator")
    assert stages["agent"].layers == (
        "debian",
        "nodeagent-debian",
        "nodeagent-packages",
        "nodeagent",
    )
    assert stages["agent"].user == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    layer = tmp_path / "operator"
    (layer / "usr" / "bin").mkdir(parents=True)
    (layer / "usr" / "bin" / "python").write_text("program")
    (layer / "usr" / "bin" / "python").chmod(0o755)
    (layer / "bin").symlink_to("usr/bin")
    return layer


def test_a_layer_is_the_same_bytes_whenever_it_is_packed(folder: Path, tmp_path: Path) -> None:
    packed: list[Layer] = []
    for name, time in (("first", 1_000), ("second", 2_000_000_000)):
        (tmp_path / name).mkdir()
        os.utime(folder / "usr" / "bin" / "python", (time, time))
        pack(folder, tmp_path / name)
        packed.append(Layer.read(tmp_path / name, "operator"))
    assert packed[0] == packed[1]


def test_a_layers_digest_is_that_of_the_tar_and_it_keeps_modes_and_links(
    folder: Path, tmp_path: Path
) -> None:
    pack(folder, tmp_path)
    layer = Layer.read(tmp_path, "operator")
    with tarfile.open(fileobj=io.BytesIO(layer.content)) as tar:
        members = {member.name: member for member in tar}
    assert sorted(members) == ["bin", "usr", "usr/bin", "usr/bin/python"]
    assert members["bin"].linkname == "usr/bin"
    assert members["usr/bin/python"].mode == 0o755
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 0)}
    plain = Layer.of_tar(b"any tar")
    assert plain.digest == hashlib.sha256(b"any tar").hexdigest()


def test_an_archive_of_layers_is_read_back(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path)
    layer = Layer.read(tmp_path, "operator")
    path = tmp_path / "image.tar"
    with path.open("wb") as file:
        write(file, "openeni.lab/operator:1", {"User": "1"}, [layer])
    image = ImageArchive(path)
    assert image.name == "openeni.lab/operator:1"
    assert image.layers() == [f"sha256:{layer.digest}"]
    assert image.configuration()["config"] == {"User": "1"}
    assert {member.name for member in image.files()} >= {"usr/bin/python", "bin"}
