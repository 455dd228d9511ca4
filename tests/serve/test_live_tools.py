"""Functions in a session, and a talk that grows too long."""

import asyncio
from typing import Any

import pytest

from castor.core.content import Call, Document, Result, Text, Turn
from castor.serve.live_talk import Talk
from castor.serve.live_wire import Closed, Setup, Window, close_of, setup_of, shortened
from castor.serve.refusal import Refusal
from castor.serve.service import Settings

from .fake_desk import FakeDesk, says, spelled
from .live_driver import Client, kinds, refusal, said, talk

TOOLS = {"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]}
CALLS = [says("so "), says(Call("f", {"x": 1}), Call("g", {})), says(finish="stop", tokens=[])]


async def called(client: Client) -> list[dict[str, Any]]:
    """The functions that the model calls when it is spoken to."""
    await client.set_up(**TOOLS)
    client.say("hi")
    await client.receive()
    message = await client.receive()
    assert message["usageMetadata"]["promptTokenCount"]
    return message["toolCall"]["functionCalls"]


def result(call: dict[str, Any], **more: Any) -> dict[str, Any]:
    told = {"id": call["id"], "name": call["name"], "response": {"n": call["name"]}} | more
    return {"functionResponses": [{k: v for k, v in told.items() if v is not None}]}


def test_calls_are_told_together_and_answered_when_all_results_are_there() -> None:
    desk = FakeDesk(script=CALLS)

    async def work(client: Client) -> None:
        f, g = await called(client)
        assert f["id"] and g["id"] and f["id"] != g["id"]
        assert (f["name"], f["args"], g["name"]) == ("f", {"x": 1}, "g")
        desk.script = spelled("ok")
        client.send(tool_response=result(g))
        await client.nothing()
        client.send(toolResponse=result(f))
        assert said(await client.turn()) == "ok"

    talk(work, desk)
    turns = desk.asks[1].document.turns[1:]  # the first declares the functions
    assert turns == (
        Turn("user", (Text("hi"),)),
        Turn("model", (Text("so "), Call("f", {"x": 1}), Call("g", {}))),
        Turn("user", (Result("f", {"n": "f"}), Result("g", {"n": "g"}))),
    )


def test_a_result_without_an_id_is_of_the_call_with_its_name() -> None:
    desk = FakeDesk(script=CALLS)

    async def work(client: Client) -> None:
        f, g = await called(client)
        desk.script = spelled("ok")
        client.send(toolResponse=result(g, id=None))
        client.send(toolResponse=result(f, id=None))
        assert said(await client.turn()) == "ok"

    talk(work, desk)


def test_new_content_takes_calls_back_and_late_results_are_passed_over() -> None:
    desk = FakeDesk(script=CALLS)

    async def work(client: Client) -> None:
        f, g = await called(client)
        desk.script = spelled("ok")
        client.say("never mind")
        assert await client.receive() == {"toolCallCancellation": {"ids": [f["id"], g["id"]]}}
        client.send(toolResponse=result(f))
        told = await client.turn()
        assert said(told) == "ok" and "interrupted" not in kinds(told)

    talk(work, desk)
    turns = desk.asks[1].document.turns[1:]
    assert turns == Document.of("hi").then("so ").then("never mind", role="user").turns


def test_calls_of_a_reply_that_is_cut_short_were_never_made() -> None:
    desk = FakeDesk(script=[says("so ", Call("f", {})), 60.0])

    async def work(client: Client) -> None:
        await client.set_up(**TOOLS)
        client.say("hi")
        await client.receive()
        desk.script = spelled("ok")
        client.say("never mind")
        assert kinds(await client.turn()) == ["interrupted", "turnComplete"]
        assert said(await client.turn()) == "ok"

    talk(work, desk)
    assert desk.asks[1].document.turns[2] == Turn("model", (Text("so "),))


def test_text_waits_for_results_where_nothing_may_be_interrupted() -> None:
    desk = FakeDesk(script=CALLS)

    async def work(client: Client) -> None:
        setup = TOOLS | {"realtimeInputConfig": {"activityHandling": "NO_INTERRUPTION"}}
        await client.set_up(**setup)
        client.say("hi")
        await client.receive()
        f, g = (await client.receive())["toolCall"]["functionCalls"]
        client.send(realtimeInput={"text": "and?"})
        await client.nothing()
        desk.script = spelled("ok")
        client.send(toolResponse={"functionResponses": [*_of(f), *_of(g)]})
        assert said(await client.turn()) == "ok"
        assert said(await client.turn()) == "ok"

    talk(work, desk)
    assert desk.asks[2].document.turns[-1] == Turn("user", (Text("and?"),))


def _of(call: dict[str, Any]) -> list[dict[str, Any]]:
    return result(call)["functionResponses"]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"id": "x", "name": "f"}, "toolResponse: no call waits with the id 'x' and the name 'f'"),
        ({"id": "x", "willContinue": True}, "functionResponses[0].willContinue is not supported"),
        ({"id": "x", "parts": [{}]}, "functionResponses[0].parts is not supported"),
        ({"id": "x", "response": 3}, "functionResponses[0].response': an object is needed"),
    ],
)
def test_results_that_are_wrong_end_the_session(response: dict[str, Any], reason: str) -> None:
    ended = refusal(TOOLS, {"toolResponse": {"functionResponses": response}})
    assert ended.code == 1007
    assert reason in ended.reason


def set_up(desk: FakeDesk, **fields: Any) -> Setup:
    return setup_of({"model": desk.name} | fields, desk=desk, settings=Settings())


