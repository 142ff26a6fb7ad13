import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from openeni_lab.builds import Built, ensure
from openeni_lab.progress import Lines
from openeni_testing.waiting import wait_for

# The kernel may have to be built first, on a machine that may be slow.
pytestmark = [pytest.mark.root, pytest.mark.timeout(3600)]

RUN = (
    "import sys; from openeni_lab.kernel import run_in_kernel; "
    "sys.exit(run_in_kernel(sys.argv[3:], own_kernel=sys.argv[1] == 'namespaces', "
    "seconds=float(sys.argv[2])))"
)
KINDS = ["guest", "namespaces"]


@pytest.fixture(scope="module")
def built() -> Built:
    return ensure(["kernel"], Lines())


def words(kind: str, argv: Sequence[str], seconds: float = 120) -> list[str]:
    return [sys.executable, "-c", RUN, kind, str(seconds), *argv]


def run(
    kind: str, *argv: str, seconds: float = 120, cwd: Path | None = None
) -> tuple[int, str, str]:
    done = subprocess.run(
        words(kind, argv, seconds),
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def processes(marker: str) -> list[int]:
    """Every process of this machine whose command line has the marker."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in line and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, built: Built) -> str:
    return str(request.param)


def test_a_command_runs_with_its_output_its_errors_and_its_exit_code(kind: str) -> None:
    script = "echo out; echo err >&2; exit 7"
    assert run(kind, "sh", "-c", script) == (7, "out\n", "err\n")


@pytest.mark.parametrize(
    ("script", "code"), [("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 255", 255)]
)
def test_an_exit_code_is_what_a_shell_would_say(kind: str, script: str, code: int) -> None:
    assert run(kind, "sh", "-c", script)[0] == code


def test_no_byte_of_a_long_output_is_lost(kind: str) -> None:
    _, out, _ = run(kind, "seq", "200000")
    assert out.split() == [str(number) for number in range(1, 200001)]


def test_folder_path_and_chosen_variables_are_kept(kind: str, tmp_path: Path) -> None:
    script = 'pwd; echo "$PATH"; echo "$OPENENI_TEST_WORD"; echo "$AWS_SECRET_ACCESS_KEY"'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENENI_TEST_WORD", "two words; $HOME 'and' \"more\"")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        _, out, _ = run(kind, "sh", "-c", script, cwd=tmp_path)
    expected = [str(tmp_path), os.environ["PATH"], "two words; $HOME 'and' \"more\"", ""]
    assert out.splitlines() == expected


def test_the_command_sees_a_network_of_its_own(kind: str) -> None:
    code, out, _ = run(kind, "sh", "-c", "ls /sys/class/net; ping -c1 -W5 127.0.0.1 >&2")
    assert (code, out) == (0, "lo\n")


def test_a_command_that_takes_too_long_is_ended(kind: str) -> None:
    marker = f"314{os.getpid()}"
    assert run(kind, "sleep", marker, seconds=10)[0] == 124
    wait_for(lambda: not processes(marker), "nothing left")


def test_interrupting_ends_it_and_everything_in_it(kind: str) -> None:
    marker = f"315{os.getpid()}"
    script = f"echo up; sleep {marker} & sleep {marker}"
    with subprocess.Popen(
        words(kind, ["sh", "-c", script]), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    wait_for(lambda: not processes(marker), "nothing left")


def test_when_the_caller_is_killed_the_rest_dies_with_it(kind: str) -> None:
    marker = f"316{os.getpid()}"
    script = f"echo up; sleep {marker} & setsid sleep {marker}"
    with subprocess.Popen(
        words(kind, ["sh", "-c", script]), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        guests = [pid for pid in processes(marker) if pid != process.pid]
        assert guests or kind == "guest"  # a guest's processes have no names outside
        process.kill()
        # Every process of it holds this pipe.
        assert process.stdout.read() == b""
    wait_for(lambda: not processes(marker), "nothing left")


def test_a_guest_leaves_no_folder_behind_even_when_its_caller_is_killed(
    built: Built, tmp_path: Path
) -> None:
    with subprocess.Popen(
        words("guest", ["sh", "-c", "echo up; sleep 600"]),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        wait_for(lambda: not list(tmp_path.iterdir()), "the folder to be gone", 10)
        process.kill()
        assert process.stdout.read() == b""
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_a_guest_writes_reaches_the_machine(built: Built, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("as it was")
    places = [tmp_path, Path("/var/lib"), Path("/var/log"), Path("/etc"), Path("/"), Path("/tmp")]  # noqa: S108
    marker = f"openeni-guest-wrote-{os.getpid()}"
    script = f'for place; do echo x > "$place/{marker}" && cat "$place/{marker}"; done; '
    script += f"echo changed > {there} && cat {there} && rm {there}"
    code, out, err = run("guest", "sh", "-c", script, "sh", *map(str, places))
    assert (code, out.split(), err) == (0, ["x"] * len(places) + ["changed"], "")
    assert there.read_text() == "as it was"
    assert not any((place / marker).exists() for place in places)


DATAPATH = """
set -e
ip netns add a; ip netns add b
ip link add p0 type veth peer name p1
ip link set p0 up; ip link set p1 up
for mode in l2 l3 l3s; do
  ip link add i-$mode link p0 type ipvlan mode $mode; ip link del i-$mode
done
for at in a:1 b:2; do
  ns=${at%:*}
  ip link add i0 link p0 netns $ns type ipvlan mode l2
  ip -n $ns addr add 10.9.0.${at#*:}/24 dev i0; ip -n $ns link set i0 up
done
ip netns exec a ping -c1 -W10 -q 10.9.0.2
ip link add br0 type bridge; ip link add v0 type veth peer name v1; ip link set v0 master br0
ip tuntap add t0 mode tap; ip link add d0 type dummy
nft 'table ip t { map m { type ipv4_addr . inet_service : verdict; };
  chain c { type nat hook postrouting priority 100; masquerade fully-random; };
  chain f { type filter hook input priority 0;
    ct state established counter; fib daddr type local accept; }; }'
nft 'table inet t { chain c { type filter hook forward priority 0; reject; }; }'
nft 'table arp t { chain c { type filter hook input priority 0; arp operation request counter; }; }'
nft 'table bridge t { counter d { }; chain c { type filter hook forward priority 0;
  arp saddr ip 10.0.0.1 ether saddr 02:00:00:00:00:01 counter name d drop; }; }'
nft 'table netdev t { chain c { type filter hook ingress device p0 priority 0; counter; }; }'
conntrack -L
for controller in cpu memory pids; do grep -q $controller /sys/fs/cgroup/cgroup.controllers; done
test -c /dev/net/tun
"""


@pytest.mark.timeout(3600)
def test_a_guest_has_everything_that_datapaths_and_nodes_need(built: Built) -> None:
    code, out, err = run("guest", "sh", "-c", DATAPATH)
    assert code == 0, err
    assert "1 received" in out


def test_pytest_runs_in_a_guest(built: Built, tmp_path: Path) -> None:
    case = tmp_path / "test_inside.py"
    case.write_text(
        "import platform\n\n"
        "def test_kernel():\n    assert platform.release().startswith('6.1.')\n\n"
        "def test_failing():\n    assert False, 'on purpose'\n"
    )
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(case)]
    code, out, _ = run("guest", *argv, seconds=300)
    assert code == 1
    assert "1 failed, 1 passed" in out
