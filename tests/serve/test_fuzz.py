"""Malformed requests of every endpoint, against the whole app and a real engine.

The law: an error in the API's form, never a 500, never silence, and nobody else is disturbed.
"""

import asyncio
import base64
import copy
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample import conftest as tiny
from starlette.types import ASGIApp

from castor.core.media import ppm, wav
from castor.sample.engine import Engine
from castor.sample.serving import Desk
from castor.serve.run import whole
from castor.serve.service import Settings
from castor.serve.store import Store

engine, vocab = tiny.engine, tiny.vocab
pytestmark = pytest.mark.slow

PATIENCE_S = 60.0  # on a busy machine
MODEL = "/v1beta/models/castor-tiny"
CHAT, INTERACTIONS = "/v1/chat/completions", "/v1beta/interactions"
THOROUGH = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


PICTURE = base64.b64encode(ppm(np.zeros((16, 24, 3), np.uint8))).decode()
SOUND = base64.b64encode(wav(np.zeros(2000, np.float32))).decode()
FEW = [{"role": "user", "parts": [{"text": "hi"}]}]
REQUESTS = """
dials | MODEL:generateContent
{"contents": FEW, "systemInstruction": {"parts": [{"text": "be brief"}]}, "labels": {"a": "b"},
 "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
 "generationConfig": {"temperature": 0.5, "topP": 0.9, "topK": 8, "candidateCount": 2, "seed": 7,
  "stopSequences": ["zz"], "responseLogprobs": true, "logprobs": 2, "presencePenalty": 0.1,
  "frequencyPenalty": 0.1, "thinkingConfig": {"thinkingBudget": 0, "includeThoughts": false},
  "maxOutputTokens": 3}}
media | MODEL:streamGenerateContent?alt=sse
{"contents": [{"role": "user", "parts": [
  {"inlineData": {"mimeType": "image/x-portable-pixmap", "data": "PICTURE"}},
  {"inline_data": {"mime_type": "audio/wav", "data": "SOUND"}}, {"text": "?"}]}],
 "generationConfig": {"maxOutputTokens": 3}}
functions | MODEL:streamGenerateContent
{"contents": [{"role": "user", "parts": [{"text": "hi"}]},
  {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}, "id": "x"}}]},
  {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": 1}}}]}],
 "tools": [{"functionDeclarations": [{"name": "f", "description": "g",
  "parameters": {"type": "OBJECT"}}]}],
 "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
 "generationConfig": {"maxOutputTokens": 3}}
openapi | MODEL:generateContent
{"contents": FEW, "generationConfig": {"maxOutputTokens": 3, "responseMimeType": "application/json",
 "responseSchema": {"type": "OBJECT", "required": ["a"], "properties": {
  "a": {"type": "INTEGER", "minimum": 1}, "b": {"type": "STRING", "nullable": true}}}}}
schema | MODEL:generateContent
{"contents": FEW, "generationConfig": {"maxOutputTokens": 3, "responseMimeType": "application/json",
 "responseJsonSchema": {"type": "object",
  "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"anyOf": [{"type": "null"}]}},
  "$defs": {"n": {"type": "array", "items": {"enum": [1, "x"]}, "maxItems": 2}}}}}
drawing | MODEL:generateContent
{"contents": FEW, "generationConfig": {"responseModalities": ["TEXT", "IMAGE"],
 "imageConfig": {"aspectRatio": "1:1"}, "maxOutputTokens": 3}}
count | MODEL:countTokens
{"generateContentRequest": {"model": "models/castor-tiny", "contents": FEW}}
embed | MODEL:embedContent
{"content": {"parts": [{"text": "hi"}]}, "outputDimensionality": 8, "taskType": "X"}
embeds | MODEL:batchEmbedContents
{"requests": [{"model": "models/castor-tiny", "content": {"parts": [{"text": "hi"}]}}]}
batch | MODEL:batchGenerateContent
{"batch": {"displayName": "b", "priority": "1", "inputConfig": {
 "requests": {"requests": [{"request": {"contents": FEW}, "metadata": {}}]}}}}
cache | /v1beta/cachedContents
{"model": "models/castor-tiny", "contents": FEW, "ttl": "9s", "displayName": "c"}
file | /upload/v1beta/files
{"file": {"displayName": "f", "mimeType": "text/plain"}}
chat | /v1/chat/completions
{"model": "castor-tiny", "messages": [{"role": "system", "content": "be brief"},
  {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url",
   "image_url": {"url": "data:image/x-portable-pixmap;base64,PICTURE"}}]}],
 "max_tokens": 3, "temperature": 0.3, "n": 2, "stop": ["zz"], "logprobs": true, "top_logprobs": 2,
 "logit_bias": {}, "user": "u"}
chat stream | /v1/chat/completions
{"model": "castor-tiny", "messages": [{"role": "user", "content": "hi"},
  {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
   "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}]},
  {"role": "tool", "tool_call_id": "1", "content": "ok"}],
 "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
 "tool_choice": "auto", "stream": true, "stream_options": {"include_usage": true},
 "max_completion_tokens": 3}
chat schema | /v1/chat/completions
{"model": "castor-tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3,
 "response_format": {"type": "json_schema",
  "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}}}
inputs | /v1/embeddings
{"model": "castor-tiny", "input": ["hi"], "dimensions": 8, "encoding_format": "float"}
interaction | /v1beta/interactions
{"model": "castor-tiny", "input": [{"type": "text", "text": "hi"}], "stream": false,
 "system_instruction": "be brief",
 "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
 "generation_config": {"max_output_tokens": 3, "temperature": 0.2, "tool_choice": "auto"}}
interaction stream | /v1beta/interactions
{"model": "castor-tiny", "stream": true, "generation_config": {"max_output_tokens": 3},
 "input": [{"type": "user_input", "content": [{"type": "text", "text": "hi"}]}]}
rating | /feedback
{"rating": "up", "reason": "good", "conversation": []}
"""


