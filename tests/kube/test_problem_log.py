"""The log names what is new, and stays readable while everything fails."""

import logging
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_kube import problem_log
from openeni_kube.problem_log import (
    MAX_TEXT,
    NAMED_KEYS,
    REPEAT_SECONDS,
    WINDOW_SECONDS,
    ProblemLog,
)
from openeni_kube.result import Blocked, Done, Result, Retry
from openeni_kube.workers import Workers
from openeni_kube.workqueue import Backoff
from openeni_testing.waiting import wait_for

QUICK = Backoff(base=0.01, maximum=0.03, jitter=0)
DOWN = "cloud 'default' does not respond"


class Log:
    """The lines of a log, by the key that each names; "" for those that count keys."""

    def __init__(self) -> None:
        self.decides: ProblemLog[str] = ProblemLog()
        self.lines: list[tuple[float, str, str]] = []

    def fail(self, key: str, problem: str, now: float) -> None:
        self.lines += [(now, "", line) for line in self.decides.take_counts(now)]
        text = self.decides.text_for(key, problem, now)
        self.lines += [(now, key, text)] if text else []

    @property
    def texts(self) -> list[str]:
        return [text for _, _, text in self.lines]


def test_a_problem_is_logged_when_it_is_new_for_its_key_and_now_and_then_while_it_lasts() -> None:
    log = Log()
    for second in range(0, 1801, 30):
        log.fail("a", DOWN, second)
    assert [at for at, _, _ in log.lines] == [0, 600, 1200, 1800]
    log.fail("a", "the quota is used up", 1801)
    log.fail("a", DOWN, 1802)
    assert log.texts[-2:] == ["the quota is used up", DOWN]


def test_a_key_that_fails_now_and_then_hides_no_other() -> None:
    log = Log()
    for second in range(NAMED_KEYS + 2):
        log.fail("flaps", f"the server is busy (req-{second})", second)
        log.decides.forget("flaps")
    log.fail("lasts", "the server is busy (req-99)", WINDOW_SECONDS - 1)
    assert [key for _, key, _ in log.lines] == ["flaps"] * (NAMED_KEYS + 2) + ["lasts"]


def test_a_key_that_has_recovered_is_forgotten() -> None:
    log = Log()
    log.fail("a", DOWN, 0)
    log.decides.forget("a")
    log.decides.forget("never known")
    log.fail("a", DOWN, 1)
    assert log.texts == [DOWN, DOWN]


def test_in_an_outage_a_few_of_many_keys_are_named_and_the_others_counted() -> None:
    """1,000 ENIs that are retried every 30 s were 33 lines a second."""
    log, keys = Log(), [f"ENI/pods-{n}" for n in range(1000)]
    for second in range(0, 1800, 30):
        for key in keys:
            log.fail(key, f"{DOWN}, of which {key} is one", second)
    first = [line for line in log.lines if line[0] <= WINDOW_SECONDS]
    assert [key for _, key, _ in first] == [*keys[:NAMED_KEYS], ""]
    assert first[-1][2] == (
        "... and 997 more objects failed in the same way within a minute, such as ENI/pods-999: "
        f"{DOWN}, of which ENI/pods-999 is one"
    )
    assert len(log.lines) == (NAMED_KEYS + 1) * 1800 / REPEAT_SECONDS


def test_another_problem_of_one_key_is_not_lost_among_many() -> None:
    log = Log()
    for n in range(100):
        log.fail(f"{n}", DOWN, 0)
    log.fail("50", "the port is gone", 1)
    assert log.lines[-1] == (1, "50", "the port is gone")


def test_a_key_whose_words_are_others_each_time_fills_no_log() -> None:
    log = Log()
    for second in range(600):
        log.fail("a", f"revision {second} was changed meanwhile", second)
    assert log.texts == ["revision 0 was changed meanwhile"]


def test_a_long_text_is_cut_where_it_is_logged_and_where_it_is_counted() -> None:
    log = Log()
    for n in range(5):
        log.fail(f"{n}", "x" * 1_000_000, 0)
    log.fail("b", DOWN, WINDOW_SECONDS)
    assert log.texts[0] == "x" * MAX_TEXT + "... (1000000 characters)"
    assert log.texts[-2].startswith("... and 2 more objects ")
    assert log.texts[-2].endswith(f" such as 4: {log.texts[0]}")


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz"), st.floats(0, 100)),
        max_size=80,
    )
)
def test_each_new_problem_is_named_or_counted_and_the_log_stays_short(
    failures: list[tuple[str, str, float]],
) -> None:
    log, now = Log(), 0.0
    new, last = list[tuple[float, str, str]](), dict[str, str]()
    for key, problem, pause in failures:
        now += pause
        log.fail(key, problem, now)
        new += [(now, key, problem)] if last.get(key) != problem else []
        last[key] = problem
    log.fail("end", "the end", now + WINDOW_SECONDS)
    for at, key, problem in new:
        named = [n for n, k, text in log.lines if (k, text) == (key, problem)]
        counted = [n for n, k, text in log.lines if not k and text.endswith(f": {problem}")]
        lately = any(at - WINDOW_SECONDS <= n <= at for n in named)
        assert lately or any(at <= n for n in counted)
    windows = len(set("xyz")) * (now / WINDOW_SECONDS + 1)
    assert len(log.lines) - 1 <= windows * (NAMED_KEYS + 1)


# The workers ask it.


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == level]


def test_a_failure_is_tried_again_and_logged_when_it_is_a_new_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    whole = "not now" + "x" * 1000
    results: list[Result] = [Retry(whole), Retry(whole), Retry("no"), Done(), Retry("no"), Done()]
    runs = len(results)

    def reconcile(_: str) -> Result:
        return results.pop(0)

    workers = Workers("test", reconcile, backoff=QUICK)
    workers.start()
    workers.add("a")
    wait_for(lambda: len(results) == 2, "it has succeeded")
    workers.add("a")
    wait_for(lambda: len(messages(caplog, logging.DEBUG)) == runs, "it has succeeded again")
    cut, *others = (
        re.sub(r" \(after \d+\.\d s\)$", "", text) for text in messages(caplog, logging.WARNING)
    )
    assert cut == f"a: {whole[:500]}... (1007 characters)"
    assert others == ["a: no", "a: no"], "it had recovered in between"
    assert sum(whole in text for text in messages(caplog, logging.DEBUG)) == 2
    workers.stop(60)


def test_of_many_keys_with_one_failure_a_few_are_logged_and_the_others_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Counter[str]()

    def reconcile(key: str) -> Result:
        ended[key] += 1
        return Blocked("the cloud is away") if key.isdecimal() else Done()

    workers = Workers("test", reconcile, backoff=QUICK)
    workers.start()
    for key in (*map(str, range(50)), "good"):
        workers.add(key)
    wait_for(lambda: ended["good"], "all before it have failed")
    monkeypatch.setattr(problem_log, "WINDOW_SECONDS", 0.0)
    workers.add("last")
    wait_for(lambda: len(messages(caplog, logging.WARNING)) == 4, "the others are counted")
    last = messages(caplog, logging.WARNING)[-1]
    assert last.startswith(
        "... and 47 more objects failed in the same way within a minute, such as "
    )
    assert last.endswith(": the cloud is away")
    workers.stop(60)
