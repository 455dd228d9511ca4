"""OpenAI's API: what the engine is asked for a request, and every refusal of one."""

import base64
from typing import Any

import pytest

from castor.core.content import Call, Document, Media, Result, Text, Turn
from castor.serve.prompt import CALL_ORDER, RESULT_COUNT, RESULT_ORDER

from .driver import client_of, post
from .fake_desk import FakeDesk, Language
from .test_openai import CHAT, HI, refused

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
CALLED = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def test_messages_are_the_conversation() -> None:
    desk = FakeDesk()
    data = base64.b64encode(b"\0\1").decode()
    content = [
        {"type": "text", "text": "see "},
        {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{data}"}},
        {"type": "image_url", "image_url": f"data:image/png;base64,{data}"},
        {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,aGk="}},
    ]
    messages = [
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": content},
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": "go"},
    ]
    post(client_of(desk), CHAT, {"model": "castor-fake", "messages": messages})
    assert desk.asked.document.turns == (
        Turn("system", (Text("a\n\nb"),)),
        Turn(
            "user",
            (
                Text("see "),
                Media("image/jpeg", b"\0\1"),
                Media("image/png", b"\0\1"),
                Media("audio/mpeg", b"\0\1"),
                Text("hi"),
            ),
        ),
        Turn("model", (Call("f", {"a": 1}),)),
        Turn("user", (Result("f", {"result": "sunny"}),)),
        Turn("model", (Text("no"),)),
        Turn("user", (Text("go"),)),
    )


def test_a_result_that_is_a_json_object_stays_one() -> None:
    desk = FakeDesk()
    messages = [
        {"role": "user", "content": "do"},
        {"role": "assistant", "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": '{"a":2}'}]},
    ]
    post(client_of(desk), CHAT, HI | {"messages": messages})
    assert desk.asked.document.turns[-1].parts == (Result("f", {"a": 2}),)


def test_every_setting_reaches_the_engine() -> None:
    desk = FakeDesk()
    wire = HI | {
        "n": 2,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": -1,
        "seed": 7,
        "stop": "x",
        "max_tokens": 5,
        "max_completion_tokens": 6,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "logprobs": True,
        "top_logprobs": 3,
        "modalities": ["text", "image"],
        "reasoning_effort": "high",
        "user": "me",
        "extra_body": {"google": {"thinking_config": {}}},
    }
    post(client_of(desk), CHAT, wire, **{"x-server-timeout": "3"})
    ask, sampling = desk.asked, desk.asked.sampling
    assert (ask.candidates, ask.alternatives, ask.deadline_s) == (2, 3, 3)
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 0)
    assert (sampling.seed, sampling.stop, sampling.max_tokens) == (7, ("x",), 6)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1, -1)
    assert sampling.pictures == "allowed"


@pytest.mark.parametrize(
    ("form", "language"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Language("json", None)),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, Language("schema", SCHEMA)),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, Language("json", None)),
    ],
)
def test_a_response_format_is_a_language(form: Any, language: Language | None) -> None:
    desk = FakeDesk()
    post(client_of(desk), CHAT, HI | {"response_format": form})
    assert desk.asked.constraint == language


@pytest.mark.parametrize(
    ("wish", "mode"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("required", "any"),
        ({"type": "function", "function": {"name": "f"}}, "any"),
    ],
)
def test_tools_are_a_language_and_a_text(wish: Any, mode: str) -> None:
    desk = FakeDesk()
    post(client_of(desk), CHAT, HI | {"tools": [TOOL], "tool_choice": wish})
    assert desk.asked.constraint == Language("calls", ({"f": SCHEMA}, mode))
    assert desk.asked.document.turns[0].role == "system"


def test_no_tool_may_be_called_where_none_is_wished() -> None:
    desk = FakeDesk()
    post(client_of(desk), CHAT, HI | {"tools": [TOOL], "tool_choice": "none"})
    assert desk.asked.constraint is None and desk.asked.document == Document.of("hi")


def wire(**given: Any) -> dict[str, Any]:
    return HI | given


def talk(*messages: Any) -> dict[str, Any]:
    return HI | {"messages": [{"role": "user", "content": "do"}, *messages]}


def content(part: Any) -> dict[str, Any]:
    return HI | {"messages": [{"role": "user", "content": [part]}]}


CALLING = {"role": "assistant", "tool_calls": [CALLED]}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (wire(messages=[]), "messages: at least one message is needed"),
        (wire(messages=[{"role": "boss"}]), "messages[0].role: 'boss' is not one of system, "),
        (wire(messages=["hi"]), "messages[0]': an object is needed"),
        (wire(temperature=3), "temperature: 3 is outside the range 0 to 2"),
        (wire(n=9), "n: 9 is outside the range 1 to 8"),
        (wire(top_logprobs=2), "top_logprobs: set only where logprobs is true"),
        (wire(stop=["x"] * 17), "stop: 17 strings are more than 16"),
        (wire(logit_bias={"1": 2}), "logit_bias is not supported by this server"),
        (wire(functions=[{}]), "functions is not supported by this server"),
        (wire(modalities=["audio"]), "modalities ['audio'] is not supported by this server"),
        (wire(response_format={"type": "xml"}), "response_format.type: 'xml' is not one of text"),
        (wire(tools=[{"type": "web_search"}]), "tools[0].type 'web_search' is not supported"),
        (wire(tool_choice="required"), "a call is required and no function is declared"),
        (wire(tool_choice="maybe"), "Invalid value at 'tool_choice': 'maybe' is not one of"),
        (
            wire(tools=[TOOL], tool_choice={"type": "allowed_tools"}),
            "tool_choice.type 'allowed_tools' is not supported by this server",
        ),
        (
            wire(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}),
            "'g' may be called but is not among",
        ),
        (
            wire(tools=[TOOL], response_format={"type": "json_object"}),
            "Function calling with a response mime type: 'application/json' is unsupported",
        ),
        (content({"type": "smell"}), "messages[0].content[0].type: 'smell' is not a kind of"),
        (
            content({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}),
            "nothing is fetched; got 'https://a.example/b.png'",
        ),
        (content({"type": "file", "file": {"file_data": "x"}}), "nothing is fetched; got 'x'"),
        (
            content({"type": "input_audio", "input_audio": {"data": "%", "format": "wav"}}),
            "messages[0].content[0]: the data of a medium is base64",
        ),
        (talk({"role": "tool", "tool_call_id": "9"}), "no call before it has the id '9'"),
        (talk({"role": "tool", "name": "f", "content": "a"}), RESULT_ORDER),
        (talk(CALLING, {"role": "user", "content": "stop"}), RESULT_COUNT),
        (wire(messages=[CALLING]), CALL_ORDER),
        (
            talk({"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}),
            "messages[1].tool_calls[0].function.arguments: a JSON object (",
        ),
    ],
)
def test_requests_that_cannot_be_answered_are_refused(asked: Any, message: str) -> None:
    assert message in refused(client_of(), CHAT, asked)
