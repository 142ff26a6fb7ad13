"""The journal: cut off at every byte, damaged, compacted, full."""

import io
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_crds.status.eni import PortSubnet
from openeni_nodeagent.cni.runtime_config import MOST_HOST_PORTS
from openeni_nodeagent.datapath_api import ENIFacts, NodeFacts
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.journal import (
    ENIForgotten,
    ENISeen,
    Granted,
    GrantEnded,
    Journal,
    JournalError,
    JournalRecord,
    NodeSeen,
    encode,
    read,
    replay,
)
from openeni_nodeagent.pod_options import PortMapping, Transport

BOOT = "boot-1"
NODE = NodeFacts(("10.99.0.11",), ("10.96.0.0/12",), ("169.254.20.10",))
ENI = ENIFacts(
    "e",
    "fa:16:3e:00:00:01",
    1450,
    Datapath(Mode.VETH),
    ("10.98.0.4",),
    (PortSubnet("s", "10.98.0.0/24", "10.98.0.1"),),
)


def grant(container: str, address: str = "10.98.0.5") -> Grant:
    attachment = Attachment(f"uid-{container}", container, "eth0")
    return Grant(
        attachment, "default", "p", "/ns", "e", "pods", (address,), "Veth", 1450, 12.5, 30.0
    )


HISTORY: tuple[JournalRecord, ...] = (
    NodeSeen(NODE),
    ENISeen(ENI),
    Granted(grant("a")),
    Granted(msgspec.structs.replace(grant("a"), connected=True, host_interface="oe1")),
    Granted(grant("b", "10.98.0.6")),
    GrantEnded("a", "eth0", {"10.98.0.5": 99.25}),
)


def journal(folder: Path, boot: str = BOOT) -> Journal:
    return Journal(folder / "journal", boot)


def test_a_restart_reads_what_was_written(tmp_path: Path) -> None:
    first = journal(tmp_path)
    for record in HISTORY:
        first.append(record)
    first.close()
    known = journal(tmp_path).state
    assert known.node == NODE
    assert known.enis.all() == (ENI,)
    assert known.grants == {("b", "eth0"): grant("b", "10.98.0.6")}
    assert known.cooling_until == {"10.98.0.5": 99.25}
    assert known.damaged == 0


@pytest.mark.slow
def test_cut_off_at_every_byte_it_knows_every_whole_record_and_can_go_on(tmp_path: Path) -> None:
    first = journal(tmp_path)
    ends = [(tmp_path / "journal").stat().st_size]
    sums = [msgspec.json.encode(first.state.records())]
    for record in HISTORY:
        first.append(record)
        ends.append((tmp_path / "journal").stat().st_size)
        sums.append(msgspec.json.encode(first.state.records()))
    first.close()
    content = (tmp_path / "journal").read_bytes()
    for cut in range(ends[0], len(content) + 1):
        torn = tmp_path / "torn"
        torn.write_bytes(content[:cut])
        again = Journal(torn, BOOT)
        whole = max(i for i, end in enumerate(ends) if end <= cut)
        assert msgspec.json.encode(again.state.records()) == sums[whole], cut
        assert again.state.damaged == 0
        again.append(Granted(grant("z", "10.98.0.9")))
        again.close()
        assert ("z", "eth0") in Journal(torn, BOOT).state.grants


def test_any_flipped_bit_is_noticed_and_costs_its_record_alone() -> None:
    lines = [encode(record) for record in HISTORY[2:5]]
    for position in range(len(lines[0])):
        for bit in range(8):
            damaged = bytearray(lines[0])
            damaged[position] ^= 1 << bit
            known = replay(io.BytesIO(bytes(damaged) + lines[2]))
            assert ("b", "eth0") in known.grants or position == len(lines[0]) - 1
            assert ("a", "eth0") not in known.grants
            assert known.damaged or position == len(lines[0]) - 1
            last = replay(io.BytesIO(lines[2] + bytes(damaged)))
            assert last.damaged or position == len(lines[0]) - 1  # as if it were torn


def damaged(path: Path, kind: bytes) -> Journal:
    """Return the journal as the next process reads it once a record of a kind is unreadable."""
    content = path.read_bytes()
    assert content.count(b'"%s"' % kind) == 1
    path.write_bytes(content.replace(b'"%s"' % kind, b'"-%s"' % kind[1:]))
    return Journal(path, BOOT)


def test_a_grant_whose_end_was_damaged_gives_way_to_the_next_one_of_its_address(
    tmp_path: Path,
) -> None:
    """No agent starts with two owners of an address."""
    first = journal(tmp_path)
    both = msgspec.structs.replace(grant("a", "10.98.0.5"), addresses=("10.98.0.5", "fd98::5"))
    first.append(Granted(both), Granted(grant("c", "10.98.0.7")))
    first.append(GrantEnded("a", "eth0", {"10.98.0.5": 99.25, "fd98::5": 99.25}))
    first.append(Granted(grant("b", "10.98.0.5")))
    first.close()
    again = damaged(tmp_path / "journal", b"freed")
    assert set(again.state.grants) == {("b", "eth0"), ("c", "eth0")}
    assert again.state.damaged == 1
    again.append(GrantEnded("b", "eth0", {}), Granted(grant("d", "fd98::5")))
    assert set(again.state.grants) == {("c", "eth0"), ("d", "eth0")}


