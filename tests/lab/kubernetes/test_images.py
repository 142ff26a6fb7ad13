import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from openeni_lab.images.archive import Image
from openeni_lab.kubernetes.images import COREDNS, PAUSE, WEB, ImageError, make_images
from openeni_lab.programs import prepared
from openeni_testing.lab.recording import executable

APPLETS = "#!/bin/sh\nprintf 'busybox\\nsh\\nnc\\n'\n"
Programs = Callable[[str], Path]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """Replace busybox and CoreDNS."""
    executable(tmp_path / "built" / "busybox", APPLETS)
    executable(tmp_path / "built" / "coredns", "the DNS server")
    return (tmp_path / "built").joinpath


@pytest.fixture
def images(programs: Programs, tmp_path: Path) -> dict[str, Image]:
    return {image.name: image for image in make_images(programs, tmp_path / "cache")}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    """Return the lab's images, with the prepared busybox."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "coredns").touch()
    (folder / "busybox").symlink_to(prepared.read(["busybox"]).built.busybox)
    return {image.name: image for image in make_images(folder.joinpath, folder)}


def member(image: Image, name: str) -> bytes:
    with tarfile.open(image.path) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def root_of(image: Image, folder: Path) -> tuple[Path, list[str]]:
    """Unpack an image; return its root and its command."""
    listing = json.loads(member(image, "manifest.json"))[0]
    root = folder / "root"
    with tarfile.open(fileobj=io.BytesIO(member(image, listing["Layers"][0]))) as layer:
        # Debian 12's Python 3.11.2 has no filters yet; later ones warn where none is chosen.
        layer.extraction_filter = getattr(tarfile, "tar_filter", None)
        layer.extractall(root)  # noqa: S202 - our own image
    return root, json.loads(member(image, listing["Config"]))["config"]["Cmd"]


def run_in(root: Path, command: list[str], then: str) -> str:
    """Run the image's command as process 1 of new namespaces, and `then` next to it."""
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


def test_the_same_contents_have_the_same_bytes_and_are_made_once(
    programs: Programs, tmp_path: Path
) -> None:
    first = make_images(programs, tmp_path)
    times = [image.path.stat().st_mtime_ns for image in first]
    again = make_images(programs, tmp_path)
    assert [image.path.stat().st_mtime_ns for image in again] == times
    other = make_images(programs, tmp_path / "other")
    assert [o.path.read_bytes() for o in other] == [f.path.read_bytes() for f in first]
    assert [image.name for image in first] == [PAUSE, WEB, COREDNS]


def test_an_image_names_itself_and_its_layer_by_their_digests(images: dict[str, Image]) -> None:
    listing = json.loads(member(images[WEB], "manifest.json"))[0]
    assert listing["RepoTags"] == ["openeni.lab/web:1"]
    configuration = json.loads(member(images[WEB], listing["Config"]))
    assert configuration["rootfs"]["diff_ids"] == ["sha256:" + listing["Layers"][0].split("/")[0]]


def test_busybox_is_there_under_every_name_that_it_says_it_has(
    images: dict[str, Image], tmp_path: Path
) -> None:
    root, _ = root_of(images[PAUSE], tmp_path)
    found = {path.name: path.is_symlink() and path.readlink() for path in (root / "bin").iterdir()}
    assert found == {"busybox": False, "sh": Path("busybox"), "nc": Path("busybox")}
    assert (root / "bin" / "busybox").read_text() == APPLETS


def test_the_image_of_coredns_holds_the_program_alone(
    images: dict[str, Image], tmp_path: Path
) -> None:
    root, command = root_of(images[COREDNS], tmp_path)
    assert [path.name for path in (root / "bin").iterdir()] == ["coredns"]
    assert (root / "bin" / "coredns").read_text() == "the DNS server"
    assert command == ["/bin/coredns", "-conf", "/etc/coredns/Corefile"]


@pytest.mark.parametrize("broken", ["#!/bin/sh\nexit 1\n", "no program\n"])
def test_a_busybox_that_does_not_run_is_named_in_one_line(
    programs: Programs, tmp_path: Path, broken: str
) -> None:
    executable(programs("busybox"), broken)
    with pytest.raises(ImageError, match=r"^busybox does not run: [^\n]+$"):
        make_images(programs, tmp_path)


@pytest.mark.root
def test_the_web_image_answers_curl_with_its_host_name(
    real: dict[str, Image], tmp_path: Path
) -> None:
    root, command = root_of(real[WEB], tmp_path)
    ask = "curl -s --retry 50 --retry-delay 1 --retry-connrefused -m 5"
    said = run_in(
        root, command, f"{ask} -I http://127.0.0.1/; {ask} http://127.0.0.1/; kill $container"
    )
    assert said.startswith("HTTP/1.1 200 OK")
    assert said.endswith("pod-7\n")


@pytest.mark.root
@pytest.mark.parametrize("name", [PAUSE, WEB])
def test_a_container_ends_at_the_first_polite_signal(
    real: dict[str, Image], tmp_path: Path, name: str
) -> None:
    root, command = root_of(real[name], tmp_path)
    # The signal may come before the shell has set its trap: then the default action ends it.
    said = run_in(root, command, "kill -TERM $container; wait $container; echo ended")
    assert said == "ended\n"


@pytest.mark.root
def test_the_programs_that_the_lab_runs_in_pods_are_in_busybox(
    real: dict[str, Image], tmp_path: Path
) -> None:
    root, _ = root_of(real[PAUSE], tmp_path)
    for program in ("sh", "nc", "ip", "ping", "arping", "ls", "cat", "nslookup"):
        assert (root / "bin" / program).readlink() == Path("busybox")
