"""Sessions of text: setting up, turns, interruptions, and who may open one."""

import asyncio
from typing import Any

import pytest

from castor.core.content import Document, Media, Text, Turn
from castor.serve.service import Settings

from .fake_desk import FakeDesk, says, spelled
from .live_driver import PATH, Client, Ended, kinds, said, talk

STILL = 60.0


def test_a_session_is_set_up_and_answers_a_turn() -> None:
    async def work(client: Client) -> None:
        assert (await client.set_up())["setupComplete"]["sessionId"]
        client.say("hi")
        told = await client.turn()
        assert said(told) == "hello"
        assert kinds(told) == ["generationComplete", "turnComplete"]
        usage = told[-1]["usageMetadata"]
        assert (usage["promptTokenCount"], usage["responseTokenCount"]) == (2, 2)
        assert usage["totalTokenCount"] == 4
        assert usage["promptTokensDetails"] == [{"modality": "TEXT", "tokenCount": 2}]

    talk(work)


def test_both_kinds_of_frames_and_both_spellings_are_read() -> None:
    async def work(client: Client) -> None:
        client.send(binary=True, setup={"model": "castor-fake", "system_instruction": "Be brief."})
        assert "setupComplete" in await client.receive()
        client.send(
            binary=True,
            client_content={"turns": {"parts": {"text": "hi"}}, "turn_complete": True},
        )
        assert said(await client.turn()) == "hello"

    client = talk(work)
    assert client.desk.asked.document == Document(
        (Turn("system", (Text("Be brief."),)), Turn("user", (Text("hi"),)))
    )


def test_the_talk_is_remembered() -> None:
    async def work(client: Client) -> None:
        await client.set_up()
        client.say("a")
        await client.turn()
        client.say("b")
        await client.turn()

    desk = talk(work).desk
    assert desk.asks[1].document == Document.of("a").then("hello").then("b", role="user")


def test_history_is_added_without_an_answer_until_the_turn_is_complete() -> None:
    async def work(client: Client) -> None:
        await client.set_up()
        history = [{"role": r, "parts": [{"text": r}]} for r in ("user", "model")]
        client.send(clientContent={"turns": history})
        await client.nothing()
        client.say("hi")
        await client.turn()

    document = talk(work).desk.asked.document
    assert document == Document.of("user").then("model").then("hi", role="user")


def test_a_first_turn_may_be_history_alone() -> None:
    async def work(client: Client) -> None:
        await client.set_up(historyConfig={"initialHistoryInClientContent": True})
        client.say("a")
        await client.nothing()
        client.say("b")
        assert said(await client.turn()) == "hello"

    assert talk(work).desk.asked.document == Document.of("ab")


def test_words_come_as_they_are_said() -> None:
    desk = FakeDesk(script=[says("hel"), 0.2, says("lo", finish="stop")])

    async def work(client: Client) -> None:
        await client.set_up(outputAudioTranscription={})
        client.say("hi")
        first = (await client.receive())["serverContent"]
        assert first["modelTurn"] == {"role": "model", "parts": [{"text": "hel"}]}
        assert first["outputTranscription"] == {"text": "hel"}
        await client.turn()

    talk(work, desk)


def test_pictures_of_the_reply_are_parts_of_it() -> None:
    desk = FakeDesk(script=[says(Media("image/png", b"x"), finish="stop")])

    async def work(client: Client) -> None:
        await client.set_up(generationConfig={"responseModalities": ["TEXT", "IMAGE"]})
        client.say("draw")
        (part,) = (await client.receive())["serverContent"]["modelTurn"]["parts"]
        assert part == {"inlineData": {"mimeType": "image/png", "data": "eA=="}}
        await client.turn()

    talk(work, desk)


def test_new_content_interrupts_and_what_was_told_is_remembered() -> None:
    desk = FakeDesk(script=[says("hel"), STILL])

    async def work(client: Client) -> None:
        await client.set_up()
        client.say("a")
        await client.receive()
        desk.script = spelled("ok")
        client.say("b")
        cut = await client.turn()
        assert kinds(cut) == ["interrupted", "turnComplete"]
        assert cut[-1]["usageMetadata"]["responseTokenCount"] == 1
        assert said(await client.turn()) == "ok"

    client = talk(work, desk)
    assert desk.tickets[0].cancels
    assert desk.asks[1].document == Document.of("a").then("hel").then("b", role="user")
    assert "castor_requests_open 0" in client.metrics.text()


