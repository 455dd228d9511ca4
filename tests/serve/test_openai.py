"""OpenAI's API: what comes back whole or in chunks, vectors, and every refusal."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.content import Call, Document, Media
from castor.sample.ask import Busy, Failed

from .driver import Client, client_of, post
from .fake_desk import FakeDesk, says, spelled, token, vector_of

CHAT = "/v1/chat/completions"
EMBED = "/v1/embeddings"
HI = {"model": "castor-fake", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "f"}}


def refused(client: Client, path: str, wire: Any, code: int = 400) -> str:
    response = client.post(path, json=wire)
    assert response.status_code == code, response.text
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}
    return response.json()["error"]["message"]


def chunks_of(desk: FakeDesk, **given: Any) -> list[dict[str, Any]]:
    """A stream's chunks; its form is asserted."""
    response = client_of(desk).post(CHAT, json=HI | {"stream": True} | given)
    assert response.headers["content-type"] == "text/event-stream"
    *held, done, nothing = response.content.decode("ascii").split("\r\n\r\n")
    assert (done, nothing) == ("data: [DONE]", "")
    told = [event for event in held if not event.startswith(":")]
    assert all(event.startswith("data: {") and "\n" not in event for event in told)
    return [json.loads(event.removeprefix("data: ")) for event in told]


def test_a_completion_has_a_choice_its_usage_and_the_model() -> None:
    told = post(client_of(FakeDesk(reused=1)), CHAT, HI)
    assert told.pop("id").startswith("chatcmpl-") and told.pop("created")
    assert told == {
        "object": "chat.completion",
        "model": "castor-fake",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello", "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 2,
            "total_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    }


CALLS = (Call("f", {"a": "é"}), Call("g", {}, "own"))


def test_calls_end_a_reply_with_tool_calls() -> None:
    desk = FakeDesk(script=[says(*CALLS, finish="stop")])
    (choice,) = post(client_of(desk), CHAT, HI | {"tools": [TOOL]})["choices"]
    first, second = choice["message"]["tool_calls"]
    assert first["function"] == {"name": "f", "arguments": '{"a": "é"}'} and first["id"]
    assert second["id"] == "own"
    assert choice["message"]["content"] is None and choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
def test_without_parallel_calls_only_the_first_is_told(stream: bool) -> None:
    desk = FakeDesk(script=[says(CALLS[0]), says(CALLS[1]), says(finish="stop")])
    given = {"tools": [TOOL], "parallel_tool_calls": False}
    if stream:
        deltas = [c["choices"][0]["delta"] for c in chunks_of(desk, **given)]
        told = [call for delta in deltas for call in delta.get("tool_calls", [])]
    else:
        told = post(client_of(desk), CHAT, HI | given)["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in told] == ["f"]


def test_streamed_calls_are_numbered() -> None:
    chunks = chunks_of(FakeDesk(script=[says(*CALLS, finish="stop")]), tools=[TOOL])
    deltas = [c["choices"][0]["delta"] for c in chunks]
    told = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [call["index"] for call in told] == [0, 1]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@given(st.text(max_size=20))
def test_any_text_arrives_whole_though_it_is_cut_at_every_character(text: str) -> None:
    chunks = chunks_of(FakeDesk(script=spelled(text)))
    deltas = [c["choices"][0]["delta"] for c in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == text
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_a_stream_begins_with_the_role_and_ends_with_the_reason() -> None:
    first, *_, last = chunks_of(FakeDesk())
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert last["choices"][0]["finish_reason"] == "stop" and last["choices"][0]["delta"] == {}
    assert "usage" not in last


def test_the_usage_of_a_stream_is_a_chunk_without_choices() -> None:
    *chunks, last = chunks_of(FakeDesk(), stream_options={"include_usage": True})
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 4
    assert all(chunk["usage"] is None for chunk in chunks)


def test_candidates_are_told_apart_in_a_stream() -> None:
    chunks = chunks_of(FakeDesk(), n=2)
    for i in (0, 1):
        mine = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == i]
        assert "".join(choice["delta"].get("content", "") for choice in mine) == "hello"
        assert mine[-1]["finish_reason"] == "stop"


SCRIPT = [
    says("é", tokens=[token("é", -0.5, ("é", -0.5), ("e", -1.0))]),
    says(tokens=[token("", -0.25)]),
    says("a", finish="length"),
]


def test_probabilities_are_told_with_bytes() -> None:
    given = HI | {"logprobs": True, "top_logprobs": 2}
    (choice,) = post(client_of(FakeDesk(script=SCRIPT)), CHAT, given)["choices"]
    first = choice["logprobs"]["content"][0]
    assert (first["token"], first["logprob"], first["bytes"]) == ("é", -0.5, [195, 169])
    assert [each["token"] for each in first["top_logprobs"]] == ["é", "e"]
    assert choice["finish_reason"] == "length"


def test_probabilities_of_a_stream_are_those_of_the_whole() -> None:
    chunks = chunks_of(FakeDesk(script=SCRIPT), logprobs=True)
    held = [c["choices"][0]["logprobs"] for c in chunks]
    told = [each["logprob"] for logprobs in held if logprobs for each in logprobs["content"]]
    assert told == [-0.5, -0.25, -0.5]


@pytest.mark.parametrize("stream", [False, True])
def test_pictures_are_told_beside_the_text(stream: bool) -> None:
    desk = FakeDesk(script=[says("a", Media("image/png", b"x"), finish="stop")])
    given = {"modalities": ["text", "image"]}
    if stream:
        deltas = [c["choices"][0]["delta"] for c in chunks_of(desk, **given)]
        (told,) = [delta["images"] for delta in deltas if "images" in delta]
    else:
        told = post(client_of(desk), CHAT, HI | given)["choices"][0]["message"]["images"]
    assert told == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}]


