"""The messages that the description knows against those that the server reads and writes."""

import json
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from castor.serve import description, incoming, interactions_request, openai_request
from castor.serve.caches import CONTENT
from castor.serve.described_requests import ANY, UNMET
from castor.serve.shapes import LEAF, SHAPES, camel

from .described import Served
from .driver import GENERATE, HI, client_of, post, refused
from .examples import BODIES

Schema = dict[str, Any]
SCHEMAS = description.SCHEMAS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(tmp_path_factory.mktemp("kept"))


def test_fields_of_the_gemini_api_are_those_that_are_known_but_for_what_is_refused() -> None:
    for name, shape in SHAPES.items():
        if not name.startswith("Live"):
            described = description.SCHEMAS[name]["properties"].keys()
            assert described == shape.keys() - set(UNMET.get(name, ())), name


CALL = [*HI["contents"], {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}]
BESIDE: dict[str, Any] = {
    "Part": lambda name, value: {"contents": [{"parts": [{"text": "a", name: value}]}]},
    "FunctionResponse": lambda name, value: {
        "contents": [*CALL, {"parts": [{"functionResponse": {"name": "f", name: value}}]}]
    },
    "Tool": lambda name, value: HI | {"tools": [{name: value}]},
    "GenerationConfig": lambda name, value: HI | {"generationConfig": {name: value}},
    "GenerateContentRequest": lambda name, value: HI | {name: value},
    "SafetySetting": lambda name, value: HI | {"safetySettings": [{name: value}]},
    "ToolConfig": lambda name, value: HI | {"toolConfig": {name: value}},
    "FunctionCallingConfig": lambda name, value: (
        HI | {"toolConfig": {"functionCallingConfig": {name: value}}}
    ),
    "ImageConfig": lambda name, value: HI | {"generationConfig": {"imageConfig": {name: value}}},
    "FunctionDeclaration": lambda name, value: (
        HI | {"tools": [{"functionDeclarations": [{"name": "f", name: value}]}]}
    ),
    "Blob": lambda name, value: {
        "contents": [
            {"parts": [{"inlineData": {"mimeType": "image/png", "data": "", name: value}}]}
        ]
    },
}


@pytest.mark.parametrize(
    ("message", "name"),
    [(message, name) for message, names in UNMET.items() for name in sorted(names)],
)
def test_what_is_not_described_since_it_is_refused_is_refused(message: str, name: str) -> None:
    told = refused(client_of(), GENERATE, BESIDE[message](name, {"a": 1}))
    assert name in told and "not supported by this server" in told


UNREAD_BESIDE = {  # what has no effect, whatever it is
    (message, name)
    for message in BESIDE
    for name, held in SHAPES[message].items()
    if held == LEAF and SCHEMAS[message]["properties"].get(name) == ANY
}


@pytest.mark.parametrize(("message", "name"), sorted(UNREAD_BESIDE))
def test_what_is_described_as_anything_has_no_effect(message: str, name: str) -> None:
    client = client_of()
    for value in ({"a": 1}, [], "x", 3, True):
        post(client, GENERATE, BESIDE[message](name, value))


class Noted(dict[str, Any]):
    """A JSON object that remembers which of its fields were asked for."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def resolved(schema: Schema) -> tuple[str, Schema]:
    """A schema and its name, "" if it has none of its own."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return name, SCHEMAS[name] if name else schema


def note(value: Any, schema: Schema, told: dict[str, set[str]], place: str) -> None:
    """Sort what was asked for by the messages of the description, but for those of SHAPES."""
    name, schema = resolved(schema)
    place = name or place
    if name in SHAPES:
        return
    for inner in schema.get("anyOf", []) + schema.get("oneOf", []):
        if "required" not in inner or "properties" in inner:
            note(value, inner, told, place)
    if isinstance(value, list):
        for item in value:
            note(item, schema.get("items", {}), told, place)
    elif isinstance(value, Noted) and "properties" in schema:
        kinds = schema["properties"].get("type", {}).get("enum", [])
        if not kinds or dict.get(value, "type") in kinds:
            told[place] |= value.asked
            for field, inner in schema["properties"].items():
                note(dict.get(value, field), inner, told, f"{place}.{field}")


