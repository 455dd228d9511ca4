"""Both spellings are one, strangers are found, and callers' own names are left alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.serve.shapes import SHAPES, camel, spelled

SNAKE = {
    "system_instruction": {"parts": [{"text": "s"}]},
    "generation_config": {
        "thinking_config": {"include_thoughts": True, "thinking_budget": 1},
        "response_schema": {"type": "OBJECT", "property_ordering": ["a_b"]},
        "topK": 4.0,
    },
    "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"a_b": 1}}]}],
    "tool_config": {"function_calling_config": {"allowed_function_names": ["f_g"]}},
    "labels": {"my_label": "x"},
}


def test_every_name_comes_to_camel_case_but_for_callers_own() -> None:
    fields, unknown = spelled(SNAKE, message="GenerateContentRequest")
    assert fields == {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "generationConfig": {
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1},
            "responseSchema": {"type": "OBJECT", "property_ordering": ["a_b"]},
            "topK": 4.0,
        },
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"a_b": 1}}]}],
        "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["f_g"]}},
        "labels": {"my_label": "x"},
    }
    assert unknown == []


def test_strangers_are_left_out_and_named_with_their_place() -> None:
    wire: dict[str, Any] = {
        "contents": [{"parts": {"text": "a", "role": "user"}}],
        "generationConfig": {"warmth": 1},
        "n": 1,
    }
    fields, unknown = spelled(wire, message="GenerateContentRequest")
    assert fields == {"contents": [{"parts": {"text": "a"}}], "generationConfig": {}}
    assert unknown == [("contents[0].parts", "role"), ("generationConfig", "warmth"), ("", "n")]


def test_strangers_are_found_in_media_calls_and_results_but_not_in_what_callers_name() -> None:
    parts: list[dict[str, Any]] = [
        {"inline_data": {"mime_type": "image/png", "data": "", "size": 1}},
        {"function_call": {"name": "f", "args": {"mime_type": 1}, "arguments": {}}},
        {"functionResponse": {"name": "f", "response": {"a_b": 1}, "result": 2}},
    ]
    fields, unknown = spelled({"contents": {"parts": parts}}, message="GenerateContentRequest")
    assert unknown == [
        ("contents.parts[0].inline_data", "size"),
        ("contents.parts[1].function_call", "arguments"),
        ("contents.parts[2].functionResponse", "result"),
    ]
    assert fields["contents"]["parts"][1:] == [
        {"functionCall": {"name": "f", "args": {"mime_type": 1}}},
        {"functionResponse": {"name": "f", "response": {"a_b": 1}}},
    ]


def test_null_is_absent() -> None:
    assert spelled({"tools": None}, message="GenerateContentRequest").fields == {}


def test_every_message_that_a_field_holds_is_described() -> None:
    held = {message for shape in SHAPES.values() for message in shape.values() if message}
    assert held <= SHAPES.keys()


@given(st.sampled_from(sorted({name for shape in SHAPES.values() for name in shape})))
def test_camel_case_is_its_own_spelling_and_snake_case_comes_to_it(name: str) -> None:
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    assert camel(name) == camel(snake) == name


@pytest.mark.parametrize("value", ["text", 3, [["x"]]])
def test_values_of_another_kind_are_left_for_those_who_read_them(value: Any) -> None:
    fields = spelled({"generationConfig": value}, message="GenerateContentRequest").fields
    assert fields["generationConfig"] == value
