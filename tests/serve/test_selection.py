"""`fields` leaves out what a client does not want to see, `prettyPrint` spreads the JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.serve.selection import Wanted, selected, wanted_in

from .driver import GENERATE, HI, STREAM, Client, client_of, post, refused

ARRAY = STREAM.removesuffix("?alt=sse")
REPLY: dict[str, Any] = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "a"}, {"text": "b"}]}, "index": 0},
        {"content": {"role": "model", "parts": []}, "finishReason": "STOP", "index": 1},
    ],
    "usageMetadata": {"totalTokenCount": 3, "promptTokensDetails": [{"modality": "TEXT"}]},
    "modelVersion": "m",
}


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ("modelVersion", {"modelVersion": "m"}),
        ("model_version , nothing", {"modelVersion": "m"}),
        ("usageMetadata/totalTokenCount", {"usageMetadata": {"totalTokenCount": 3}}),
        ("usageMetadata.totalTokenCount", {"usageMetadata": {"totalTokenCount": 3}}),
        (
            "candidates(index,finishReason),modelVersion",
            {
                "candidates": [{"index": 0}, {"finishReason": "STOP", "index": 1}],
                "modelVersion": "m",
            },
        ),
        (
            "candidates/content/parts/text",
            {
                "candidates": [
                    {"content": {"parts": [{"text": "a"}, {"text": "b"}]}},
                    {"content": {"parts": []}},
                ]
            },
        ),
        (
            "candidates(content(role)),candidates/index",
            {
                "candidates": [
                    {"content": {"role": "model"}, "index": 0},
                    {"content": {"role": "model"}, "index": 1},
                ]
            },
        ),
        ("candidates/*/role", {"candidates": [{"content": {"role": "model"}}] * 2}),
        ("modelVersion/none", {}),
        ("candidates,candidates/index", {"candidates": REPLY["candidates"]}),
        ("candidates/index,candidates", {"candidates": REPLY["candidates"]}),
        ("*", REPLY),
    ],
)
def test_only_what_is_named_is_left(fields: str, left: Any) -> None:
    assert selected(REPLY, wanted_in(fields)) == left


@pytest.mark.parametrize(
    "fields",
    [
        "",
        ",",
        "a,",
        "a(",
        "a()",
        "a)",
        "(a)",
        "a(b",
        "a(b))",
        "a//b",
        "a(b)c",
        "a(b)/c",
        "a b",
        "a;b",
    ],
)
def test_what_is_no_list_of_fields_is_refused(fields: str) -> None:
    with pytest.raises(ValueError, match="is no list of fields such as candidates"):
        wanted_in(fields)


names = st.sampled_from("abc")
trees = st.recursive(
    st.none(), lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3), max_leaves=8
)
values = st.recursive(
    st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
)


def spelled(tree: dict[str, Any]) -> str:
    return ",".join(
        name if held is None else f"{name}({spelled(held)})" for name, held in tree.items()
    )


def wanted_of(tree: Any) -> Wanted:
    if tree is None:
        return Wanted(all=True)
    return Wanted(named={name: wanted_of(held) for name, held in tree.items()})


@given(trees.filter(bool))
def test_a_list_of_fields_is_read_back(tree: dict[str, Any]) -> None:
    assert wanted_in(spelled(tree)) == wanted_of(tree)


@given(st.dictionaries(names, values), trees.filter(bool))
def test_what_was_selected_is_not_cut_again(value: Any, tree: dict[str, Any]) -> None:
    once = selected(value, wanted_of(tree))
    assert selected(once, wanted_of(tree)) == once


def test_a_whole_response_is_cut_and_its_length_is_right() -> None:
    path = f"{GENERATE}?fields=candidates(content/parts/text,finishReason)"
    response = client_of().post(path, json=HI)
    found = {"content": {"parts": [{"text": "hello"}]}, "finishReason": "STOP"}
    assert response.json() == {"candidates": [found]}
    assert response.headers["content-length"] == str(len(response.content))


def test_a_list_of_models_is_cut() -> None:
    told = client_of().get("/v1beta/models?$fields=models.name").json()
    assert told == {"models": [{"name": "models/castor-fake"}]}


def test_each_message_of_a_stream_is_cut() -> None:
    response = client_of().post(f"{STREAM}&fields=candidates/finishReason,modelVersion", json=HI)
    lines = [line for line in response.text.split("\r\n") if line]
    assert all(line.startswith("data: {") for line in lines)
    told = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {name for each in told for name in each} == {"candidates", "modelVersion"}
    assert told[-1]["candidates"] == [{"finishReason": "STOP"}]


def test_a_stream_as_an_array_stays_one() -> None:
    told = post(client_of(), f"{ARRAY}?fields=modelVersion&prettyPrint=true", HI)
    assert told and all(each == {"modelVersion": "castor-fake"} for each in told)


def test_a_response_is_pretty_where_that_is_asked_for() -> None:
    client = client_of()
    plain, pretty = client.get("/v1beta/models"), client.get("/v1beta/models?prettyPrint=true")
    assert pretty.json() == plain.json()
    assert "\n" not in plain.text and pretty.text.startswith('{\n  "')
    assert client.get("/v1beta/models?prettyPrint=false").text == plain.text


def test_events_stay_on_their_lines_however_pretty() -> None:
    client = client_of()
    response = client.post(f"{STREAM}&prettyPrint=true", json=HI)
    assert all(line.startswith("data: {") for line in response.text.split("\r\n") if line)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("fields=a(", "Invalid value at 'fields': 'a(' is no list of fields"),
        ("prettyPrint=maybe", "Invalid value at 'prettyPrint': 'maybe' is neither true nor false"),
    ],
)
def test_a_view_that_cannot_be_is_refused(query: str, why: str) -> None:
    assert why in refused(client_of(), f"{GENERATE}?{query}", HI)


def test_errors_are_never_cut() -> None:
    message = refused(client_of(), f"{GENERATE}?fields=candidates", {"contents": []})
    assert "contents is not specified" in message


def test_the_other_api_has_no_such_parameters() -> None:
    client: Client = client_of()
    body = {"model": "castor-fake", "messages": [{"role": "user", "content": "hi"}]}
    assert "choices" in post(client, "/v1/chat/completions?fields=id", body)
