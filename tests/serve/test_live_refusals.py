"""How sessions end that go wrong: codes and reasons, and never a hang."""

from typing import Any

import pytest

from castor.sample.ask import Busy, Failed

from .fake_desk import FakeDesk, says
from .live_driver import PATH, Client, Ended, refusal, talk

CONFIG = "generationConfig"


@pytest.mark.parametrize(
    ("setup", "code", "reason"),
    [
        (
            {CONFIG: {"responseModalities": ["AUDIO"], "speechConfig": {}}},
            1007,
            'This server replies in text, without speech: set responseModalities to ["TEXT"]',
        ),
        (
            {"model": "models/nope"},
            1008,
            "models/nope is not found for API version v1beta, or is not supported for "
            "bidiGenerateContent.",
        ),
        ({CONFIG: {"candidateCount": 2}}, 1007, "a session has one reply at a time"),
        ({CONFIG: {"responseLogprobs": True}}, 1007, "responseLogprobs in a session is not"),
        ({CONFIG: {"temperature": 3}}, 1007, "temperature: 3 is outside the range 0 to 2"),
        ({"proactivity": {"proactiveAudio": True}}, 1007, "setup.proactivity is not supported"),
        ({"avatarConfig": {"a": 1}}, 1007, "setup.avatarConfig is not supported"),
        ({"sessionResumption": {"handle": "x"}}, 1008, "Sessions are not kept"),
        ({"tools": [{"googleSearch": {}}]}, 1007, "tools[0].googleSearch is not supported"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}]},
            1007,
            "The behavior NON_BLOCKING of functions is not supported by this server",
        ),
        (
            {"realtimeInputConfig": {"turnCoverage": "TURN_INCLUDES_ALL_INPUT"}},
            1007,
            "TURN_INCLUDES_ALL_INPUT is not supported by this server",
        ),
        (
            {"contextWindowCompression": {"triggerTokens": 0}},
            1007,
            "setup.contextWindowCompression.triggerTokens: 0 is outside the range",
        ),
        ({"explicitVadSignal": "yes"}, 1007, "true or false is needed"),
    ],
)
def test_a_setup_that_cannot_be_met_is_refused(
    setup: dict[str, Any], code: int, reason: str
) -> None:
    ended = refusal(setup)
    assert ended.code == code
    assert reason in ended.reason


PIECE = {"role": "user", "parts": [{"text": "hi"}]}


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({"setup": {}}, 1007, "A session is set up once, with its first message"),
        ({"clientContent": {"turnComplete": True}}, 1007, "There is nothing to answer"),
        ({"clientContent": [1]}, 1007, "Invalid value at 'clientContent'"),
        (
            {"clientContent": {}, "toolResponse": {}},
            1007,
            "A message is one of clientContent, toolResponse, not several.",
        ),
        (
            {"clientContent": {"turns": [{"role": "wizard", "parts": []}]}},
            1007,
            "Please use a valid role: user, model.",
        ),
        (
            {"clientContent": {"turns": [{"parts": [{"text": "a" * 1001}]}], "turnComplete": True}},
            1007,
            "The input token count (1001) exceeds the maximum number of tokens allowed (1000).",
        ),
        ({"contextUpdate": {"tools": {"tools": [{"urlContext": {}}]}}}, 1007, "urlContext is not"),
    ],
)
def test_a_message_that_is_wrong_ends_the_session(
    message: dict[str, Any], code: int, reason: str
) -> None:
    ended = refusal({}, message)
    assert ended.code == code
    assert reason in ended.reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("{", "Invalid JSON payload received. "),
        ("[]", "Invalid JSON payload received. Root element must be an object."),
        ("", "The first message of a session is its setup"),
        ('{"clientContent": {}}', "The first message of a session is its setup"),
        ('{"setup": {"model": 1}}', "Invalid value at 'setup.model': a string is needed, not 1"),
        ("[" * 100_000, "It is nested too deeply"),
    ],
)
def test_a_first_frame_that_is_wrong_ends_the_session(frame: str, reason: str) -> None:
    async def work(client: Client) -> None:
        client.send_raw(frame)
        with pytest.raises(Ended) as ended:
            await client.receive()
        assert ended.value.code == 1007
        assert reason in ended.value.reason

    talk(work)


def test_who_sets_nothing_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("castor.serve.live.SETUP_S", 0.05)

    async def work(client: Client) -> None:
        with pytest.raises(Ended, match="1008 No setup came within 0.05 s"):
            await client.receive()

    talk(work)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Busy(3, 2.0), "The server is busy: 3 requests are waiting already; try again in 2 s"),
        (Failed("the model failed: x"), "An internal error has occurred: the model failed: x"),
        (OSError("secret"), "An internal error has occurred. The server's log says more."),
    ],
)
def test_errors_of_the_engine_end_the_session(error: Exception, reason: str) -> None:
    ended = refusal(
        {}, {"clientContent": {"turns": [PIECE], "turnComplete": True}}, desk=_failing(error)
    )
    assert (ended.code, ended.reason) == (1011, reason)


def _failing(error: Exception) -> FakeDesk:
    if isinstance(error, Busy):
        return FakeDesk(busy=error)
    return FakeDesk(script=[says("a"), error])


def test_a_frame_that_is_too_large_ends_the_session() -> None:
    big = {"clientContent": {"turns": [{"parts": [{"text": "a" * 2000}]}]}}
    ended = refusal({}, big, body_bytes=1000)
    assert ended.code == 1009
    assert ended.reason.startswith("A message is at most 1000 bytes; this one has 2")


def test_a_session_that_holds_too_much_ends() -> None:
    piece = {"clientContent": {"turns": [{"parts": [{"text": "a" * 500}]}]}}
    ended = refusal({}, piece, piece, piece, body_bytes=1000)
    assert ended.code == 1009
    assert ended.reason == "The session holds more than 1000 bytes: begin a new one"


@pytest.mark.parametrize(
    "path", [PATH.replace("v1beta", "v2"), "/ws/other", PATH.replace("Content", "Music")]
)
def test_there_are_no_other_sockets(path: str) -> None:
    ended = refusal({}, path=path)
    assert (ended.code, ended.reason) == (1008, f"There is no {path} here.")
