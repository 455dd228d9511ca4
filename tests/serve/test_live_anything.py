"""Whatever a client sends, its session answers or ends with a reason, and leaves nothing behind."""

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from castor.serve.shapes import LEAF, SHAPES

from .fake_desk import FakeDesk, says
from .live_driver import Client, Ended, pcm, quiet, tone

PCM = {"<tone>": pcm(tone(0.3)), "<quiet>": pcm(quiet(0.7))}  # short names, put in when sent
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2000)
    | st.floats(-2, 3)
    | st.text(max_size=6)
    | st.sampled_from([*PCM, "audio/pcm;rate=16000", "audio/pcm;rate=8000", "image/png", "f"])
    | st.sampled_from(["user", "model", "system", "AUDIO", "TEXT", "NO_INTERRUPTION", "aGk="])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@st.composite
def of_shape(draw: st.DrawFn, message: str, depth: int = 0) -> Any:
    """Something that looks like a message of the API, for the most part."""
    if message == LEAF or depth > 5 or draw(st.integers(0, 19)) == 0:
        return draw(ANYTHING)
    names = draw(st.lists(st.sampled_from(sorted(SHAPES[message])), max_size=4, unique=True))
    whole = {name: draw(of_shape(SHAPES[message][name], depth + 1)) for name in names}
    return [whole] if draw(st.booleans()) and depth > 1 else whole


@st.composite
def some_message(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(SHAPES["LiveMessage"])))
    return {name: draw(of_shape(SHAPES["LiveMessage"][name]))}


SOUND = {"audio": {"mimeType": "audio/pcm", "data": "<tone>"}}
SILENCE = {"audio": {"mimeType": "audio/pcm", "data": "<quiet>"}}
GOOD: list[dict[str, Any]] = [
    {"clientContent": {"turns": [{"parts": [{"text": "hi"}]}], "turnComplete": True}},
    {"realtimeInput": SOUND},
    {"realtimeInput": SILENCE},
    {"realtimeInput": {"activityStart": {}}},
    {"realtimeInput": {"activityEnd": {}}},
    {"realtimeInput": {"audioStreamEnd": True}},
    {"realtimeInput": {"text": "hello"}},
    {"contextUpdate": {"systemInstruction": "new"}},
]
BY_HAND = {"automaticActivityDetection": {"disabled": True}}
SETUPS: list[dict[str, Any]] = [
    {},
    {"inputAudioTranscription": {}, "explicitVadSignal": True, "contextWindowCompression": {}},
    {"realtimeInputConfig": BY_HAND, "outputAudioTranscription": {}},
    {"realtimeInputConfig": {"activityHandling": "NO_INTERRUPTION"}},
    {"tools": [{"functionDeclarations": [{"name": "f"}]}]},
]
MESSAGES = st.sampled_from(GOOD) | some_message()


def sent(message: Any) -> str:
    text = json.dumps(message)
    for name, data in PCM.items():
        text = text.replace(name, data)
    return text


async def session(setup: Any, messages: list[Any]) -> tuple[int, FakeDesk]:
    """How a session of these messages ends; 1006 if only because the client leaves."""
    desk, code = FakeDesk(), 1006
    async with Client(desk) as client:
        client.send(setup={"model": "castor-fake"} | setup)
        for each in messages:
            client.send_raw(sent(each))
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.02):
                while True:
                    await client.receive()
        except Ended as ended:
            code = ended.code
            assert ended.reason and len(ended.reason.encode()) <= 123
        except TimeoutError:
            pass
    assert len(asyncio.all_tasks()) == 1
    return code, desk


PATIENT = settings(
    max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@PATIENT
@given(st.sampled_from(SETUPS), st.lists(MESSAGES, max_size=6))
@example(SETUPS[3], [GOOD[6]] * 4)
@example(SETUPS[1], [GOOD[1], GOOD[2], GOOD[1], GOOD[0], GOOD[2]])
@example(SETUPS[2], [GOOD[3], GOOD[3], GOOD[1], GOOD[4], GOOD[4], GOOD[3], GOOD[0]])
@example(SETUPS[4], [GOOD[0], GOOD[7], GOOD[6], {"toolResponse": {}}])
def test_no_order_of_messages_breaks_a_session(setup: Any, messages: list[Any]) -> None:
    code, desk = asyncio.run(session(setup, messages))
    assert code in (1006, 1007, 1008, 1009)
    assert all(ticket.cancels for ticket in desk.tickets)


@PATIENT
@given(of_shape("LiveSetup"))
def test_no_setup_breaks_the_server(setup: Any) -> None:
    assume(isinstance(setup, dict))
    code, _ = asyncio.run(session(setup, GOOD[:1]))
    assert code in (1006, 1007, 1008, 1009)


@pytest.mark.parametrize("at", range(8))
def test_a_client_may_leave_at_any_moment(at: int, caplog: pytest.LogCaptureFixture) -> None:
    desk = FakeDesk(script=[says("a"), 0.001, says("b"), 0.001, says("c", finish="stop")])

    async def leaves() -> None:
        async with Client(desk) as client:
            await client.set_up(**SETUPS[1])
            for each in (GOOD[0], GOOD[1], GOOD[2], GOOD[6])[: at // 2 + 1]:
                client.send_raw(sent(each))
            for _ in range(at):
                await asyncio.sleep(0.002)
        assert len(asyncio.all_tasks()) == 1

    with caplog.at_level(logging.ERROR):
        asyncio.run(leaves())
    assert not caplog.records
    assert all(ticket.cancels for ticket in desk.tickets)