def described(schema: Schema, told: dict[str, set[str]], place: str) -> None:
    """The fields of all messages in a schema, in the same order."""
    name, schema = resolved(schema)
    place = name or place
    if name in SHAPES or (name and name in told):
        return
    for inner in schema.get("anyOf", []) + schema.get("oneOf", []):
        described(inner, told, place)
    described(schema["items"], told, place) if "items" in schema else None
    for field, inner in schema.get("properties", {}).items():
        told[place].add(field)
        described(inner, told, f"{place}.{field}")


ONCE = ("displayName", "display_name", "system_instruction", "tool_config")
REFUSED = {
    "CachedContentUpdate": {*CONTENT, *ONCE, "model"},
    "ChatCompletionRequest": set(openai_request.UNMET),
    "NewInteraction": set(interactions_request.UNMET),
    "NewInteraction.generation_config": set(interactions_request.UNMET_SETTINGS),
}
# Read when it is its turn, or as the Gemini API's.
LATER = {"BatchedRequest", "NewInteraction.generation_config.image_config"}


def test_each_field_of_a_request_that_is_described_is_read_and_the_other_way_round(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, all_ = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    roots: list[Noted] = []

    def loads(body: bytes, **given: Any) -> Any:
        roots.append(json.loads(body, object_pairs_hook=Noted, **given))
        return roots[-1]

    monkeypatch.setattr(incoming, "json", SimpleNamespace(loads=loads))
    for operation, body in BODIES:
        schema = served.operations[operation][2]["requestBody"]["content"]["application/json"]
        roots.clear()
        served.ask(operation, body)
        (root,) = roots
        note(root, schema["schema"], read, operation)
        described(schema["schema"], all_, operation)
    for place, fields in all_.items():
        asked = read[place] - REFUSED.get(place, set())
        if place not in LATER:
            assert {name if name in fields else camel(name) for name in asked} == fields, place


def closed(schema: Any) -> Any:
    """A schema whose objects have no fields but those that are described."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    held = {name: closed(each) for name, each in schema.items()}
    return held | ({"additionalProperties": False} if held.get("properties") else {})


def checked(told: Any, schema: Schema) -> None:
    """A reply has all that is described, and nothing else."""
    schemas = closed(SCHEMAS)
    whole = {**closed(schema), "components": {"schemas": schemas}}
    errors = [each.message for each in Draft202012Validator(whole).iter_errors(told)]
    assert not errors, (errors, told)


def check_reply(response: httpx.Response, operation: Schema) -> None:
    """The law, of one response."""
    content = operation["responses"][str(response.status_code)]["content"]
    kind = response.headers["content-type"].partition(";")[0]
    schema = content[kind if kind in content else "*/*"]["schema"]
    if kind == "application/json":
        checked(response.json(), schema)
    if kind == "text/event-stream":
        data, *ends = schema["properties"]["data"]["anyOf"]
        for line in response.text.splitlines():
            name, _, held = line.partition(": ")
            if name == "data" and {"const": held} not in ends:
                checked(json.loads(held), data["contentSchema"])


GETS = """health metrics describe listModels getModel listFiles getFile downloadFile listBatches
    listCachedContents getCachedContent getBatch listOpenAIModels getOpenAIModel getInteraction
    cancelInteraction cancelBatch deleteFile deleteCachedContent deleteBatch deleteInteraction"""
ASKED = [*BODIES, *((operation, None) for operation in GETS.split())]


@pytest.mark.parametrize(("operation", "body"), ASKED, ids=lambda given: str(given)[:60])
def test_a_reply_is_as_it_is_described(served: Served, operation: str, body: Any) -> None:
    told = served.operations[operation][2]
    response = served.ask(operation, body)
    assert response.status_code == (200 if "200" in told["responses"] else 400), response.text
    check_reply(response, told)
    if operation.startswith("streamGenerateContent"):
        check_reply(served.ask(operation, body, alt="sse"), told)


def test_an_example_of_every_operation_is_asked_for(served: Served) -> None:
    assert {operation for operation, _ in ASKED} == served.operations.keys()


@pytest.mark.parametrize("operation", sorted({operation for operation, _ in BODIES} - {"rate"}))
def test_an_error_is_as_it_is_described(served: Served, operation: str) -> None:
    response = served.ask(
        operation, {"model": 1, "batch": 1, "contents": 1, "requests": 1, "file": 1}
    )
    assert response.status_code in (400, 403, 404)
    check_reply(response, served.operations[operation][2])
