"""The languages of replies, against what reads JSON and judges schemas elsewhere."""

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from castor.core.content import Call, Text
from castor.sample import constrain
from castor.sample.ask import Failed
from castor.sample.constrain import calls, choices, json_schema, json_value
from castor.tokens.render import Reader, parse_turn
from castor.tokens.vocab import Control

from .walks import allowed, close, spell, walk

TASTES = ("any", "first", "last")
NAMES = st.sampled_from(
    ["a", "b", "name", "größe", "名前", 'q"uote', "back\\slash", "new\nline", ""]
)
SCALARS = st.sampled_from([None, True, 0, -7, 12, 2.5, "", "red", "red dog", "漢字😀", '"\\\n/'])
LEAVES = st.one_of(
    st.sampled_from(
        [
            {"type": "null"},
            {"type": "boolean"},
            {"type": "integer"},
            {"type": "number"},
            {"type": "string"},
            {"type": ["integer", "null", "string"]},
            {"type": "integer", "minimum": -3, "exclusiveMaximum": 12},
            {"type": "integer", "minimum": 0.5, "multipleOf": 7},
            {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5},
            {"minimum": 10, "type": ["number", "null"]},
            {"type": "string", "minLength": 2, "maxLength": 4},
            {"type": "string", "pattern": "^[a-c]{1,3}(x|ü)$"},
            {"pattern": "^[0-9]"},
            {"type": "array", "maxItems": 2},
            {"type": "object", "maxProperties": 1},
            {"title": "anything"},
            {},
        ]
    ),
    st.builds(lambda v: {"const": v}, SCALARS | st.just([1, {"a": "b"}])),
    st.builds(lambda v: {"enum": v}, st.lists(SCALARS, min_size=1, max_size=4)),
)


@st.composite
def objects(draw, inner) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, inner, max_size=3))
    required = draw(st.lists(st.sampled_from([*properties, "zip"]), unique=True, max_size=2))
    schema = {"type": "object", "properties": properties, "required": required}
    others = draw(st.sampled_from(["none", "open", "unsaid", "some"]))
    if others == "none":
        schema |= {"additionalProperties": False, "required": [n for n in required if n != "zip"]}
    elif others == "open":
        schema |= {"additionalProperties": True}
    elif others == "some":
        schema |= {"additionalProperties": draw(inner)}
    return schema


@st.composite
def arrays(draw, inner) -> dict[str, Any]:
    least = draw(st.integers(0, 2))
    most = draw(st.none() | st.integers(least, 4))
    first = draw(st.lists(inner, max_size=2))
    schema = {"type": "array", "items": draw(inner), "minItems": least}
    return (
        schema
        | ({"maxItems": most} if most is not None else {})
        | ({"prefixItems": first} if first else {})
    )


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        objects(inner),
        arrays(inner),
        st.builds(lambda v: {"anyOf": v}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda v: {"allOf": [v], "description": "one"}, inner),
    ),
    max_leaves=6,
)


def valid(text: str, schema: Any) -> Any:
    """The value of a text, which is compact JSON and valid against the schema."""
    value = json.loads(text)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(value)
    outside = "".join(text.split('"')[::2]) if "\\" not in text else ""
    assert not any(c.isspace() for c in outside), text
    return value


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(schema=SCHEMAS, seed=st.integers(0, 999), taste=st.sampled_from(TASTES))
def test_a_reply_that_ends_parses_and_is_valid_and_each_reply_can_end(vocab, schema, seed, taste):
    constraint = json_schema(schema, vocab=vocab)
    ids, ended = walk(constraint, vocab, seed=seed, taste=taste)
    if not ended:
        ids = close(constraint, vocab, ids)
    valid(vocab.decode(ids), schema)


@pytest.mark.parametrize("taste", TASTES)
def test_json_mode_is_an_object_or_an_array(vocab, taste):
    for seed in range(30 if taste == "any" else 1):
        ids, ended = walk(json_value(vocab), vocab, seed=seed, taste=taste)
        ids = ids if ended else close(json_value(vocab), vocab, ids)
        assert isinstance(json.loads(vocab.decode(ids)), dict | list)


@settings(deadline=None, max_examples=50)
@given(value=st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(NAMES, v), max_leaves=9))
def test_json_mode_can_say_every_value_that_is_not_too_deep(vocab, value):
    text = json.dumps([value], ensure_ascii=False, separators=(",", ":"))
    assert spell(json_value(vocab), vocab, text)


def test_json_mode_ends_at_a_depth_that_every_reader_takes(vocab):
    assert spell(json_value(vocab), vocab, "[" * 17 + "]" * 17)
    assert not spell(json_value(vocab), vocab, "[" * 18 + "]" * 18)


