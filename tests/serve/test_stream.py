"""Streams: their form, their silence, their errors, and that nobody works for who has gone."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.types import Message

from castor.core.content import Call, Media
from castor.sample.ask import Failed, Late, News
from castor.serve.app import app
from castor.serve.edge import Cut
from castor.serve.service import Settings

from .driver import GENERATE, HI, STREAM, Client, Listener, client_of
from .events import events, said, whole
from .fake_desk import FakeDesk, FakeTicket, says, spelled

ARRAY = STREAM.partition("?")[0]
STILL = 60.0  # longer than any test


def streamed(*script: News | Exception | float, **given: Any) -> bytes:
    response = client_of(FakeDesk(script=script)).post(STREAM, json=HI | given)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    return response.content


def test_the_last_chunk_says_how_it_ended_and_all_have_one_id() -> None:
    chunks = whole(streamed(says("hel"), says("lo", finish="stop")))
    assert said(chunks) == "hello"
    assert "finishReason" not in chunks[0]["candidates"][0]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert chunks[-1]["usageMetadata"]["totalTokenCount"] == 4


@given(st.text(max_size=20))
@example("a\u2028b\u2029c\u0085d\x0b\x1c")
@example("👩‍👩‍👧 日本語 \U0001f600")
@example('"\\\r\n\r\ndata: {"')
def test_any_text_arrives_whole_though_it_is_cut_at_every_character(text: str) -> None:
    chunks = whole(streamed(*spelled(text)))
    assert said(chunks) == text


def test_candidates_are_mixed_and_told_apart() -> None:
    script = [
        says("a", candidate=1),
        says("b"),
        says("c", candidate=1, finish="stop"),
        says("d", finish="length"),
    ]
    chunks = whole(streamed(*script, generationConfig={"candidateCount": 2}))
    assert (said(chunks, 0), said(chunks, 1)) == ("bd", "ac")
    finished = [c.get("finishReason") for chunk in chunks for c in chunk["candidates"]]
    assert finished == [None, None, "STOP", "MAX_TOKENS"]


def test_pictures_and_calls_come_whole() -> None:
    body = streamed(says("a"), says(Media("image/png", b"x"), Call("f", {})), says(finish="stop"))
    parts = [c["candidates"][0]["content"]["parts"] for c in whole(body)]
    picture, call = parts[1]
    assert picture == {"inlineData": {"mimeType": "image/png", "data": "eA=="}}
    assert call["functionCall"]["id"]
    assert parts[2] == [{"text": ""}]


def test_probabilities_come_with_their_tokens() -> None:
    config = {"responseLogprobs": True}
    chunks = whole(streamed(*spelled("ab"), generationConfig=config))
    chosen = [c["candidates"][0].get("logprobsResult", {}) for c in chunks]
    assert [len(each.get("chosenCandidates", [])) for each in chosen] == [1, 1, 0]
    assert chunks[-1]["candidates"][0]["avgLogprobs"] == -0.5


def test_without_alt_sse_a_stream_is_one_json_array() -> None:
    response = client_of(FakeDesk(script=spelled("a\u2028b"))).post(ARRAY, json=HI)
    assert response.headers["content-type"] == "application/json"
    chunks = json.loads(response.content)
    assert said(chunks) == "a\u2028b"
    assert response.text.startswith("[{") and ",\r\n{" in response.text
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


def test_each_element_of_the_array_is_sent_when_it_is_there() -> None:
    listener = Listener(ARRAY)
    desk = FakeDesk(script=[says("a"), says("b", finish="stop")])
    asyncio.run(listener.run(app(desk, Settings())))
    pieces = [message["body"] for message in listener.sent[1:]]
    assert [piece[:2] for piece in pieces] == [b"[{", b",\r", b"]"]


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (Late(), 504, "DEADLINE_EXCEEDED"),
        (Failed("x"), 500, "INTERNAL"),
        (OSError("x"), 500, "INTERNAL"),
    ],
)
def test_an_error_in_a_stream_is_its_last_chunk_with_error_first(
    error: Exception, code: int, status: str
) -> None:
    *chunks, last = events(streamed(says("a"), error))
    assert said(chunks) == "a"
    assert list(last) == ["error"]
    assert list(last["error"])[:3] == ["code", "message", "status"]
    assert (last["error"]["code"], last["error"]["status"]) == (code, status)


def test_an_error_in_an_array_is_its_last_element() -> None:
    response = client_of(FakeDesk(script=[says("a"), Late()])).post(ARRAY, json=HI)
    first, last = json.loads(response.content)
    assert said([first]) == "a" and list(last) == ["error"]


def test_an_array_of_nothing_is_an_array() -> None:
    desk = FakeDesk(script=[0.0])
    assert client_of(desk).post(ARRAY, json=HI).json() == []


def test_while_nothing_comes_an_empty_text_is_a_sign_of_life() -> None:
    desk = FakeDesk(script=[0.05, says("a", finish="stop")])
    body = client_of(desk, keep_alive_s=0.02).post(STREAM, json=HI).content
    first, *_, last = whole(body)
    (candidate,) = first["candidates"]
    assert candidate == {"content": {"parts": [{"text": ""}], "role": "model"}, "index": 0}
    assert first["usageMetadata"]["promptTokenCount"] == 2
    assert said([last]) == "a"


def test_a_candidate_that_has_ended_gives_no_sign_of_life() -> None:
    script = [says("a", finish="stop"), 0.05, says("b", candidate=1, finish="stop")]
    client = client_of(FakeDesk(script=script), keep_alive_s=0.02)
    body = client.post(STREAM, json=HI | {"generationConfig": {"candidateCount": 2}}).content
    _, sign, *_ = whole(body)
    assert [each["index"] for each in sign["candidates"]] == [1]


def test_a_place_in_the_queue_is_told_at_once_and_while_it_lasts() -> None:
    desk = FakeDesk(script=[0.05, says("a", finish="stop")], position=3)
    body = client_of(desk, keep_alive_s=0.02).post(STREAM, json=HI).content
    first, second, *_ = whole(body)
    assert first["queue"] == second["queue"] == {"position": 3}
    assert said([first]) == ""


def test_health_and_metrics_tell_how_many_wait() -> None:
    served = app(FakeDesk(script=[STILL], position=2), Settings())
    listener = Listener(STREAM)

    async def told() -> tuple[dict[str, Any], str]:
        running = asyncio.create_task(listener.run(served))
        await listener.heard(2)
        health = (await asyncio.to_thread(Client(served).get, "/health")).json()
        metrics = (await asyncio.to_thread(Client(served).get, "/metrics")).text
        listener.gone.set()
        await running
        return health, metrics

    health, metrics = asyncio.run(told())
    assert health["queue"] == 1
    assert "castor_requests_open 1\n" in metrics and "castor_requests_waiting 1\n" in metrics
    assert Client(served).get("/health").json()["queue"] == 0


SLOW = {"keep_alive_s": 0.02, "head_s": 0.01}


def test_a_whole_reply_that_takes_long_is_preceded_by_blanks() -> None:
    desk = FakeDesk(script=[0.1, says("a", finish="stop")])
    response = client_of(desk, **SLOW).post(GENERATE, json=HI)
    assert response.content.startswith(b" ")
    assert said([response.json()]) == "a"


def test_a_late_error_of_a_whole_reply_cuts_the_connection() -> None:
    desk = FakeDesk(script=[0.1, Failed("x")])
    listener = Listener(GENERATE)
    with pytest.raises(Cut, match="generateContent was cut short; see the error before"):
        asyncio.run(listener.run(app(desk, Settings(**SLOW))))
    assert listener.status == 200 and listener.body.strip() == b""


def test_until_the_head_must_go_out_an_error_has_its_own_status() -> None:
    desk = FakeDesk(script=[0.1, Late()])
    response = client_of(desk, keep_alive_s=0.02).post(GENERATE, json=HI)
    assert response.status_code == 504


@pytest.mark.parametrize("path", [STREAM, ARRAY, GENERATE])
def test_a_client_that_hangs_up_is_worked_for_no_longer(path: str) -> None:
    desk = FakeDesk(script=[says("a"), says("b"), says("c"), STILL, says("d", finish="stop")])
    listener = Listener(path)

    async def hang_up() -> FakeTicket:
        running = asyncio.create_task(listener.run(app(desk, Settings())))
        while not desk.tickets or desk.tickets[0].told < 3:
            await asyncio.sleep(0.001)
        listener.gone.set()
        await asyncio.wait_for(running, timeout=5)
        return desk.tickets[0]

    ticket = asyncio.run(hang_up())
    assert ticket.cancels and ticket.told == 3


def test_a_server_that_stops_cancels_what_it_was_asked() -> None:
    desk = FakeDesk(script=[says("a"), STILL])
    listener = Listener(STREAM)

    async def stop() -> None:
        running = asyncio.create_task(listener.run(app(desk, Settings())))
        await listener.heard(2)
        running.cancel()
        await asyncio.wait([running], timeout=5)
        assert running.cancelled()

    asyncio.run(stop())
    assert desk.tickets[0].cancels


@pytest.mark.parametrize("path", [STREAM, GENERATE])
def test_a_connection_that_breaks_before_the_head_cancels_too(path: str) -> None:
    desk = FakeDesk()
    listener = Listener(path)

    async def broken(message: Message) -> None:
        raise OSError("the connection is gone")

    async def asked() -> None:
        await app(desk, Settings())(listener.scope, listener.receive, broken)

    with pytest.raises((OSError, Cut)):
        asyncio.run(asked())
    assert desk.tickets[0].cancels


def test_a_client_that_hangs_up_while_it_sends_is_forgotten() -> None:
    listener = Listener(STREAM)
    listener.gone.set()
    desk = FakeDesk()
    listener.cut()
    asyncio.run(listener.run(app(desk, Settings())))
    assert listener.sent == [] and desk.asks == []


def test_the_head_comes_before_the_first_token() -> None:
    desk = FakeDesk(script=[STILL])
    listener = Listener(STREAM)

    async def head() -> None:
        running = asyncio.create_task(listener.run(app(desk, Settings())))
        await asyncio.wait_for(listener.heard(1), timeout=5)
        listener.gone.set()
        await running

    asyncio.run(head())
    assert listener.status == 200 and len(listener.sent) == 1


def test_replies_that_nobody_waited_for_are_counted_but_not_those_that_failed() -> None:
    desk = FakeDesk(script=[says("a"), STILL])
    served = app(desk, Settings())
    listener = Listener(STREAM)

    async def hang_up() -> None:
        running = asyncio.create_task(listener.run(served))
        await listener.heard(2)
        listener.gone.set()
        await running

    asyncio.run(hang_up())
    desk.script = [says("a"), Late()]
    client = Client(served)
    client.post(STREAM, json=HI)
    assert "castor_cancelled_total 1" in client.get("/metrics").text
