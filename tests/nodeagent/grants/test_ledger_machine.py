"""The ledger under any order of events: Hypothesis looks for one that breaks a rule."""

# pyright: reportPrivateUsage=false

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from openeni_nodeagent.grants.eni_view import ENIView
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.ledger import Ledger

ADDRESSES = tuple(f"10.0.0.{n}" for n in range(5))
COOL_DOWN = 10.0
NETNS = st.sampled_from([None, (4, 1), (4, 2)])  # two containers may have one, or its number
subsets = st.frozensets(st.sampled_from(ADDRESSES))


class LedgerMachine(RuleBasedStateMachine):
    containers = Bundle("containers")
    looks = Bundle("looks")

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.process = 0
        self.ledger = Ledger()
        self.view = ENIView("e", "pods", 1, frozenset({4}), ADDRESSES)
        self.ledger.observe(self.view, 0)
        self.owners: dict[str, str] = {}  # ours: address -> container
        self.kernel: dict[str, str] = {}  # address -> container
        self.cooling_until: dict[str, float] = {}
        self.seen_gone: set[str] = set()  # by a look that began after their grants had ended
        self.ended_during: dict[int, set[str]] = {}  # look -> addresses
        self.newest = 0  # look that has finished
        self.given_up: set[str] = set()
        self.count = 0

    @rule(target=containers, pod=st.sampled_from(["u1", "u2"]), netns_id=NETNS, fails=st.booleans())
    def add(self, pod: str, netns_id: tuple[int, int] | None, fails: bool) -> str:
        """Grant, and build; a build that fails may leave something, and its clean-up not say so."""
        self.count += 1
        container = f"c{self.count}"
        chosen = self.ledger.choose("pods", self.now)
        if chosen is None:
            assert not self._grantable()
            return container
        (address,) = chosen.addresses
        assert address in self._grantable()
        assert self._rested_since(address) == min(map(self._rested_since, self._grantable()))
        assert address not in self.kernel
        self.ledger.record(
            Grant(
                Attachment(pod, container, "eth0"),
                "d",
                "p",
                "",
                "e",
                "pods",
                chosen.addresses,
                "Veth",
                1450,
                self.now,
                COOL_DOWN,
                netns_id=netns_id,
            )
        )
        self.owners[address] = container
        self.kernel[address] = container
        if fails:
            self._end(container, self.now)
        return container

    @rule(container=containers, netns_id=NETNS)
    def move(self, container: str, netns_id: tuple[int, int] | None) -> None:
        if (grant := self.ledger.find(container, "eth0")) is not None:
            self.ledger.record(structs.replace(grant, netns_id=netns_id))

    @rule(container=containers, removes=st.booleans())
    def delete(self, container: str, removes: bool) -> None:
        """Late, repeated, or of a container that never got an address: all the same."""
        if removes:
            self.kernel = {a: c for a, c in self.kernel.items() if c != container}
        self._end(container, self.now + COOL_DOWN)

    @rule(seconds=st.floats(0.5, 12))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=looks)
    def begin_look(self) -> tuple[int, int, frozenset[str]]:
        """The kernel is read at once; by the time the look finishes that is old."""
        look = self.ledger.reservations.begin_look()
        self.ended_during[look] = set()
        return self.process, look, frozenset(self.kernel)

    @rule(begun=looks)
    def finish_look(self, begun: tuple[int, int, frozenset[str]]) -> None:
        """Looks finish in any order, and may finish twice; one of an earlier process is lost."""
        process, look, found = begun
        if process != self.process:
            return
        self.ledger.finish_look(look, found, self.now)
        if look > self.newest:
            self.newest = look
            unowned = set(ADDRESSES) - self.owners.keys()
            self.seen_gone = unowned - found - self.ended_during[look]
        self.cooling_until = {
            a: t
            for a, t in self.cooling_until.items()
            if a in self.view.addresses or t > self.now or a not in self.seen_gone
        }

    @rule()
    def remove_leftovers(self) -> None:
        for address in self.ledger.reservations.leftovers():
            assert address not in self.owners
            self.kernel.pop(address, None)

    @rule(retiring=subsets, addresses=subsets)
    def see(self, retiring: frozenset[str], addresses: frozenset[str]) -> None:
        there = tuple(a for a in ADDRESSES if a in addresses)
        self.view = replace(
            self.view,
            generation=self.view.generation + 1,
            retiring=retiring,
            addresses=there,
        )
        self.given_up &= set(there) & retiring
        self.ledger.observe(self.view, self.now)
        self.given_up |= {a for a in there if a in retiring and self._idle(a)}

    @rule()
    def acknowledge(self) -> None:
        answers = self.ledger.acknowledge("e", self.now)
        self.given_up |= {
            a for a in self.view.addresses if a in self.view.retiring and self._idle(a)
        }
        assert answers.generation == self.view.generation
        assert set(answers.retired) == self.given_up
        assert not set(answers.retired) & self.kernel.keys()
        asked = {a for a in self.view.addresses if a in self.view.retiring}
        assert asked & self.owners.keys() <= set(answers.refused)
        assert not set(answers.refused) & self.seen_gone - self.owners.keys()

    @rule()
    def start_again(self) -> None:
        """What the journal and the API still know is enough; no look has been made yet."""
        fresh = Ledger()
        for address, until in self.ledger.reservations.cool_downs(self.now).items():
            fresh.cool_down(address, until)
        for grant in self.ledger.grants():
            fresh.record(grant)
        given_up = self.ledger.acknowledge("e", self.now).retired
        self.acknowledge()
        self.process += 1
        self.newest = 0
        self.seen_gone = set()
        self.ended_during = {}
        self.cooling_until = {a: t for a, t in self.cooling_until.items() if t > self.now}
        fresh.observe(replace(self.view, retired=frozenset(given_up)), self.now)
        self.given_up = set()  # to be acknowledged again once the kernel has been looked at
        self.ledger = fresh

    @invariant()
    def every_grant_has_one_owner(self) -> None:
        if not hasattr(self, "ledger"):
            return
        held = [a for grant in self.ledger.grants() for a in grant.addresses]
        assert sorted(held) == sorted(self.owners)
        assert len(held) == len(set(held))
        assert all(self.kernel.get(a, c) == c for a, c in self.owners.items())

    @invariant()
    def every_grant_of_a_known_namespace_has_its_interface(self) -> None:
        if hasattr(self, "ledger"):
            known = {g for g in self.ledger.grants() if g.netns_id is not None}
            found = [g for its in self.ledger.interfaces._grants.values() for g in its.values()]
            assert (len(found), set(found)) == (len(known), known)

    def _end(self, container: str, cooling_until: float) -> None:
        ended = self.ledger.find(container, "eth0")
        self.ledger.end_grant(container, "eth0", cooling_until)
        mine = {a for a, c in self.owners.items() if c == container}
        assert mine == set(ended.addresses if ended else ())
        for address in mine:
            del self.owners[address]
            self.cooling_until[address] = cooling_until
            self.seen_gone.discard(address)
            for ended_meanwhile in self.ended_during.values():
                ended_meanwhile.add(address)

    def _rested_since(self, address: str) -> float:
        return self.cooling_until.get(address, -1)

    def _idle(self, address: str) -> bool:
        return (
            address not in self.owners
            and address in self.seen_gone
            and self.cooling_until.get(address, -1) <= self.now
        )

    def _grantable(self) -> set[str]:
        return {
            a
            for a in self.view.addresses
            if self._idle(a) and a not in self.view.retiring and a not in self.given_up
        }


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=60)
