"""Requests as real clients send them, byte for byte, are answered.

google-genai 3 (py) mixes both spellings and sends URL-safe base64; litellm and llm-gemini send
snake_case; @google/genai and gemini-cli send camelCase; google-generativeai 0.8 wants arrays.
"""

import json
from typing import Any

import pytest

from castor.core.content import Call, Document, Media, Result, Text
from castor.sample.ask import Ask

from .driver import client_of
from .fake_desk import FakeDesk, Language

GEMINI = "/v1beta/models/gemini-2.5-flash"
RECORDED: dict[str, tuple[str, bytes]] = {
    "google-genai py: bytes": (
        "/v1/models/gemini-2.5-flash:generateContent",
        b'{"contents": [{"parts": [{"inlineData": {"data": "__77_w==", "mime_type": "image/png"}},'
        b' {"text": "what is this?"}], "role": "user"}], "generationConfig": {}}',
    ),
    "google-genai py: settings": (
        "/v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        b'{"contents": [{"parts": [{"text": "hi"}], "role": "user"}], "systemInstruction": '
        b'{"parts": [{"text": "be brief"}], "role": "user"}, "safetySettings": [], '
        b'"generationConfig": {"temperature": 0.5, "topK": 40.0, "maxOutputTokens": 5, '
        b'"responseModalities": ["TEXT"], "thinkingConfig": {"include_thoughts": true, '
        b'"thinking_budget": -1}}}',
    ),
    "google-genai py: schema": (
        "/v1/models/gemini-2.5-flash:generateContent",
        b'{"contents": [{"parts": [{"text": "hi"}], "role": "user"}], "generationConfig": '
        b'{"responseMimeType": "application/json", "responseSchema": {"properties": {"name": '
        b'{"title": "Name", "type": "STRING"}}, "property_ordering": ["name"], "required": '
        b'["name"], "title": "Answer", "type": "OBJECT"}}}',
    ),
    "google-genai py: a callable": (
        "/v1/models/gemini-2.5-flash:generateContent",
        b'{"contents": [{"parts": [{"text": "weather?"}], "role": "user"}], "tools": '
        b'[{"functionDeclarations": [{"description": "Weather.", "name": "weather", '
        b'"parameters_json_schema": {"type": "object", "properties": {"city": {"type": '
        b'"string"}}, "required": ["city"]}, "response_json_schema": {"type": "object"}}]}], '
        b'"generationConfig": {}}',
    ),
    "google-genai py: the answer of a function": (
        "/v1/models/gemini-2.5-flash:generateContent",
        b'{"contents": [{"parts": [{"text": "weather?"}], "role": "user"}, {"parts": '
        b'[{"functionCall": {"id": "a1", "args": {"city_name": "Rome"}, "name": "weather"}, '
        b'"thoughtSignature": "c2ln"}], "role": "model"}, {"parts": [{"functionResponse": '
        b'{"name": "weather", "response": {"sky_now": "clear"}}}], "role": "user"}], "tools": '
        b'[{"functionDeclarations": [{"name": "weather"}]}], "generationConfig": {}}',
    ),
    "litellm: tools": (
        "/models/gemini-2.5-flash:generateContent?key=x",
        b'{"contents": [{"role": "user", "parts": [{"text": "be brief"}, {"text": "hi"}]}], '
        b'"tools": [{"function_declarations": [{"name": "weather", "parameters": {"type": '
        b'"object", "properties": {"city": {"type": "string"}}}}]}], "toolConfig": '
        b'{"functionCallingConfig": {"mode": "AUTO"}}, "generationConfig": '
        b'{"response_mime_type": "text/plain", "max_output_tokens": 9}}',
    ),
    "litellm: the answer of a function": (
        "/models/gemini-2.5-flash:generateContent?key=x",
        b'{"contents": [{"role": "user", "parts": [{"text": "weather?"}]}, {"role": "model", '
        b'"parts": [{"function_call": {"name": "weather", "args": {"city_name": "Rome"}}}]}, '
        b'{"parts": [{"function_response": {"name": "weather", "response": {"content": '
        b'"clear"}}}]}]}',
    ),
    "gemini-cli: the classifier": (
        f"{GEMINI}-lite:generateContent",
        b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"systemInstruction":{"parts":'
        b'[{"text":"Pick."}],"role":"user"},"generationConfig":{"temperature":0,"topP":1,'
        b'"maxOutputTokens":1024,"thinkingConfig":{"thinkingLevel":"HIGH"},"responseMimeType":'
        b'"application/json","responseJsonSchema":{"type":"OBJECT","properties":{"model":{"type":'
        b'"STRING","enum":["flash","pro"]}},"required":["model"]}}}',
    ),
    "gemini-cli: a turn": (
        f"{GEMINI}:streamGenerateContent?alt=sse",
        b'{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":'
        b'"hm","thought":true},{"text":"hello","thoughtSignature":"c2ln"}]},{"role":"user",'
        b'"parts":[{"text":"go on"}]}],"generationConfig":{"temperature":1,"topP":0.95,"topK":64,'
        b'"thinkingConfig":{"includeThoughts":true,"thinkingBudget":8192}},"tools":'
        b'[{"functionDeclarations":[{"name":"read_file","description":"Reads.",'
        b'"parametersJsonSchema":{"type":"object","properties":{"file_path":{"type":"string"}},'
        b'"required":["file_path"]}}]}]}',
    ),
    "google-generativeai 0.8: an array": (
        f"{GEMINI}:streamGenerateContent?$alt=json;enum-encoding=int",
        b'{"contents": [{"parts": [{"text": "hi"}], "role": "user"}], "safetySettings": '
        b'[{"category": 7, "threshold": 4}], "generationConfig": {"candidateCount": 1}}',
    ),
    "llm-gemini: an attachment": (
        f"{GEMINI}:streamGenerateContent",
        b'{"contents":[{"role":"user","parts":[{"inlineData":{"data":"//77/w","mimeType":'
        b'"image/png"}},{"text":"what?"}]}],"safetySettings":[{"category":'
        b'"HARM_CATEGORY_DANGEROUS_CONTENT","threshold":"BLOCK_NONE"}],"generationConfig":'
        b'{"response_mime_type":"application/json","response_schema":{"type":"object",'
        b'"properties":{"a":{"type":"integer"}}}}}',
    ),
    "pydantic-ai: validated calls": (
        f"{GEMINI}:generateContent",
        b'{"contents": [{"parts": [{"text": "hi"}], "role": "user"}], "tools": '
        b'[{"functionDeclarations": [{"name": "final_result", "description": "", '
        b'"parameters_json_schema": {"properties": {"x": {"type": "integer"}}, "type": '
        b'"object"}}]}], "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}, '
        b'"generationConfig": {"responseModalities": ["TEXT"]}}',
    ),
}


def asked(name: str) -> Ask:
    """What the engine is asked by a recorded request, which must be answered."""
    desk = FakeDesk()
    path, body = RECORDED[name]
    response = client_of(desk).post(path, content=body)
    assert response.status_code == 200, response.text
    return desk.asked


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_request_is_answered_even_by_a_strict_server(name: str) -> None:
    asked(name)
    path, body = RECORDED[name]
    response = client_of(strict=True).post(path, content=body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("name", ["google-genai py: bytes", "llm-gemini: an attachment"])
def test_both_alphabets_of_base64_are_the_same_bytes(name: str) -> None:
    medium = asked(name).document.turns[0].parts[0]
    assert medium == Media("image/png", b"\xff\xfe\xfb\xff")


def test_a_tool_loop_reads_the_same_from_both_spellings() -> None:
    first = asked("google-genai py: the answer of a function").document.turns[-3:]
    second = asked("litellm: the answer of a function").document.turns[-3:]
    assert first[:2] == second[:2]
    assert first[1].parts == (Call("weather", {"city_name": "Rome"}),)
    assert first[2].parts == (Result("weather", {"sky_now": "clear"}),)
    assert second[2].parts == (Result("weather", {"content": "clear"}),)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("google-genai py: schema", "openapi"),
        ("gemini-cli: the classifier", "schema"),
        ("llm-gemini: an attachment", "openapi"),
        ("google-genai py: a callable", "calls"),
        ("gemini-cli: a turn", "calls"),
        ("pydantic-ai: validated calls", "calls"),
    ],
)
def test_a_language_is_asked_for_in_every_spelling(name: str, kind: str) -> None:
    constraint = asked(name).constraint
    assert isinstance(constraint, Language) and constraint.kind == kind


def test_what_a_client_names_its_own_things_is_left_alone() -> None:
    constraint = asked("gemini-cli: a turn").constraint
    assert isinstance(constraint, Language)
    functions: Any = constraint.spec[0]
    assert list(functions["read_file"]["properties"]) == ["file_path"]


def test_thoughts_of_an_earlier_turn_are_not_read_again() -> None:
    _, user, model, last = asked("gemini-cli: a turn").document.turns
    assert Document((user, model, last)) == Document.of("hi").then("hello").then(
        "go on", role="user"
    )


def test_settings_are_read_in_every_spelling() -> None:
    sampling = asked("google-genai py: settings").sampling
    assert (sampling.temperature, sampling.top_k, sampling.max_tokens) == (0.5, 40, 5)
    assert asked("litellm: tools").sampling.max_tokens == 9
    system = asked("google-genai py: settings").document.turns[0]
    assert system.parts == (Text("be brief"),)


def test_the_old_client_is_told_in_an_array() -> None:
    path, body = RECORDED["google-generativeai 0.8: an array"]
    response = client_of().post(path, content=body)
    assert len(json.loads(response.content)) == 2
