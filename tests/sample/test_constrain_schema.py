"""Schemas as clients write them: what is understood, what is narrowed, what is refused."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from castor.sample.constrain import calls, json_schema
from castor.sample.constrain_openapi import from_openapi
from castor.sample.schema import LARGEST, Schemas
from castor.tokens.vocab import Control

from .walks import close, spell, walk

PERSON = {
    "type": "OBJECT",
    "title": "Person",
    "property_ordering": ["name", "age", "mood"],
    "properties": {
        "mood": {"type": "STRING", "format": "enum", "enum": ["glad", "sad"], "nullable": True},
        "age": {"type": "INTEGER", "format": "int32", "minimum": 0, "example": 7},
        "name": {"type": "string", "minLength": "1", "max_length": "3", "description": "short"},
        "tags": {"type": "ARRAY", "items": {"type": "NUMBER", "format": "float"}, "maxItems": "2"},
        "size": {"any_of": [{"type": "BOOLEAN"}, {"type": "INTEGER", "enum": ["1", "2"]}]},
        "when": {"type": "STRING", "format": "date-time", "default": "now"},
    },
    "required": ["name", "mood"],
}


def narrowed(schema, path="s"):
    schemas = Schemas()
    return json.loads(schemas.whole(schemas.add(schema, path), path))


def test_an_openapi_schema_becomes_a_json_schema():
    assert from_openapi(PERSON) == {
        "type": "object",
        "title": "Person",
        "propertyOrdering": ["name", "age", "mood"],
        "properties": {
            "mood": {"anyOf": [{"type": "string", "enum": ["glad", "sad"]}, {"type": "null"}]},
            "age": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
            "name": {"type": "string", "minLength": 1, "maxLength": 3, "description": "short"},
            "tags": {"type": "array", "items": {"type": "number"}, "maxItems": 2},
            "size": {"anyOf": [{"type": "boolean"}, {"type": "integer", "enum": [1, 2]}]},
            "when": {"type": "string", "format": "date-time"},
        },
        "required": ["name", "mood"],
        "additionalProperties": False,
    }


def test_smaller_turns_of_openapi_are_understood():
    assert from_openapi({"type": "TYPE_UNSPECIFIED"}) == {}
    assert from_openapi({"type": ["STRING", "NULL"], "nullable": False}) == {
        "type": ["string", "null"]
    }
    assert from_openapi({"type": "OBJECT", "additional_properties": {"type": "STRING"}}) == {
        "type": "object",
        "additionalProperties": {"type": "string"},
    }
    given = {"type": "NUMBER", "enum": ["1.5", 2], "maximum": "4.0", "minimum": 0.5}
    assert from_openapi(given) == {"type": "number", "enum": [1.5, 2], "maximum": 4, "minimum": 0.5}


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), taste=st.sampled_from(["any", "first", "last"]))
def test_replies_to_an_openapi_schema_are_valid_and_in_its_order(vocab, seed, taste):
    schema = from_openapi(PERSON)
    constraint = json_schema(schema, vocab=vocab, path="responseSchema")
    ids = close(constraint, vocab, walk(constraint, vocab, seed=seed, taste=taste).ids)
    value = json.loads(vocab.decode(ids))
    Draft202012Validator(schema).validate(value)
    order = ["name", "age", "mood", "tags", "size", "when"]
    assert list(value) == [name for name in order if name in value]
    assert 0 <= value.get("age", 0) < 2**31


def test_null_is_said_where_it_is_allowed_and_nowhere_else(vocab):
    constraint = json_schema(from_openapi(PERSON), vocab=vocab)
    assert spell(constraint, vocab, '{"name":"Bo","mood":null}')
    assert not spell(constraint, vocab, '{"name":null,"mood":null}')


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            {"properties": {"age": {"type": "INTEGER", "multipleOf": 2}}},
            "responseSchema.properties.age: 'multipleOf' is not supported",
        ),
        ({"items": {"anyOf": [{"$ref": "#"}]}}, r"responseSchema.items.anyOf\[0\]: '\$ref' is not"),
        ({"type": "ARRAY", "items": 5}, "responseSchema.items: a schema is an object; got 5"),
        ({"properties": [1]}, r"responseSchema.properties cannot be \[1\]"),
        ({"required": "a"}, "responseSchema.required cannot be 'a'"),
        ({"required": [["a"]]}, r"responseSchema.required cannot be \[\['a'\]\]"),
        ({"minItems": "few"}, "responseSchema.minItems: a number; got 'few'"),
        ({"type": "INTEGER", "enum": ["one"]}, "responseSchema.enum: a number; got 'one'"),
        (
            {"properties": {}, "required": ["b"]},
            "responseSchema.required: 'b' is not among its properties",
        ),
    ],
)
def test_what_openapi_does_not_know_is_refused_by_its_path(schema, message):
    with pytest.raises(ValueError, match=message):
        from_openapi(schema)


def nest(schema: dict, *, levels: int) -> dict:
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def test_a_schema_that_is_too_deep_is_refused():
    with pytest.raises(ValueError, match="items: the schema nests more than 64 levels deep"):
        from_openapi(nest({}, levels=64))
    with pytest.raises(ValueError, match="s: the schema nests more than 64 levels deep"):
        narrowed(nest({}, levels=5000))
    assert narrowed(nest({"type": "null"}, levels=60))


def test_a_schema_that_is_too_large_is_refused_also_as_a_sum(vocab):
    with pytest.raises(ValueError, match="s: 300015 bytes of schema; at most 262144 are read"):
        narrowed({"pattern": "a" * 300_000})
    half = {"type": "object", "description": "a" * 150_000}
    with pytest.raises(ValueError, match="functionDeclarations.g: 30.... bytes of schema"):
        calls({"f": half, "g": half}, vocab=vocab)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"allOf": [{"$ref": "#"}, {"type": "object"}]},
        {"type": "array", "prefixItems": [{"anyOf": [False, {"$ref": "#"}]}], "minItems": 1},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"enum": []},
        False,
    ],
)
def test_a_schema_without_a_finite_value_is_refused(schema):
    with pytest.raises(ValueError, match="s: no value satisfies this schema, or it recurses"):
        narrowed(schema)


def test_only_the_endless_parts_of_a_schema_are_left_out(vocab):
    endless = {"type": "object", "properties": {"a": {"$ref": "#/$defs/e"}}, "required": ["a"]}
    schema = {
        "type": "object",
        "properties": {
            "e": {"$ref": "#/$defs/e"},
            "or": {"anyOf": [{"$ref": "#/$defs/e"}, {"const": 1}]},
            "many": {"type": "array", "items": {"$ref": "#/$defs/e"}},
        },
        "$defs": {"e": endless},
    }
    constraint = json_schema(schema, vocab=vocab)
    assert spell(constraint, vocab, '{"or":1,"many":[]}')
    assert not spell(constraint, vocab, '{"e":')
    assert {vocab.decode(walk(constraint, vocab, seed=s).ids) for s in range(60)} == {
        "{}",
        '{"or":1}',
        '{"many":[]}',
        '{"or":1,"many":[]}',
    }


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"a": {"not": {}}}}, "s.properties.a: 'not' is not supported"),
        ({"anyOf": [], "oneOf": []}, "s: 'oneOf' beside 'anyOf' is not supported"),
        ({"items": {"uniqueItems": True}}, "s.items: 'uniqueItems' is not supported"),
        ({"type": "tree"}, r"s.type: a type is one of \['array', .*; got 'tree'"),
        ({"type": []}, r"s.type: a type is one of .*; got \[\]"),
        ({"anyOf": {}}, "s.anyOf: a list; got {}"),
        ({"properties": []}, r"s.properties: an object; got \[\]"),
        ({"prefixItems": [7]}, r"s.prefixItems\[0\]: an object; got 7"),
        ({"minLength": "3"}, "s.minLength: a whole number from 0; got '3'"),
        ({"maxItems": -1}, "s.maxItems: a whole number from 0; got -1"),
        ({"minimum": True}, "s.minimum: a number; got True"),
        ({"pattern": 5}, "s.pattern: a text; got 5"),
        ({"const": {"a": [2**60]}}, "s.const: whole numbers beyond 2\\^53 are not supported"),
        ({"$ref": "other.json"}, "s.\\$ref: only references within the schema, '#…'; got 'other"),
        ({"$ref": "#/$defs/a"}, "s.\\$ref: '#/\\$defs/a' leads nowhere"),
        ({"$ref": "#/anyOf/9", "anyOf": []}, "leads nowhere"),
        ({"$defs": {"a": {"if": {}}}, "$ref": "#/$defs/a"}, "s.\\$defs.a: 'if' is not supported"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "s: no integer lies in its bounds"),
        ({"type": "number", "minimum": 1e30}, "s: no number lies in its bounds"),
        ({"properties": {}, "propertyOrdering": ["b"]}, "s.propertyOrdering: 'b' is not among its"),
        (
            {"type": "object", "minProperties": 2},
            "s: 'minProperties' over the number of required properties and one more, 1, is not",
        ),
        ({"enum": [float("nan")]}, "s: the schema is no JSON: Out of range float"),
        ({"enum": ["\ud800"]}, "s: the schema is no JSON: .*surrogates not allowed"),
        ({"enum": [b""]}, "s: the schema is no JSON: Object of type bytes"),
        ({"title": "x" * 99, "type": "x" * 99}, "got 'xxxx.*…"),
    ],
)
def test_what_json_schemas_cannot_say_here_is_refused_by_its_path(schema, message):
    with pytest.raises(ValueError, match=message):
        narrowed(schema)


def test_what_the_compiler_finds_impossible_is_refused(vocab):
    for schema in (
        {"type": "array", "minItems": 3, "maxItems": 2},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"allOf": [{"const": 1}, {"const": 2}]},
        {"type": "string", "pattern": "^a$", "minLength": 2},
    ):
        with pytest.raises(ValueError, match="^responseJsonSchema: .*[Uu]nsatisfiable"):
            json_schema(schema, vocab=vocab)


@pytest.mark.parametrize(
    "schema",
    [
        {
            "allOf": [
                {"anyOf": [{"properties": {f"{i}{j}": {}}} for j in range(4)]} for i in range(9)
            ]
        },
        {"type": "string", "pattern": "^(.*a.{0,900}b.*){90}$"},
        {"type": "array", "maxItems": 10**15, "items": {"type": "string", "maxLength": 10**15}},
        {"anyOf": [{"pattern": f"^({'(a?){50}' * 30}){{{i}}}$"} for i in range(1, 60)]},
        {"enum": [f"{i:06}" for i in range(20_000)]},
        {"properties": {f"key{i}": {"type": "integer"} for i in range(5_000)}},
        {
            "$ref": "#/$defs/0",
            "$defs": {f"{i}": {"$ref": f"#/$defs/{i + 1}"} for i in range(5000)} | {"5000": {}},
        },
    ],
    ids=range(7),
)
def test_a_schema_that_explodes_is_compiled_or_refused_quickly(vocab, schema):
    start = time.perf_counter()
    try:
        constraint = json_schema(schema, vocab=vocab)
    except ValueError as error:
        assert str(error).startswith("responseJsonSchema: ")
    else:
        walk(constraint, vocab, most=20)
    assert time.perf_counter() - start < 10  # about 1 s at most on an idle core


def test_an_open_schema_is_narrowed_to_what_can_be_read_and_ends(vocab):
    person = {"properties": {"n": {"type": "INTEGER"}}}
    constraint = json_schema(person, vocab=vocab)
    assert spell(constraint, vocab, f'{{"n":{LARGEST}}}')
    assert not spell(constraint, vocab, f'{{"n":{LARGEST + 1}}}')
    assert not spell(constraint, vocab, '{"n":1,"m":2}')
    assert spell(json_schema({"type": "array", "items": {}}, vocab=vocab), vocab, '[{"a":[null]}]')
    assert not spell(json_schema({"prefixItems": [{}]}, vocab=vocab), vocab, "[1,2]")


@pytest.mark.parametrize("bound", [0, 1, -2.5, 1e9])
def test_exclusive_bounds_are_not_reached_by_many_digits(vocab, bound):
    over = json_schema({"type": "number", "exclusiveMinimum": bound}, vocab=vocab)
    under = json_schema({"type": "number", "exclusiveMaximum": bound}, vocab=vocab)
    for constraint, text in ((over, f"{bound + 1e-40:.400f}"), (under, f"{bound:.400f}")):
        assert not spell(constraint, vocab, text)
    assert spell(over, vocab, f"{bound + 2}") and spell(under, vocab, f"{bound - 2}")


def test_references_lead_through_escapes_lists_and_the_root(vocab):
    schema = {
        "type": "object",
        "properties": {
            "x": {"$ref": "#/$defs/a~1b%20c/anyOf/1"},
            "y": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
        "required": ["x", "y"],
        "$defs": {"a/b c": {"anyOf": [{}, {"const": "ü"}]}},
    }
    constraint = json_schema(schema, vocab=vocab)
    assert spell(constraint, vocab, '{"x":"ü","y":{"x":"ü","y":null}}')
    assert not spell(constraint, vocab, '{"x":1')


def test_annotations_and_unknown_formats_say_nothing(vocab):
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "x-guidance": {"whitespace_flexible": True},
        "type": "string",
        "format": "base64",
        "examples": [1],
        "enum": ["a"],
        "uniqueItems": False,
    }
    assert spell(json_schema(schema, vocab=vocab), vocab, '"a"')
    assert not spell(json_schema(schema, vocab=vocab), vocab, ' "a"')


def test_functions_may_share_names_of_definitions_that_differ(vocab):
    one, two = (
        {
            "properties": {"a": {"$ref": "#/$defs/x"}},
            "required": ["a"],
            "$defs": {"x": {"const": n}},
        }
        for n in (1, 2)
    )
    whole = calls({"f": one, "g": two}, vocab=vocab, mode="any")
    for name, value, fits in (("f", 1, True), ("g", 2, True), ("f", 2, False)):
        guide = whole.start()
        guide.take(Control.CALL_BEGIN)
        text, said = f'{{"name":"{name}","body":{{"a":{value}}}}}', ""
        for i in vocab.encode(text):
            if not guide.allowed()[i]:
                break
            guide.take(i)
            said += vocab.decode([i])
        assert (said == text) == fits