def test_a_comment_is_the_sign_of_life() -> None:
    client = client_of(FakeDesk(script=[0.05, *spelled("a")]), keep_alive_s=0.02)
    assert client.post(CHAT, json=HI | {"stream": True}).text.startswith(": waiting\r\n\r\n")


def test_an_error_in_a_stream_is_told_in_their_form() -> None:
    *_, last = chunks_of(FakeDesk(script=[says("a"), Failed("x")]))
    assert last["error"]["type"] == "server_error"


def test_a_full_queue_is_told_in_their_form() -> None:
    response = client_of(FakeDesk(busy=Busy(3, 2))).post(CHAT, json=HI)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.json()["error"]["type"] == "overloaded_error"


def test_an_unknown_model_is_refused_with_the_code_that_clients_know() -> None:
    for path in (CHAT, EMBED):
        response = client_of().post(path, json=HI | {"model": "gpt-x", "input": "a"})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"
    assert client_of().get("/v1beta/openai/models/gpt-x").status_code == 404


def test_vectors_are_told_as_numbers_or_as_bytes() -> None:
    asked = {"model": "text-embedding-004", "input": ["a", "bcd"]}
    told = post(client_of(), EMBED, asked)
    assert told["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    packed = post(client_of(), EMBED, asked | {"encoding_format": "base64", "dimensions": 2})
    for i, text in enumerate(asked["input"]):
        expected = vector_of(Document.of(text))
        np.testing.assert_allclose(told["data"][i]["embedding"], expected, rtol=1e-6)
        short = np.frombuffer(base64.b64decode(packed["data"][i]["embedding"]), "<f4")
        first = expected[:2] / np.linalg.norm(expected[:2])
        np.testing.assert_allclose(short, first, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input": [[1, 2]]}, "input: a string or a list of strings; tokens are not read"),
        ({"input": []}, "input: 1 to 2048 strings, none of them empty"),
        ({"input": "a", "encoding_format": "hex"}, "'hex' is not one of float, base64"),
        ({"input": "a", "dimensions": 0}, "dimensions: 0 is outside the range"),
    ],
)
def test_what_cannot_be_embedded_is_refused(given: Any, message: str) -> None:
    assert message in refused(client_of(), EMBED, {"model": "castor-fake"} | given)


def test_a_model_that_does_not_embed_says_so() -> None:
    asked = {"model": "castor-fake", "input": "a"}
    message = refused(client_of(FakeDesk(embeds=False)), EMBED, asked, 404)
    assert message == "The model `castor-fake` does not exist or cannot do this."
