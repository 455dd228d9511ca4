"""Documents as the API's JSON: an exact round trip, both spellings, and every refusal."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.content import ROLES, Call, Document, Media, Result, Text, Turn
from castor.core.files import read_bytes
from castor.core.wire import bytes_of, from_wire, to_wire

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = words.filter(bool)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
objects = st.dictionaries(words, values, max_size=3)
mimes = st.sampled_from(["image/png", "audio/wav"])
# Constructors and their arguments: the checked constructors themselves must run outside hypothesis.
parts = (
    st.tuples(st.just(Text), words)
    | st.tuples(st.just(Media), mimes, st.binary(max_size=20))
    | st.tuples(st.just(Call), names, objects, words)
    | st.tuples(st.just(Result), names, objects, words)
)
turns = st.lists(st.tuples(st.sampled_from(ROLES), st.lists(parts, max_size=4)), max_size=4)


@given(turns, words, st.frozensets(words, max_size=3))
def test_every_document_survives_the_round_trip_through_json(
    turns: list[tuple[Any, list[Any]]], origin: str, tags: frozenset[str]
) -> None:
    made = (Turn(role, tuple(make(*given) for make, *given in held)) for role, held in turns)
    document = Document(tuple(made), origin, tags)
    assert from_wire(json.loads(json.dumps(to_wire(document)))) == document


def test_the_first_system_turn_is_the_instruction_and_later_ones_stay_in_place() -> None:
    system = Turn("system", (Text("be brief"),))
    document = Document((system, *Document.of("hi").turns, system))
    wire = to_wire(document)
    assert wire["systemInstruction"] == {"parts": [{"text": "be brief"}]}
    assert [turn["role"] for turn in wire["contents"]] == ["user", "system"]
    assert from_wire(wire) == document


def test_both_spellings_are_read() -> None:
    snake = {
        "system_instruction": {"parts": [{"text": "s"}]},
        "contents": [
            {"parts": [{"inline_data": {"mime_type": "image/png", "data": "AAE="}}]},
            {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"a_b": 1}}}]},
            {"role": "function", "parts": [{"function_response": {"name": "f", "response": {}}}]},
        ],
    }
    document = from_wire(snake)
    assert [turn.role for turn in document.turns] == ["system", "user", "model", "user"]
    assert document.turns[1].parts == (Media("image/png", b"\0\1"),)
    assert document.turns[2].parts == (Call("f", {"a_b": 1}),)


@given(st.binary(max_size=20), st.booleans(), st.booleans())
def test_base64_is_read_in_either_alphabet_padded_or_not(
    data: bytes, web: bool, padded: bool
) -> None:
    text = (base64.urlsafe_b64encode if web else base64.b64encode)(data).decode()
    assert bytes_of(text if padded else text.rstrip("="), "here") == data


def test_a_single_part_and_a_single_turn_need_no_list() -> None:
    assert from_wire({"contents": {"parts": {"text": "hi"}}}) == Document.of("hi")


def test_null_is_absent() -> None:
    wire = {"role": None, "parts": [{"text": "hi", "inlineData": None, "functionCall": None}]}
    assert from_wire({"contents": [wire], "systemInstruction": None}) == Document.of("hi")


def test_thoughts_are_not_read() -> None:
    parts = [{"text": "hm", "thought": True}, {"thought": True}, {"text": "a", "thought": False}]
    document = from_wire({"contents": [{"role": "model", "parts": parts}]})
    assert document == Document.of("a", role="model")


def test_ids_of_calls_and_results_are_kept() -> None:
    document = Document.of(Call("f", {}, "1"), role="model").then(Result("f", {}, "1"), role="user")
    assert from_wire(to_wire(document)) == document


def test_a_resolver_may_know_the_mime() -> None:
    wire = {"contents": [{"parts": [{"fileData": {"fileUri": "files/x"}}]}]}
    document = from_wire(wire, resolve=lambda uri: Media("audio/wav", b"abc"))
    assert document.turns[0].parts == (Media("audio/wav", b"abc"),)
    wire["contents"][0]["parts"][0]["fileData"]["mimeType"] = "audio/flac"
    document = from_wire(wire, resolve=lambda uri: Media("audio/wav", b"abc"))
    assert document.turns[0].parts == (Media("audio/flac", b"abc"),)


def test_files_are_read_whole_or_as_slices(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"x" * 8
    (tmp_path / "all.bin").write_bytes(b"??" + png)
    (tmp_path / "one.png").write_bytes(png)
    files = ("one.png", f"all.bin#2,{len(png)}")
    wire = {"contents": [{"parts": [{"fileData": {"fileUri": uri}} for uri in files]}]}
    document = from_wire(wire, resolve=lambda uri: read_bytes(f"{tmp_path}/{uri}"))
    assert document.turns[0].parts == (Media("image/png", png),) * 2


def test_a_mime_that_is_given_is_kept() -> None:
    wire = {"contents": [{"parts": [{"fileData": {"fileUri": "x", "mimeType": "audio/wav"}}]}]}
    document = from_wire(wire, resolve=lambda uri: b"abc")
    assert document.turns[0].parts == (Media("audio/wav", b"abc"),)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"txt": "a"}, r"contents\[0\].parts\[0\] has \['txt'\]; a part has one of"),
        ({"text": "a", "inlineData": {}}, "a part has one of"),
        ({"text": 3}, "a text is a string; got int"),
        ({"inlineData": {"data": "AA=="}}, "needs mimeType, a string"),
        ({"inlineData": {"mimeType": "image/png", "data": "%%"}}, r"parts\[0\]: .* is base64"),
        ({"inlineData": {"mimeType": "image/png", "data": "AAAAA"}}, "is base64; got 'AAAAA'"),
        ({"inlineData": {"mimeType": "image/png", "data": "AA=A"}}, "is base64"),
        ({"text": None}, "a part has one of"),
        ({"inlineData": "AA=="}, "parts.0..inlineData is a JSON object; got str"),
        ({"fileData": {"fileUri": "a.png"}}, "'a.png', and files are not read here"),
        ({"functionCall": {"args": {}}}, "needs name, a string"),
        ({"functionCall": {"name": "f", "args": [1]}}, "args is a JSON object; got list"),
        ("hello", r"parts\[0\] is a JSON object; got str"),
    ],
)
def test_a_part_in_another_form_is_refused_with_its_place(part: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_wire({"contents": [{"role": "user", "parts": [part]}]})


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({"content": []}, r"needs a list of contents; it has \['content'\]"),
        ({"contents": [{"role": "cat", "parts": []}]}, "a role is one of .* got 'cat'"),
        ({"contents": [{"role": "user", "text": "a"}]}, r"contents\[0\] needs a list of parts"),
        ({"contents": [], "tags": "a"}, "needs a list of tags"),
    ],
)
def test_a_document_in_another_form_is_refused(wire: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_wire(wire)
