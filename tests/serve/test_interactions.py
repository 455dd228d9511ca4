"""The Interactions API: what the engine is asked, steps whole and as events, and memory."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.content import Call, Document, Media, Result, Text, Turn
from castor.sample.ask import Failed
from castor.serve.interactions import Kept, Memory, StoredMemory
from castor.serve.refusal import Refusal
from castor.serve.store import Store

from .driver import Client, client_of, post
from .fake_desk import FakeDesk, Language, says, spelled

PATH = "/v1/interactions"
HI = {"model": "castor-fake", "input": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA}
DO = {"type": "user_input", "content": [{"type": "text", "text": "do"}]}
CALL = {"type": "function_call", "id": "1", "name": "f", "arguments": {"a_b": 1}}
RESULT = {"type": "function_result", "call_id": "1", "result": "clear"}
PICTURE = Media("image/png", b"\xff\xef")


def refused(client: Client, wire: Any, code: int = 400) -> str:
    response = client.post(PATH, json=wire)
    assert response.status_code == code, response.text
    error = response.json()["error"]
    assert error.keys() == {"code", "message"} and isinstance(error["code"], str)
    return error["message"]


def streamed(*script: Any, **given: Any) -> list[dict[str, Any]]:
    """The events of a stream, whose form is asserted."""
    response = client_of(FakeDesk(script=script)).post(PATH, json=HI | {"stream": True} | given)
    *held, done, nothing = response.content.decode("ascii").split("\r\n\r\n")
    assert (done, nothing) == ("data: [DONE]", "")
    events: list[dict[str, Any]] = []
    for event in held:
        name, data = event.split("\r\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['event_type']}"
    return events


def test_an_interaction_has_steps_a_status_and_its_usage() -> None:
    told = post(client_of(FakeDesk(reused=1)), PATH, HI)
    assert told.pop("id") and told.pop("created") <= told.pop("updated")
    assert told == {
        "object": "interaction",
        "model": "castor-fake",
        "status": "completed",
        "steps": [{"type": "model_output", "content": [{"type": "text", "text": "hello"}]}],
        "usage": {
            "total_input_tokens": 2,
            "input_tokens_by_modality": [{"modality": "text", "tokens": 2}],
            "total_output_tokens": 2,
            "total_thought_tokens": 0,
            "total_cached_tokens": 1,
            "total_tokens": 4,
        },
    }


def test_text_and_pictures_are_one_step_and_each_call_is_one() -> None:
    desk = FakeDesk(script=[says("a", PICTURE, Call("f", {"x": 1}), "b", finish="stop")])
    told = post(client_of(desk), PATH, HI | {"tools": [TOOL]})
    output, call, after = told["steps"]
    assert output["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image", "mime_type": "image/png", "data": "/+8="},
    ]
    assert (call["name"], call["arguments"]) == ("f", {"x": 1}) and call["id"]
    assert after["content"] == [{"type": "text", "text": "b"}]
    assert told["status"] == "requires_action"


def test_a_reply_that_was_cut_is_incomplete() -> None:
    desk = FakeDesk(script=[says("a", finish="length")])
    assert post(client_of(desk), PATH, HI)["status"] == "incomplete"


@pytest.mark.parametrize(
    "given",
    [
        "hi",
        ["h", "i"],
        {"type": "text", "text": "hi"},
        [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}],
        [{"type": "user_input", "content": [{"type": "text", "text": "hi"}]}, {"type": "thought"}],
    ],
)
def test_an_input_is_a_text_or_content_or_steps(given: Any) -> None:
    desk = FakeDesk()
    post(client_of(desk), PATH, HI | {"input": given})
    assert desk.asked.document == Document.of("hi")


def test_steps_are_the_talk() -> None:
    desk = FakeDesk()
    output = {"type": "model_output", "content": [{"type": "text", "text": "fine"}]}
    data = {"type": "image", "data": "_-8", "mime_type": "image/png"}
    steps = [DO, CALL, RESULT, output, {"type": "user_input", "content": [data]}]
    post(client_of(desk), PATH, HI | {"input": steps, "system_instruction": "s"})
    assert desk.asked.document.turns == (
        Turn("system", (Text("s"),)),
        Turn("user", (Text("do"),)),
        Turn("model", (Call("f", {"a_b": 1}),)),
        Turn("user", (Result("f", {"result": "clear"}),)),
        Turn("model", (Text("fine"),)),
        Turn("user", (PICTURE,)),
    )


@pytest.mark.parametrize(
    ("result", "response"),
    [
        ({"result": {"x": 1}}, {"x": 1}),
        (
            {"result": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"result": "ab"},
        ),
        ({"result": "no", "is_error": True}, {"error": "no"}),
    ],
)
def test_a_result_is_an_object(result: Any, response: Any) -> None:
    desk = FakeDesk()
    post(client_of(desk), PATH, HI | {"input": [DO, CALL, RESULT | result]})
    assert desk.asked.document.turns[-1].parts == (Result("f", response),)


def test_settings_and_tools_reach_the_engine() -> None:
    desk = FakeDesk()
    settings = {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "max_output_tokens": 5,
        "stop_sequences": ["x"],
        "thinking_level": "high",
        "tool_choice": {"allowed_tools": {"mode": "any", "tools": ["f"]}},
    }
    post(client_of(desk), PATH, HI | {"generation_config": settings, "tools": [TOOL]})
    sampling = desk.asked.sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.5, 0.9, 7)
    assert (sampling.max_tokens, sampling.stop) == (5, ("x",))
    assert desk.asked.constraint == Language("calls", ({"f": SCHEMA}, "any"))


def test_a_mode_alone_is_a_choice_of_tools() -> None:
    desk = FakeDesk()
    wire = HI | {"generation_config": {"tool_choice": "none"}, "tools": [TOOL]}
    post(client_of(desk), PATH, wire)
    assert desk.asked.constraint is None


@pytest.mark.parametrize(
    ("given", "language"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "text", "mime_type": "application/json"}}, ("json", None)),
        ({"response_format": {"type": "text", "schema": SCHEMA}}, ("schema", SCHEMA)),
        ({"response_format": [{"type": "text", "schema": SCHEMA}]}, ("schema", SCHEMA)),
        ({"response_format": SCHEMA}, ("schema", SCHEMA)),
    ],
)
def test_a_response_format_is_a_language(given: Any, language: Any) -> None:
    desk = FakeDesk()
    post(client_of(desk), PATH, HI | given)
    assert desk.asked.constraint == (None if language is None else Language(*language))


@pytest.mark.parametrize(
    ("given", "pictures"),
    [
        ({"response_modalities": ["text", "image"]}, "allowed"),
        ({"response_format": {"type": "image", "aspect_ratio": "1:1"}}, "only"),
    ],
)
def test_pictures_are_asked_for_by_modality_or_format(given: Any, pictures: str) -> None:
    desk = FakeDesk()
    post(client_of(desk), PATH, HI | given)
    assert desk.asked.sampling.pictures == pictures


def test_an_interaction_goes_on_from_the_one_before() -> None:
    desk = FakeDesk()
    client = client_of(desk)
    first = post(client, PATH, HI | {"system_instruction": "s"})
    second = post(client, PATH, HI | {"input": "x", "previous_interaction_id": first["id"]})
    assert second["previous_interaction_id"] == first["id"]
    assert desk.asks[1].document == Document.of("hi").then("hello").then("x", role="user")
    third = post(client, PATH, HI | {"input": "y", "previous_interaction_id": second["id"]})
    assert third["usage"]["total_input_tokens"] == len("hihelloxhelloy")


def test_a_call_of_one_interaction_is_answered_in_the_next() -> None:
    desk = FakeDesk()
    client = client_of(desk)
    first = post(client, PATH, HI | {"tools": [TOOL]})
    (call,) = first["steps"]
    answered = [RESULT | {"call_id": call["id"]}]
    wire = HI | {"input": answered, "tools": [TOOL], "previous_interaction_id": first["id"]}
    assert post(client, PATH, wire)["steps"][0]["content"] == [{"type": "text", "text": "done"}]
    assert desk.asks[1].document.turns[-1].parts == (Result("f", {"result": "clear"}),)


def test_what_is_remembered_can_be_read_and_forgotten() -> None:
    client = client_of()
    told = post(client, PATH, HI)
    place = f"{PATH}/{told['id']}"
    assert client.get(place).json() == told
    cancelled = client.post(f"{place}/cancel")
    assert cancelled.status_code == 400 and "runs in the background" in cancelled.text
    assert client.get(f"{place}?include_input=true").status_code == 400
    assert client.request("DELETE", place).json() == {}
    for method in ("GET", "DELETE"):
        assert client.request(method, place).json()["error"] == {
            "code": "not_found",
            "message": f"Interaction {told['id']} was not found.",
        }


def test_what_is_not_to_be_stored_is_not() -> None:
    client = client_of()
    told = post(client, PATH, HI | {"store": False})
    assert client.get(f"{PATH}/{told['id']}").status_code == 404


def test_the_oldest_are_forgotten_where_there_are_too_many_or_too_large_ones() -> None:
    memory = Memory(most=2, most_bytes=100)
    for name, size in (("a", 10), ("b", 10), ("c", 10), ("d", 95)):
        memory.keep(name, Kept([], {"id": name}, size))
        assert memory.find(name).told == {"id": name}
    for name in "abc":
        with pytest.raises(Refusal, match=f"Interaction {name} was not found."):
            memory.find(name)
    memory.forget("d")
    memory.keep("e", Kept([], {}, 100))
    assert memory.find("e")


def test_a_stream_begins_with_the_interaction_and_ends_with_its_usage() -> None:
    events = streamed(says("hel"), says("lo", finish="stop"))
    assert [event["event_type"] for event in events] == [
        "interaction.created",
        "step.start",
        "step.delta",
        "step.delta",
        "step.stop",
        "interaction.completed",
    ]
    assert events[0]["interaction"]["status"] == "in_progress"
    assert events[-1]["interaction"]["status"] == "completed"
    assert events[-1]["interaction"]["usage"]["total_tokens"] == 4
    assert len({e["interaction"]["id"] for e in events if "interaction" in e}) == 1


@given(st.text(max_size=20))
def test_any_text_arrives_whole_though_it_is_cut_at_every_character(text: str) -> None:
    deltas = [e["delta"]["text"] for e in streamed(*spelled(text)) if "delta" in e]
    assert "".join(deltas) == text


def test_steps_of_a_stream_are_those_of_the_whole() -> None:
    script = [says("a"), says(PICTURE, Call("f", {"x": "é"}, "1")), says("b", finish="stop")]
    events = streamed(*script, tools=[TOOL])
    steps: list[dict[str, Any]] = []
    for event in events:
        match event["event_type"]:
            case "step.start":
                steps.append(event["step"])
            case "step.delta" if event["delta"]["type"] == "arguments_delta":
                steps[-1]["arguments"] = json.loads(event["delta"]["arguments"])
            case "step.delta":
                steps[-1]["content"].append(event["delta"])
            case _:
                continue
        assert event["index"] == len(steps) - 1
    whole = post(client_of(FakeDesk(script=script)), PATH, HI | {"tools": [TOOL]})
    assert steps == whole["steps"]
    assert [e["index"] for e in events if e["event_type"] == "step.stop"] == [0, 1, 2]


def test_a_streamed_interaction_is_remembered() -> None:
    client = client_of()
    events = client.post(PATH, json=HI | {"stream": True}).text.split("\r\n\r\n")
    id = json.loads(events[0].partition("data: ")[2])["interaction"]["id"]
    assert client.get(f"{PATH}/{id}").json()["steps"][0]["content"][0]["text"] == "hello"


def test_a_status_is_the_sign_of_life_and_an_error_is_an_event() -> None:
    client = client_of(FakeDesk(script=[0.05, Failed("x")]), keep_alive_s=0.02)
    text = client.post(PATH, json=HI | {"stream": True}).text
    assert "event: interaction.status_update\r\n" in text
    *_, last, done, _ = text.split("\r\n\r\n")
    assert done == "data: [DONE]"
    told = json.loads(last.partition("data: ")[2])
    assert told["event_type"] == "error" and told["error"]["code"] == "internal"


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"model": "nope"}, 404, "models/nope is not found"),
        ({"previous_interaction_id": "x"}, 404, "Interaction x was not found."),
        ({"input": None}, 400, "contents is not specified"),
        ({"input": [1]}, 400, "'input[0]': an object is needed, not 1"),
        ({"input": [{"type": "smell"}]}, 400, "input[0].type 'smell' is not supported by this"),
        ({"input": [RESULT]}, 400, "input[0].call_id: no call before it has the id '1'"),
        (
            {"input": [DO, CALL, RESULT | {"result": [{"type": "image"}]}]},
            400,
            "input[2].result with media is not supported by this server",
        ),
        ({"background": True}, 400, "background is not supported by this server"),
        ({"tools": [{"type": "google_search"}]}, 400, "tools[0].type 'google_search' is not supp"),
        ({"response_format": {"type": "audio"}}, 400, "response_format.type 'audio' is not supp"),
        ({"generation_config": {"temperature": 3}}, 400, "temperature: 3 is outside the range"),
        ({"generation_config": {"speech_config": [1]}}, 400, "speech_config is not supported"),
        ({"cached_content": "x"}, 403, "CachedContent not found"),
    ],
)
def test_requests_that_cannot_be_answered_are_refused(given: Any, code: int, message: str) -> None:
    assert message in refused(client_of(), HI | given, code)


def test_a_stored_memory_outlives_its_process_and_forgets_for_good(tmp_path: Path) -> None:
    kept = Kept([{"role": "user", "parts": [{"text": "hi"}]}], {"id": "a"}, 10)
    first = StoredMemory(Store(tmp_path))
    first.keep("a", kept)
    first.keep("b", kept)
    first.forget("b")
    first.close()
    second = StoredMemory(Store(tmp_path))
    assert asyncio.run(second.recall("a")) == kept
    for unknown in ("b", "c"):
        with pytest.raises(Refusal, match=f"Interaction {unknown} was not found"):
            asyncio.run(second.recall(unknown))
    second.forget("a")
    second.close()
    with pytest.raises(Refusal):
        asyncio.run(StoredMemory(Store(tmp_path)).recall("a"))


def test_what_is_looked_for_in_the_store_holds_nobody_up(tmp_path: Path, monkeypatch) -> None:
    store = Store(tmp_path)
    store.save_interaction("a", {"contents": [], "told": {"id": "a"}, "size": 10})
    memory, others, load = StoredMemory(store), threading.Event(), store.load_interaction

    def slow(id: str) -> object:
        assert others.wait(10), "the event loop stood still"
        return load(id)

    monkeypatch.setattr(store, "load_interaction", slow)

    async def both() -> str:
        looking = asyncio.create_task(memory.recall("a"))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, others.set)
        return (await looking).told["id"]

    assert asyncio.run(both()) == "a"


def test_what_is_deleted_is_gone_though_its_row_is_still_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_interaction("a", {"contents": [], "told": {"id": "a"}, "size": 10})
    memory = StoredMemory(store)
    asyncio.run(memory.recall("a"))
    with store.write():  # the row's deletion has to wait
        memory.forget("a")
        with pytest.raises(Refusal, match="Interaction a was not found"):
            asyncio.run(memory.recall("a"))
    memory.close()
    assert store.load_interaction("a") is None