def test_a_damaged_first_record_costs_no_grant(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.append(Granted(grant("a", "10.98.0.5")))
    first.close()
    again = damaged(tmp_path / "journal", b"boot")
    assert ("a", "eth0") in again.state.grants
    assert again.state.damaged == 1
    again.close()
    assert ("a", "eth0") in Journal(tmp_path / "journal", BOOT).state.grants
    assert Journal(tmp_path / "journal", "another").state.grants == {}


def test_a_journal_of_an_earlier_boot_is_dropped(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.append(*HISTORY)
    first.close()
    assert journal(tmp_path, "boot-2").state.grants == {}
    assert journal(tmp_path, "boot-2").state.cooling_until == {}


def test_a_long_journal_is_rewritten_and_sums_up_to_the_same(tmp_path: Path) -> None:
    of = journal(tmp_path)
    of.append(*HISTORY)
    short = (tmp_path / "journal").stat()
    of.compact(of.state.cooling_until)
    assert (tmp_path / "journal").stat() == short
    for number in range(600):
        of.append(
            Granted(grant("c", "10.98.0.7")), GrantEnded("c", "eth0", {"10.98.0.7": float(number)})
        )
    before = msgspec.json.encode(of.state.records())
    long = (tmp_path / "journal").stat().st_size
    of.compact(of.state.cooling_until)
    assert (tmp_path / "journal").stat().st_size < long / 100
    of.append(Granted(grant("d", "10.98.0.8")))
    of.close()
    again = journal(tmp_path).state
    assert again.grants.pop(("d", "eth0")) == grant("d", "10.98.0.8")
    assert msgspec.json.encode(again.records()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]


def with_host_ports(grant: Grant, count: int) -> Grant:
    ports = tuple(PortMapping(n, n, Transport.TCP) for n in range(1, count + 1))
    return msgspec.structs.replace(grant, host_ports=ports)


def test_it_is_rewritten_before_records_that_are_long_fill_memory(tmp_path: Path) -> None:
    """Of pods with host ports: 500 records had a hundred times the size of the state."""
    of = journal(tmp_path)
    of.append(*HISTORY)
    long = with_host_ports(grant("c", "10.98.0.7"), MOST_HOST_PORTS)
    size = 0
    while of.size()[0] < 400:
        of.append(Granted(long), GrantEnded("c", "eth0", {"10.98.0.7": 1.0}))
        of.compact(of.state.cooling_until)
        if of.size()[1] < size:
            break
        size = of.size()[1]
    assert 1 << 19 < size < 2 << 20
    assert of.size()[1] < 2048
    again = journal(tmp_path).state
    assert again.grants == of.state.grants
    assert again.cooling_until == of.state.cooling_until


def test_a_state_that_is_long_is_not_rewritten_again_and_again(tmp_path: Path) -> None:
    """As an agent without a limit of host ports left it; pods keep what they have."""
    before = journal(tmp_path)
    old = with_host_ports(grant("old", "10.98.0.8"), 30_000)
    before.append(Granted(old))
    before.close()
    of = journal(tmp_path)
    assert of.state.grants == {("old", "eth0"): old}
    assert of.size()[1] > 1 << 20
    written = (tmp_path / "journal").stat()
    of.compact({})
    assert (tmp_path / "journal").stat() == written


def test_a_file_that_is_longer_than_the_agents_memory_is_read_line_by_line() -> None:
    """It has no bound of its own: a read at once had the agent killed at each start."""
    line = encode(Granted(with_host_ports(grant("a"), 1000)))

    def lines() -> Iterator[bytes]:
        for _ in range(50):
            yield line

    tracemalloc.start()
    try:
        assert replay(lines()).grants.keys() == {("a", "eth0")}
        assert tracemalloc.get_traced_memory()[1] < 20 * len(line)
    finally:
        tracemalloc.stop()


def test_a_crash_while_it_is_rewritten_loses_nothing(tmp_path: Path) -> None:
    of = journal(tmp_path)
    of.append(*HISTORY)
    of.close()
    (tmp_path / "journal.new").write_bytes(b"half of what")
    assert journal(tmp_path).state.grants == {("b", "eth0"): grant("b", "10.98.0.6")}


def test_an_eni_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    of = journal(tmp_path)
    of.append(ENISeen(ENI), ENIForgotten("e"))
    of.close()
    assert journal(tmp_path).state.enis.all() == ()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    journal(tmp_path)
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600


def fill(of: Journal) -> None:
    for number in range(10_000):
        of.append(Granted(grant(f"c{number}", f"10.98.{number // 256}.{number % 256}")))


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=10)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Yield a real tmpfs of 64 KiB: /run may be full."""
    folder = tmp_path / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder))
    yield folder
    run("umount", "--lazy", str(folder))


@pytest.mark.root
def test_a_write_that_does_not_fit_leaves_no_half_record(small: Path) -> None:
    of = journal(small)
    with pytest.raises(JournalError, match=r"cannot be written: (No space|only)"):
        fill(of)
    stored = len(of.state.grants)
    run("mount", "-o", "remount,size=128k", str(small))
    of.append(Granted(grant("later", "10.99.0.1")))
    again = read(small / "journal")
    assert len(again.grants) == stored + 1 > 10
    assert again.damaged == 0


@pytest.mark.root
def test_a_rewrite_that_does_not_fit_takes_no_room(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.grants.journal._COMPACT_ABOVE", 0)
    of = journal(small)
    with pytest.raises(JournalError):
        fill(of)
    run("mount", "-o", "remount,size=72k", str(small))
    with pytest.raises(OSError, match=r"No space|only"):
        of.compact({})
    assert [path.name for path in small.iterdir()] == ["journal"]
    of.append(Granted(grant("later", "10.99.0.1")))
