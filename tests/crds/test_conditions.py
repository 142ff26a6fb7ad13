"""Conditions' messages are one line that a terminal may show."""

from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.conditions import MESSAGE_LENGTH, Reason, Type, condition, one_line


@given(st.text(max_size=3 * MESSAGE_LENGTH))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert not line or line.isprintable()
    assert len(line) <= MESSAGE_LENGTH


def test_a_plain_message_stays_as_it_is() -> None:
    text = "node n1 lacks Veth: use another spec.datapath.mode"
    assert condition(Type.READY, Reason.READY, text, status=False).message == text


def test_several_lines_become_one() -> None:
    assert one_line("nft: error\n\tline 2\x1b[0m") == "nft: error line 2 [0m"