def valid() -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    """Each request's name with its path and body."""
    held = {"MODEL": MODEL, "FEW": json.dumps(FEW), "PICTURE": PICTURE, "SOUND": SOUND}
    for block in re.split(r"\n(?=[a-z ]+ \| )", REQUESTS.strip()):
        place, _, body = block.partition("\n")
        name, _, path = place.partition(" | ")
        for word, value in held.items():
            path, body = path.replace(word, value), body.replace(word, value)
        yield name, (path, json.loads(body))


VALID = dict(valid())
STORED = ("/v1beta/cachedContents", "/v1beta/batches", "/v1beta/files")
STORING = (STORED[0], f"{MODEL}:batchGenerateContent", "/upload/v1beta/files")
ONE = {"generationConfig": {"maxOutputTokens": 1}}
HEADERS = {"file": {"x-goog-upload-protocol": "resumable"}}


@dataclass
class Asked:
    """The app in one event loop, and the errors that it logged."""

    app: ASGIApp
    desk: Desk
    runner: asyncio.Runner
    logged: list[str] = field(default_factory=list)

    def __call__(self, method: str, path: str, **sent: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with (
                asyncio.timeout(PATIENCE_S),
                httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
            ):
                return await client.request(method, path, **sent)

        return self.runner.run(asked())

    def post(self, path: str, body: str | bytes, **headers: str) -> httpx.Response:
        head = {"content-type": "application/json"} | headers
        return self("POST", path, content=body, headers=head)


@pytest.fixture(scope="module")
def asked(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    desk = Desk(engine, name="castor-tiny", rows=8)
    options = Settings(grid=engine.grid, head_s=PATIENCE_S)
    served, _ = whole(desk, options, Store(tmp_path_factory.mktemp("store")))
    with asyncio.Runner() as runner:
        client = Asked(served, desk, runner)
        listener = logging.Handler(logging.ERROR)
        listener.emit = lambda record: client.logged.append(listener.format(record))
        logging.getLogger("castor").addHandler(listener)
        yield client
        logging.getLogger("castor").removeHandler(listener)
    desk.close()


def told(asked: Asked, path: str, response: httpx.Response, sent: str = "") -> None:
    """The law, of one response."""
    logged = "\n".join(asked.logged)
    asked.logged.clear()
    assert not logged, f"{sent[:2000]}\n{logged}"
    assert response.status_code not in (500, 502, 504), response.text
    assert response.status_code < 400 or refused(path, response), response.text
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        assert '"code": 500' not in response.text


def check(asked: Asked, path: str, response: httpx.Response) -> None:
    """The law, of one response; and the next request is answered as ever."""
    told(asked, path, response)
    later = asked("POST", f"{MODEL}:generateContent", json={"contents": FEW} | ONE)
    assert later.status_code == 200, later.text
    for stored in STORED if path in STORING else ():
        listed = asked("GET", f"{stored}?pageSize=3")
        assert listed.status_code == 200, (response.text, listed.text)
    assert asked.desk.waiting == asked.desk.answering == 0


def refused(path: str, response: httpx.Response) -> bool:
    """Whether an error is told in the form that callers of this path read."""
    assert response.headers["content-type"] == "application/json"
    told = response.json()
    if ":streamGenerateContent" in path and "sse" not in path:
        (told,) = told
    error = told["error"]
    assert isinstance(error["message"], str) and error["message"]
    if path in (CHAT, "/v1/embeddings"):
        return {"type", "param", "code"} <= error.keys()
    if path == INTERACTIONS:
        return isinstance(error["code"], str)
    return error["code"] == response.status_code and error["status"].isupper()


@pytest.mark.parametrize("name", VALID)
def test_what_is_mutated_is_valid_itself(name: str, asked: Asked) -> None:
    path, body = VALID[name]
    response = asked.post(path, json.dumps(body), **HEADERS.get(name, {}))
    assert response.status_code < 300, response.text
    check(asked, path, response)


ODD = r"""
[0, -1, 2147483648, 9223372036854775808, -9223372036854775808, 1e308, -0.0, 5e-324, NaN, Infinity,
 HUGE, "", " ", "\u0000", "\ud800", "a\udfffb", "NaN", "1e999", "99999999999999999999999", "-",
 "\u0663", "\u00b2", "999999999s", "\u0663s", "9999-12-31T23:59:59-23:59", "files/x", "models/",
 "data:;base64,", "data:,", "image/png", "IMAGE", "application/json", "../../etc", "AAA", "A", "=",
 [], {}, [[]], [null], {"": null}, {"text": 1}, [{}], [1, "a"], {"$ref": "#"}, {"type": []},
 {"pattern": "("}, {"enum": [{}]}, {"items": 1}, {"properties": []}, {"properties": {"a": 1}},
 {"anyOf": []}, {"minItems": 1000000000}, {"maxLength": -1}, {"required": [{}]}, {"required": "a"},
 {"$ref": "#/properties/a"}, {"minimum": "x"}, {"format": 1}, {"allOf": [{}]}, {"not": {}},
 "NEST 10", "NEST 200", "NEST 990", "NEST 3000", "NEST 20000"]
""".replace("HUGE", "1" + "0" * 400)
JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    st.sampled_from(json.loads(ODD)).map(copy.deepcopy),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=6,
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a tree but its root."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, body: dict[str, Any]) -> str:
    """JSON of the body with one to three things wrong."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        ways = list(places(body))
        if not ways:
            break
        *way, last = draw(st.sampled_from(ways))
        held: Any = body
        for key in way:
            held = held[key]
        match draw(st.sampled_from(["replace", "replace", "drop", "wrap", "double", "add"])):
            case "replace":
                held[last] = draw(JUNK)
            case "drop":
                del held[last]
            case "wrap":
                held[last] = draw(st.sampled_from([[held[last]], {"a": held[last]}]))
            case "double":
                held[last] = [copy.deepcopy(held[last]) for _ in range(draw(st.integers(0, 9)))]
            case _ if isinstance(held, dict):
                held[draw(st.sampled_from(NAMES) | st.text(max_size=5))] = draw(JUNK)
            case _:
                held.append(draw(JUNK))
    return nested(json.dumps(body))


def nested(text: str) -> str:
    """The text with values that are nested so deep that no encoder would write them."""
    for depth in (10, 200, 990, 3000, 20000):
        deep = '{"properties":[' * (depth // 2) + "]}" * (depth // 2)
        text = text.replace(f'"NEST {depth}"', deep)
    return text


NAMES = sorted(
    {str(way[-1]) for _, body in VALID.values() for way in places(body)}
    | {"cachedContent", "fileData", "fileUri", "executableCode", "previous_interaction_id"}
    | {"thought", "responseFormat", "speechConfig", "store", "modalities", "functions"}
)


@pytest.mark.parametrize("name", VALID)
def test_a_request_with_something_wrong_is_told_so(name: str, asked: Asked) -> None:
    path, body = VALID[name]

    @THOROUGH
    @given(mutated(body))
    def law(text: str) -> None:
        check(asked, path, asked.post(path, text, **HEADERS.get(name, {})))

    law()


@pytest.mark.parametrize("name", VALID)
def test_no_odd_value_in_any_place_is_too_much(name: str, asked: Asked) -> None:
    path, body = VALID[name]
    for *way, last in places(body):
        for odd in json.loads(ODD):
            spoiled = copy.deepcopy(body)
            held: Any = spoiled
            for key in way:
                held = held[key]
            held[last] = odd
            text = nested(json.dumps(spoiled))
            told(asked, path, asked.post(path, text, **HEADERS.get(name, {})), text)
        check(asked, path, httpx.Response(200))


@pytest.mark.parametrize("name", VALID)
def test_a_body_that_is_cut_or_overwritten_is_told_so(name: str, asked: Asked) -> None:
    path, body = VALID[name]
    data = json.dumps(body).encode()

    @settings(THOROUGH, max_examples=40)
    @given(st.integers(0, len(data)), st.binary(max_size=6), st.booleans())
    def law(at: int, junk: bytes, cut: bool) -> None:
        sent = data[:at] + junk + (b"" if cut else data[at + len(junk) :])
        check(asked, path, asked.post(path, sent, **HEADERS.get(name, {})))

    law()


TYPES = st.sampled_from(
    ["text/plain", "multipart/form-data", "multipart/form-data; boundary=", "\\", "a/b; charset=x"]
    + ["multipart/related; boundary=x", "application/x-www-form-urlencoded", "image/png", ""]
)
PATHS = sorted({path for path, _ in VALID.values()})


@THOROUGH
@given(
    st.sampled_from(PATHS),
    st.binary(max_size=60),
    TYPES,
    st.sampled_from(["", "raw", "resumable", "multipart", "x"]),
)
def test_any_bytes_of_any_type_are_told_what_they_are(
    asked: Asked, path: str, body: bytes, kind: str, protocol: str
) -> None:
    head = {"content-type": kind, "x-goog-upload-protocol": protocol}
    check(asked, path, asked.post(path, body, **head))


METHODS = "GET POST PUT PATCH DELETE HEAD OPTIONS BREW"
PLACES = """/ /v1beta /v1beta/models /v1beta/models/castor-tiny /health /metrics /v1beta/files
    /v1beta/files/x /v1beta/files/x:download /v1/models /v1beta/batches /v1beta/batches/x
    /v1beta/batches/x:cancel /v1/files /v1beta/cachedContents/x /upload/v1beta/files?upload_id=x
    /web/index.js /v1beta/interactions/x /v1beta/interactions/x/cancel /v1beta/operations/x"""
HEAD_NAMES = """host x-server-timeout content-length authorization x-goog-api-key origin
    x-goog-upload-command x-goog-upload-offset x-goog-upload-header-content-length accept-encoding
    content-encoding transfer-encoding sec-fetch-site range x-goog-upload-protocol"""
LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=12)
QUERY = "pageSize pageToken alt key upload_id $alt uploadType"


@THOROUGH
@given(
    st.sampled_from(METHODS.split()),
    st.sampled_from([*PATHS, *PLACES.split()]),
    st.text(max_size=10),
    st.dictionaries(
        st.sampled_from(QUERY.split()),
        st.text(max_size=8) | st.sampled_from(["-1", "٣", "1e9", "media", "raw", "sse", "MSBh"]),
        max_size=2,
    ),
    st.dictionaries(
        st.sampled_from(HEAD_NAMES.split()),
        LATIN | st.sampled_from(["0", "-1", "nan", "1e999", "9" * 40]),
        max_size=2,
    ),
)
def test_any_method_path_query_and_header_are_answered(
    asked: Asked, method: str, path: str, tail: str, query: dict[str, str], head: dict[str, str]
) -> None:
    place, _, rest = path.partition("?")
    url = f"http://127.0.0.1{place}{quote(tail)}?{urlencode(dict(parse_qsl(rest)) | query)}"
    headers = [(name.encode(), value.encode("latin-1")) for name, value in head.items()]
    response = asked(method, url, headers=headers)
    assert response.status_code != 500, response.text
    check(asked, MODEL, httpx.Response(200))