@pytest.mark.parametrize(
    "text",
    [
        "[1e999]",
        "[1111111111111111111111111]",
        '{ "a":1}',
        "[1, 2]",
        '["\n"]',
        '["\\ud800"]',
        '["\\u0061"]',
        "[01]",
        "[NaN]",
        "3",
        "",
    ],
)
def test_json_mode_cannot_say_what_some_reader_would_refuse(vocab, text):
    assert not spell(json_value(vocab), vocab, text)


def test_a_key_has_one_spelling_so_that_no_second_one_escapes_its_schema(vocab):
    schema = {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": True}
    constraint = json_schema(schema, vocab=vocab)
    assert spell(constraint, vocab, '{"a":null,"b":1}')
    assert not spell(constraint, vocab, '{"a":null,"a":1}')
    assert not spell(constraint, vocab, '{"a":null,"\\u0061":1}')


def test_an_enum_of_a_thousand_values_says_each_and_no_other(vocab):
    values = [f"label {i} ü" for i in range(1000)]
    constraint = json_schema({"type": "string", "enum": values}, vocab=vocab)
    said = {json.loads(vocab.decode(walk(constraint, vocab, seed=s).ids)) for s in range(50)}
    assert said <= set(values) and len(said) > 20
    assert all(spell(constraint, vocab, f'"{value}"') for value in values[::97])
    assert not spell(constraint, vocab, '"label 1000 ü"')


@pytest.mark.parametrize("format", ["date", "date-time", "ipv4", "ipv6", "uuid", "email"])
def test_formats_are_obeyed(vocab, format):
    schema = {"type": "string", "format": format}
    constraint = json_schema(schema, vocab=vocab)
    for seed in range(20):
        ids = close(constraint, vocab, walk(constraint, vocab, seed=seed, most=40).ids)
        valid(vocab.decode(ids), schema)


def test_a_chain_of_a_hundred_references_and_a_tree_are_followed(vocab):
    chain = {f"n{i}": {"$ref": f"#/$defs/n{i + 1}"} for i in range(100)}
    tree = {
        "type": "object",
        "properties": {"v": {"$ref": "#/$defs/n0"}, "kids": {"items": {"$ref": "#"}}},
        "required": ["v", "kids"],
    }
    schema = tree | {"$defs": chain | {"n100": {"enum": [7]}}}
    constraint = json_schema(schema, vocab=vocab)
    assert spell(constraint, vocab, '{"v":7,"kids":[{"v":7,"kids":[]},{"v":7,"kids":[]}]}')
    for seed in range(10):
        ids = close(constraint, vocab, walk(constraint, vocab, seed=seed, most=200).ids)
        valid(vocab.decode(ids), schema)


def test_merged_schemas_hold_together(vocab):
    schema = {
        "allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"const": 1}}}],
        "type": "object",
        "required": ["a", "b"],
    }
    constraint = json_schema(schema, vocab=vocab)
    assert spell(constraint, vocab, '{"a":5,"b":1}')
    assert not spell(constraint, vocab, '{"a":5,"b":2}')
    assert not spell(constraint, vocab, '{"a":5}')


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=5), data=st.data())
def test_a_choice_is_exactly_one_of_its_texts(vocab, values, data):
    constraint = choices(values, vocab=vocab)
    assert all(spell(constraint, vocab, value) for value in values)
    taste = data.draw(st.sampled_from(TASTES))
    ids, ended = walk(constraint, vocab, seed=len(values), taste=taste)
    assert ended and vocab.decode(ids) in values


FUNCTIONS = {
    "now": None,
    "get_weather": {
        "type": "OBJECT",
        "properties": {"city": {"enum": ["Rome", "Øslo"]}, "days": {"type": "integer"}},
        "required": ["city"],
    },
    "get": {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"größe": {"type": "number"}}}}},
}


def judged(parts) -> list[Call]:
    """The calls among parts, each valid."""
    said = [part for part in parts if isinstance(part, Call)]
    for call in said:
        schema = json.loads(json.dumps(FUNCTIONS[call.name] or {"maxProperties": 0}).lower())
        Draft202012Validator(schema).validate(json.loads(json.dumps(call.args).lower()))
        assert call.id == ""
    return said


@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("most", [1, 3, 8])
def test_calls_alone_are_one_to_so_many_and_nothing_else(vocab, most, taste):
    constraint = calls(FUNCTIONS, vocab=vocab, mode="any", most=most)
    for seed in range(25 if taste == "any" else 1):
        ids, ended = walk(constraint, vocab, seed=seed, taste=taste)
        ids = ids if ended else close(constraint, vocab, ids)
        parts = parse_turn(ids, vocab=vocab).parts
        assert 1 <= len(judged(parts)) == len(parts) == ids.count(Control.CALL_BEGIN) <= most