def test_a_client_that_leaves_stops_the_work() -> None:
    desk = FakeDesk(script=[says("a"), STILL])

    async def work(client: Client) -> None:
        await client.set_up()
        client.say("hi")
        await client.receive()

    client = talk(work, desk)
    assert desk.tickets[0].cancels and desk.tickets[0].told == 1
    assert "castor_requests_open 0" in client.metrics.text()
    assert 'route="/ws",method="WEBSOCKET",status="1006"' in client.metrics.text()


def test_a_session_leaves_no_task_behind() -> None:
    async def work() -> set[asyncio.Task[Any]]:
        async with Client(FakeDesk(script=[says("a"), STILL])) as client:
            await client.set_up(inputAudioTranscription={})
            client.say("hi")
            await client.receive()
        return asyncio.all_tasks()

    assert len(asyncio.run(work())) == 1


def test_a_client_that_does_not_read_is_gone_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("castor.serve.live.SEND_S", 0.05)
    desk = FakeDesk(script=[says("a"), 0.1, says("b"), STILL])

    async def work() -> None:
        async with Client(desk) as client:
            await client.set_up()
            client.say("hi")
            await client.receive()
            client.reads.clear()
            await asyncio.wait_for(client.task, timeout=20)

    asyncio.run(work())
    assert desk.tickets[0].cancels


def test_instruction_and_tools_may_change() -> None:
    async def work(client: Client) -> None:
        await client.set_up(systemInstruction={"parts": [{"text": "old"}]})
        declared = {"functionDeclarations": [{"name": "f"}]}
        client.send(contextUpdate={"systemInstruction": "new", "tools": {"tools": [declared]}})
        client.send(contextUpdate={"tools": {"tools": []}})
        client.say("hi")
        await client.turn()

    document = talk(work).desk.asked.document
    assert document.turns[0] == Turn("system", (Text("new"),))


def test_the_options_of_the_session_are_those_of_each_turn() -> None:
    async def work(client: Client) -> None:
        await client.set_up(generationConfig={"temperature": 0.25, "maxOutputTokens": 7, "seed": 3})
        client.say("hi")
        await client.turn()

    sampling = talk(work).desk.asked.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.seed) == (0.25, 7, 3)


def test_a_session_cannot_be_resumed_and_says_so() -> None:
    async def work(client: Client) -> None:
        await client.set_up(sessionResumption={})
        assert await client.receive() == {"sessionResumptionUpdate": {"resumable": False}}

    talk(work)


def test_messages_of_unknown_fields_are_passed_over() -> None:
    async def work(client: Client) -> None:
        await client.set_up(brandNew={})
        client.send(somethingElse={})
        client.say("hi")
        assert said(await client.turn()) == "hello"

    talk(work)


def test_no_field_of_the_sdk_is_unknown_to_a_strict_server() -> None:
    async def work(client: Client) -> None:
        await client.set_up(
            labels={"a": "b"},
            safetySettings=[],
            explicitVadSignal=False,
            realtimeInputConfig={"automaticActivityDetection": {"silenceDurationMs": 100}},
            sessionResumption={"transparent": True},
            contextWindowCompression={"slidingWindow": {}},
        )

    talk(work, strict=True)


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_every_version_and_constrained_clients_are_served(version: str) -> None:
    async def work(client: Client) -> None:
        assert "setupComplete" in await client.set_up(model="models/gemini-live-2.5-flash")

    path = PATH.replace("v1beta", version)
    talk(work, path=path)
    talk(work, path=f"{path}Constrained")


@pytest.mark.parametrize(
    ("origin", "origins", "served"),
    [
        ("http://127.0.0.1:80", (), True),
        ("https://evil.example", (), False),
        ("null", (), False),
        ("https://mine.example", ("https://mine.example",), True),
        ("https://mine.example", ("*",), True),
    ],
)
def test_pages_from_elsewhere_open_no_socket(
    origin: str, origins: tuple[str, ...], served: bool
) -> None:
    async def work(client: Client) -> None:
        if served:
            await client.set_up()
            return
        with pytest.raises(Ended, match="1008 Pages of this origin may not talk"):
            await client.receive()

    talk(work, head={"origin": origin}, origins=origins)


def test_the_log_holds_no_key(caplog: pytest.LogCaptureFixture) -> None:
    async def work(client: Client) -> None:
        await client.set_up()

    with caplog.at_level("INFO", logger="castor.serve.access"):
        talk(work)
    (record,) = caplog.records
    assert record.__dict__["request"]["query"] == "key=…"
    assert record.__dict__["request"]["status"] == 1006


def test_settings_are_those_of_the_server() -> None:
    async def work(client: Client) -> None:
        await client.set_up()
        client.say("hi")
        await client.turn()

    sampling = talk(work, temperature=0.5).desk.asked.sampling
    assert (sampling.temperature, sampling.top_k) == (0.5, Settings().top_k)
