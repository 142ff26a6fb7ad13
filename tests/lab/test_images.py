import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from openeni_lab.images import PAUSE, WEB, Image, make_images


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    made = make_images(tmp_path_factory.mktemp("cache"))
    return {image.name: image for image in made}


def member(image: Image, name: str) -> bytes:
    with tarfile.open(image.path) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def root_of(image: Image, folder: Path) -> tuple[Path, list[str]]:
    """The image's root unpacked, and its command."""
    listing = json.loads(member(image, "manifest.json"))[0]
    root = folder / "root"
    with tarfile.open(fileobj=io.BytesIO(member(image, listing["Layers"][0]))) as layer:
        layer.extractall(root, filter="tar")
    return root, json.loads(member(image, listing["Config"]))["config"]["Cmd"]


def run_in(root: Path, command: list[str], then: str) -> str:
    """Run the image's command as process 1 of its namespaces, and `then` beside it."""
    script = (
        'mount --bind /dev "$1/dev"; hostname pod-7; ip link set lo up; '
        f'root=$1; shift; chroot "$root" "$@" & container=$!; {then}'
    )
    isolated = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*isolated, "sh", "-c", script, "sh", str(root), *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_the_same_contents_have_the_same_bytes_and_are_made_once(tmp_path: Path) -> None:
    first = make_images(tmp_path)
    times = [image.path.stat().st_mtime_ns for image in first]
    again = make_images(tmp_path)
    assert [image.path.stat().st_mtime_ns for image in again] == times
    other = make_images(tmp_path / "other")
    assert [o.path.read_bytes() for o in other] == [f.path.read_bytes() for f in first]
    assert [image.name for image in first] == [PAUSE, WEB]


def test_an_image_names_itself_and_its_layer_by_their_digests(images: dict[str, Image]) -> None:
    listing = json.loads(member(images[WEB], "manifest.json"))[0]
    assert listing["RepoTags"] == ["openeni.lab/web:1"]
    configuration = json.loads(member(images[WEB], listing["Config"]))
    assert configuration["rootfs"]["diff_ids"] == ["sha256:" + listing["Layers"][0].split("/")[0]]


@pytest.mark.root
def test_the_web_image_answers_curl_with_its_host_name(
    images: dict[str, Image], tmp_path: Path
) -> None:
    root, command = root_of(images[WEB], tmp_path)
    ask = "curl -s --retry 50 --retry-delay 1 --retry-connrefused -m 5"
    said = run_in(
        root, command, f"{ask} -I http://127.0.0.1/; {ask} http://127.0.0.1/; kill $container"
    )
    assert said.startswith("HTTP/1.1 200 OK")
    assert said.endswith("pod-7\n")


@pytest.mark.root
@pytest.mark.parametrize("name", [PAUSE, WEB])
def test_a_container_ends_at_the_first_polite_signal(
    images: dict[str, Image], tmp_path: Path, name: str
) -> None:
    root, command = root_of(images[name], tmp_path)
    # The signal may come before the shell has set its trap: then the default action ends it.
    said = run_in(root, command, "kill -TERM $container; wait $container; echo ended")
    assert said == "ended\n"


@pytest.mark.root
def test_the_programs_of_busybox_are_there_under_their_names(
    images: dict[str, Image], tmp_path: Path
) -> None:
    root, _ = root_of(images[PAUSE], tmp_path)
    for program in ("sh", "nc", "ip", "ping", "arping", "ls", "cat"):
        assert (root / "bin" / program).readlink() == Path("busybox")
