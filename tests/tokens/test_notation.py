"""Calls and results in JSON and in brackets: what is written is read, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.content import Call, Result
from castor.tokens.notation import from_brackets, from_json, to_brackets, to_json

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
bodies = st.dictionaries(texts, values, max_size=3)


def between_marks(part: Call | Result) -> list[str]:
    """What was written, cut at the quotation marks."""
    found = [""]
    for mark in to_brackets(part):
        if mark is None:
            found.append("")
        else:
            found[-1] += mark
    return found


@given(body=bodies)
def test_a_call_in_brackets_is_read_as_it_was_written(body: dict[str, Any]) -> None:
    call = Call("look_up", body)
    assert from_brackets(Call, between_marks(call)) == call


@given(body=bodies)
def test_a_result_in_brackets_is_read_as_it_was_written(body: dict[str, Any]) -> None:
    result = Result("look_up", body)
    assert from_brackets(Result, between_marks(result)) == result


@given(body=bodies)
def test_a_call_in_json_is_read_as_it_was_written(body: dict[str, Any]) -> None:
    call = Call("look_up", body, "7")
    assert from_json(Call, to_json(call)) == call


@pytest.mark.parametrize(
    "texts",
    [
        [""],
        ["call:f"],
        ["call:f{"],
        ["call:f{a}"],
        ["call:f{a:}"],
        ["call:f{a:1"],
        ["call:f{a:1 b:2}"],
        ["call:f{a:1}}"],
        ["call:f[1]"],
        ["call:f{a:one}"],
        ["response:f{}"],
        ["call:f{a:", "open"],
        ["call:f{a:NaN}"],
        ["call:f{a:" + "[" * 80 + "]" * 80 + "}"],
        ["call:{}"],
        ["call:f{\0:1}"],
    ],
)
def test_what_is_no_call_is_none(texts: list[str]) -> None:
    assert from_brackets(Call, texts) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name":"f"}', '{"name":1,"body":{}}'])
def test_what_is_no_json_of_a_call_is_none(text: str) -> None:
    assert from_json(Call, text) is None


def test_white_space_between_brackets_does_not_matter() -> None:
    assert from_brackets(Call, ["call:f { a : [ 1 , 2 ] }"]) == Call("f", {"a": [1, 2]})