def turn(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def grown(*, window: dict[str, Any], turns: list[dict[str, Any]], **fields: Any) -> str:
    """The text of the prompt that is left."""
    desk = FakeDesk()
    setup = set_up(desk, contextWindowCompression=window, **fields)
    grows = Talk(setup, desk=desk, settings=Settings())
    grows.add_contents(turns)
    question = grows.question()
    grows.forget(question.turns)
    assert grows.question().ask.document == question.ask.document
    parts = [part for turn in question.ask.document.turns for part in turn.parts]
    return "".join(part.text for part in parts if isinstance(part, Text))


LONG = [
    *(turn("a" * 100), turn("b" * 100, "model"), turn("c" * 100), turn("d" * 100, "model")),
    turn("e" * 100),
]


def test_the_oldest_turns_are_forgotten_up_to_one_of_the_users() -> None:
    window = {"triggerTokens": 400, "slidingWindow": {"targetTokens": 399}}
    assert set(grown(window=window, turns=LONG)) == set("cde")
    window["slidingWindow"] = {"targetTokens": 250}
    assert set(grown(window=window, turns=LONG)) == {"e"}
    window["slidingWindow"] = {"targetTokens": 1}  # the last turn of the user always stays
    assert set(grown(window=window, turns=LONG)) == {"e"}


def test_nothing_is_forgotten_below_the_trigger() -> None:
    window = {"triggerTokens": "500", "slidingWindow": {"targetTokens": 1}}
    assert set(grown(window=window, turns=LONG)) == set("abcde")


def test_the_instruction_is_never_forgotten() -> None:
    window = {"triggerTokens": 100}
    kept = grown(window=window, turns=[turn("s", "system"), *LONG], systemInstruction="S")
    assert kept.replace("\n", "") == "Ss" + "e" * 100


def test_a_talk_never_begins_with_the_result_of_a_forgotten_call() -> None:
    calls = [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
    ]
    kept = grown(window={"triggerTokens": 110}, turns=[turn("a" * 100), *calls, *LONG[3:]])
    assert set(kept) == {"e"}


def test_a_window_fits_into_the_context_whatever_is_asked() -> None:
    for window in ({}, {"triggerTokens": 10**6, "slidingWindow": {"targetTokens": 10**6}}):
        found = set_up(FakeDesk(context=1000), contextWindowCompression=window).window
        assert found is not None and found.trigger == 800 and found.target <= 800
    assert set_up(FakeDesk()).window is None
    assert set_up(FakeDesk(), contextWindowCompression={}).window == Window(800, 400)


def test_a_talk_that_is_too_long_without_a_window_ends() -> None:
    many = {"clientContent": {"turns": LONG * 3, "turnComplete": True}}
    ended = refusal({}, many)
    assert (ended.code, ended.reason) == (
        1007,
        "The input token count (1500) exceeds the maximum number of tokens allowed (1000).",
    )
    grows = refusal({"contextWindowCompression": {}}, many, {"clientContent": [0]})
    assert grows.reason.startswith("Invalid value at 'clientContent'")


@pytest.mark.parametrize(
    ("code", "closed"), [(400, 1007), (403, 1008), (404, 1008), (501, 1007), (503, 1011)]
)
def test_each_refusal_has_its_code(code: int, closed: int) -> None:
    assert close_of(Refusal(code, "no")).code == closed


@pytest.mark.parametrize("text", ["a" * 200, "é" * 100, "漢" * 60, "👩" * 40, "\ud800" * 200, "a"])
def test_a_reason_fits_into_a_close_frame(text: str) -> None:
    closed = Closed(1007, text)
    assert closed.reason == shortened(text)
    assert len(closed.reason.encode()) <= 123
    assert len(closed.reason.encode()) > 118 or closed.reason == text


def test_calls_that_never_reached_the_client_are_taken_back_too() -> None:
    desk = FakeDesk(script=[says("so "), 0.1, *CALLS[1:]])

    async def work(client: Client) -> None:
        await client.set_up(**TOOLS)
        client.say("hi")
        await client.receive()
        client.reads.clear()
        await asyncio.sleep(0.3)  # by now the calls wait to be sent
        desk.script = spelled("ok")
        client.say("never mind")
        await asyncio.sleep(0.05)
        client.reads.set()
        told = await client.turn()
        assert kinds(told) == ["toolCallCancellation", "interrupted", "turnComplete"]
        assert said(await client.turn()) == "ok"

    talk(work, desk)
    turns = desk.asks[1].document.turns[1:]
    assert turns == Document.of("hi").then("so ").then("never mind", role="user").turns


def test_two_calls_of_one_function_are_answered_one_after_the_other() -> None:
    desk = FakeDesk(script=[says(Call("f", {}), Call("f", {}), finish="stop")])

    async def work(client: Client) -> None:
        await client.set_up(**TOOLS)
        client.say("hi")
        await client.receive()
        desk.script = spelled("ok")
        for n in (1, 2):
            response = {"name": "f", "response": {"n": n}}
            client.send(toolResponse={"functionResponses": response})
        assert said(await client.turn()) == "ok"

    talk(work, desk)
    results = (Result("f", {"n": 1}), Result("f", {"n": 2}))
    assert desk.asks[1].document.turns[-1] == Turn("user", results)


def test_what_is_forgotten_makes_room() -> None:
    async def work(client: Client) -> None:
        by_hand = {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}}}
        await client.set_up(contextWindowCompression={"triggerTokens": 10}, **by_hand)
        for _ in range(8):
            client.send(realtimeInput={"activityStart": {}})
            client.send(realtimeInput={"text": "a" * 300})
            client.send(realtimeInput={"activityEnd": {}})
            assert said(await client.turn()) == "hello"

    talk(work, body_bytes=1500)