@pytest.mark.parametrize("mode", ["auto", pytest.param("validated", marks=pytest.mark.slow)])
def test_calls_in_text_are_whole_and_the_text_is_free(vocab, mode):
    constraint, seen = calls(FUNCTIONS, vocab=vocab, mode=mode, most=2), 0
    for seed in range(12):
        ids, ended = walk(constraint, vocab, seed=seed, most=900)
        ids = ids if ended else close(constraint, vocab, ids, most=1500)
        parts = parse_turn(ids, vocab=vocab).parts
        count = len(judged(parts))
        assert count == ids.count(Control.CALL_BEGIN) == ids.count(Control.CALL_END) <= 2
        assert all(isinstance(part, Call | Text) for part in parts)
        seen += count
    assert seen > 5
    text = np.flatnonzero([vocab.is_text(i) for i in range(vocab.size)]).tolist()
    assert allowed(constraint.start(), vocab) == sorted([*text, Control.END, Control.CALL_BEGIN])


def test_a_reply_cut_off_within_a_call_shows_no_half_of_it(vocab):
    guide, reader = calls(FUNCTIONS, vocab=vocab).start(), Reader(vocab)
    for i in [*vocab.encode("hi"), Control.CALL_BEGIN]:
        guide.take(i)
    shown = [piece for i in vocab.encode("hi") for piece in reader.feed(i)]
    reader.feed(Control.CALL_BEGIN)
    for _ in range(9):
        i = allowed(guide, vocab)[0]
        guide.take(i)
        shown += reader.feed(i)
    assert "".join(piece.text for piece in shown + reader.close()) == "hi"


def test_a_call_is_written_as_render_writes_it(vocab):
    guide = calls(FUNCTIONS, vocab=vocab, mode="any").start()
    text = '{"name":"get_weather","body":{"city":"Øslo","days":3}}'
    for i in [Control.CALL_BEGIN, *vocab.encode(text), Control.CALL_END, Control.END]:
        assert i in allowed(guide, vocab)
        guide.take(i)


def test_replies_of_one_constraint_do_not_meet(vocab):
    constraint = choices(["ab", "cd"], vocab=vocab)
    one, two = constraint.start(), constraint.start()
    one.take(vocab.encode("a")[0])
    assert len(allowed(two, vocab)) > len(allowed(one, vocab))
    assert not np.array_equal(one.allowed(), constraint.start().allowed())


def test_a_vocabulary_is_read_once(vocab, monkeypatch):
    json_value(vocab)
    monkeypatch.setattr(constrain, "LLTokenizer", None)
    json_schema({"type": "null"}, vocab=vocab)
    assert json_value(vocab) is json_value(vocab)


def test_a_token_costs_far_less_than_a_step_of_a_model(vocab):
    constraint, times = json_schema(FUNCTIONS["get_weather"], vocab=vocab), []
    for _ in range(20):
        guide = constraint.start()
        for i in [*vocab.encode('{"city":"Rome","days":1234567890}'), Control.END]:
            start = time.perf_counter()
            guide.allowed()
            guide.take(i)
            times.append(time.perf_counter() - start)
    assert np.median(times) < 1e-3  # 4 microseconds where shapes are not checked


def test_an_id_that_is_not_allowed_and_a_grammar_that_gives_up_are_failures(vocab):
    guide = choices(["ab"], vocab=vocab).start()
    with pytest.raises(Failed, match="id 200 is not allowed here"):
        guide.take(200)
    with pytest.raises(Failed, match="the grammar gave up"):
        guide.allowed()


def test_impossible_wishes_are_refused(vocab):
    with pytest.raises(ValueError, match="a choice needs texts, none of them empty; got \\[\\]"):
        choices([], vocab=vocab)
    with pytest.raises(ValueError, match="none of them empty; got \\['a', ''\\]"):
        choices(["a", ""], vocab=vocab)
    with pytest.raises(ValueError, match="enum: 270000 bytes of texts; at most 262144"):
        choices(["a" * 270_000], vocab=vocab)
    with pytest.raises(ValueError, match="mode='none' is none of \\('any', 'auto', 'validated'\\)"):
        calls(FUNCTIONS, vocab=vocab, mode="none")
    with pytest.raises(ValueError, match="calls need named functions and room; got \\[\\], most=8"):
        calls({}, vocab=vocab)
    with pytest.raises(ValueError, match="got \\[''\\], most=8"):
        calls({"": None}, vocab=vocab)
    with pytest.raises(ValueError, match="functionDeclarations.f: the arguments .* 'object'"):
        calls({"f": {"type": "array"}}, vocab=vocab)
    with pytest.raises(ValueError, match="responseJsonSchema: regex parse error: .*look-around"):
        json_schema({"pattern": "(?=a)"}, vocab=vocab)
