"""The framing between executable and agent."""

import pytest

from openeni_nodeagent.cni import frame
from openeni_nodeagent.cni.protocol import VERSIONS
from openeni_testing.agent.cni_call import Runtime

ENVIRONMENT = {"CNI_COMMAND": "DEL", "CNI_ARGS": "A=1;B=2"}


def test_an_encoded_request_decodes_to_itself_and_a_truncated_one_to_an_error() -> None:
    whole = frame.encode_request(ENVIRONMENT, b"{}", deadline=100)
    head, environment, stdin = frame.decode_request(whole)
    assert (head.deadline, environment, stdin) == (100.0, ENVIRONMENT, b"{}")
    for cut in range(len(whole)):
        with pytest.raises(frame.FrameError):
            frame.decode_request(whole[:cut])


def test_of_a_variable_that_is_there_twice_the_first_counts_as_for_the_executable() -> None:
    assert frame.decode_environment(b"A=1\0B=2\0A=3\0") == {"A": "1", "B": "2"}


@pytest.mark.parametrize("version", [0, 2, 0xFFFFFFFF])
def test_only_the_versions_that_there_have_been_are_decoded(version: int) -> None:
    whole = frame.encode_request(ENVIRONMENT, b"{}", deadline=9, version=version)
    with pytest.raises(frame.FrameError, match=f"speaks protocol {version}, the agent 1:"):
        frame.decode_request(whole)


def test_an_encoded_answer_decodes_to_itself_and_a_truncated_one_to_an_error() -> None:
    whole = frame.encode_answer(frame.VERSION, 1, b"body")
    assert frame.decode_answer(whole) == (1, b"body")
    for cut in range(len(whole)):
        with pytest.raises(frame.FrameError):
            frame.decode_answer(whole[:cut])


def test_the_executable_supports_the_versions_that_the_agent_does(runtime: Runtime) -> None:
    assert runtime.call("VERSION").body["supportedVersions"] == list(VERSIONS)
