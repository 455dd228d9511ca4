"""What a request's contents come to: one system turn, then user and model in turn."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.content import Call, Document, Media, Result, Role, Text, Turn
from castor.serve.prompt import CALL_ORDER, RESULT_COUNT, RESULT_ORDER, arranged, conversation
from castor.serve.refusal import Refusal

from .fake_desk import FakeDesk

DESK = FakeDesk()
CALL = {"functionCall": {"name": "f", "args": {"a_b": 1}, "id": "1"}}
ANSWER = {"functionResponse": {"name": "f", "response": {"ok": True}, "id": "1"}}
ASKED = {"role": "user", "parts": [{"text": "do"}]}


def read(*contents: Any, system: Any = None, declared: str = "", resolve: Any = None) -> Document:
    fields = {"contents": list(contents)} | ({"systemInstruction": system} if system else {})
    return conversation(fields, desk=DESK, declared=declared, resolve=resolve)


def parts(*held: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": list(held)}


def test_turns_of_one_role_are_joined() -> None:
    document = read(
        parts({"text": "a"}),
        parts({"text": "b"}, role="USER"),
        parts({"text": "c"}, role="model"),
        {"parts": {"text": "d"}},
    )
    assert document == Document.of("ab").then("c").then("d", role="user")


@pytest.mark.parametrize(
    "system",
    [
        "be brief",
        {"parts": [{"text": "be brief"}]},
        {"role": "user", "parts": {"text": "be brief"}},
        {"text": "be brief"},
        [{"text": "be "}, {"text": "brief"}],
    ],
)
def test_the_system_instruction_may_be_a_string_or_content_of_any_role(system: Any) -> None:
    turn = Turn("system", (Text("be brief"),))
    assert read(ASKED, system=system) == Document((turn, *Document.of("do").turns))


def test_system_turns_anywhere_come_to_the_front_and_functions_after_them() -> None:
    later = parts({"text": "be kind"}, role="system")
    document = read(ASKED, later, system="be brief", declared='{"name":"f"}')
    text = 'be brief\n\nbe kind\n\n{"name":"f"}'
    assert document.turns == (Turn("system", (Text(text),)), *Document.of("do").turns)


def test_functions_alone_are_the_system_turn() -> None:
    assert read(ASKED, declared="f").turns[0] == Turn("system", (Text("f"),))


def test_media_stay_in_their_order_under_their_usual_mime() -> None:
    data = {"inlineData": {"mimeType": "image/JPG; q=1", "data": "AAE"}}
    document = read(parts({"text": "a"}, data, {"text": "b"}))
    assert document == Document.of("a", Media("image/jpeg", b"\0\1"), "b")


@pytest.mark.parametrize("mime", ["text/plain", "text/markdown", "application/json"])
def test_a_text_file_is_text(mime: str) -> None:
    assert read(parts({"inlineData": {"mimeType": mime, "data": "aGk="}})) == Document.of("hi")


def test_a_kind_that_the_model_does_not_perceive_is_refused_by_name() -> None:
    wire = parts({"inlineData": {"mimeType": "application/pdf", "data": "AAE"}})
    reads = "castor-fake reads audio/\\*, image/\\*, text/\\*, video/\\*"
    with pytest.raises(ValueError, match=f"Unsupported MIME type: application/pdf. {reads}"):
        read(wire)


def test_a_drawing_in_a_model_turn_needs_no_eyes() -> None:
    blind = FakeDesk(kinds=frozenset())
    wire = {"contents": [ASKED, parts({"inlineData": {"mimeType": "image/png", "data": ""}})]}
    wire["contents"][1]["role"] = "model"
    document = conversation(wire, desk=blind, resolve=None)
    assert document.turns[1].parts == (Media("image/png", b""),)


def test_a_text_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(ValueError, match="codec can't decode"):
        read(parts({"inlineData": {"mimeType": "text/plain", "data": "/w"}}))


def test_thoughts_and_notes_beside_parts_are_left_out() -> None:
    signed = {"text": "b", "thoughtSignature": "x", "partMetadata": {}}
    alone = {"thought_signature": "x"}
    document = read(ASKED, parts({"text": "hm", "thought": True}, signed, alone, role="model"))
    assert document == Document.of("do").then("b")


def test_a_model_turn_that_says_nothing_is_left_out() -> None:
    assert read(ASKED, {"role": "model"}, ASKED) == Document.of("dodo")


def test_calls_and_results_stay_and_lose_their_ids() -> None:
    document = read(ASKED, parts(CALL, role="model"), parts(ANSWER, role="function"))
    asked, called, answered = document.turns
    assert called.parts == (Call("f", {"a_b": 1}),)
    assert answered == Turn("user", (Result("f", {"ok": True}),))


def test_results_come_in_the_order_of_their_calls_by_id_then_by_name() -> None:
    calls = [Call("f", {}, "1"), Call("f", {}, "2"), Call("g", {}), Call("h", {})]
    results = [
        Result("other", {"n": 4}),
        Result("g", {"n": 3}),
        Result("f", {"n": 2}, "2"),
        Result("f", {"n": 1}, "1"),
    ]
    talk = (*Document.of("do").then(*calls).turns, Turn("user", (*results, Text("go on"))))
    told = arranged(talk).turns[2].parts
    assert [part.response["n"] for part in told if isinstance(part, Result)] == [1, 2, 3, 4]
    assert told[-1] == Text("go on")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([parts(CALL, role="model"), parts(ANSWER)], CALL_ORDER),
        ([parts(CALL)], CALL_ORDER),
        ([ASKED, parts(CALL)], CALL_ORDER),
        ([parts(ANSWER)], RESULT_ORDER),
        ([ASKED, parts({"text": "a"}, role="model"), parts(ANSWER)], RESULT_ORDER),
        ([ASKED, parts(CALL, CALL, role="model"), parts(ANSWER)], RESULT_COUNT),
        ([ASKED, parts(CALL, role="model"), parts(ANSWER, ANSWER)], RESULT_COUNT),
        ([ASKED, parts(CALL, role="model"), parts({"text": "never mind"})], RESULT_COUNT),
        ([{"role": "assistant", "parts": []}], "Please use a valid role: user, model."),
        ([{"role": "page", "parts": [{"text": "a"}]}], "Please use a valid role: user, model."),
        ([{"role": "user"}], r"\* GenerateContentRequest.contents\[0\].parts: contents.parts must"),
        (["hi"], r"'contents\[0\]': an object is needed, not 'hi'"),
        ([parts("hi")], r"'contents\[0\].parts\[0\]': an object is needed"),
        ([parts({})], r"contents\[0\].parts\[0\] has \[\]; a part has one of"),
    ],
)
def test_contents_in_another_form_are_refused(contents: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(*contents)


@pytest.mark.parametrize(
    "part",
    [
        {"executableCode": {"code": "1"}},
        {"codeExecutionResult": {"output": "1"}},
        {"inlineData": {"mimeType": "video/mp4", "data": ""}, "videoMetadata": {"fps": 1}},
        {"functionResponse": {"name": "f", "response": {}, "parts": [{}]}},
    ],
)
def test_parts_that_would_change_the_meaning_are_refused(part: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=r"contents\[0\].parts\[0\].* is not supported by this serv"):
        read(parts(part))


def test_a_file_is_read_by_its_uri_with_the_mime_that_is_known_of_it() -> None:
    asked: list[str] = []

    def resolve(uri: str) -> tuple[str, bytes]:
        asked.append(uri)
        return "audio/mp3", b"abc"

    uri = "https://generativelanguage.googleapis.com/v1beta/files/x1"
    document = read(parts({"fileData": {"fileUri": uri}}), resolve=resolve)
    assert document == Document.of(Media("audio/mpeg", b"abc")) and asked == [uri]


def missing(uri: str) -> tuple[str, bytes]:
    raise LookupError(uri)


@pytest.mark.parametrize(
    ("uri", "resolve", "kind", "message"),
    [
        ("files/x", missing, Refusal, "permission to access the File x or it may not exist."),
        ("https://a.example/b.png", missing, ValueError, "only uploaded files are read"),
        ("files/x", None, ValueError, "files are not read here"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    uri: str, resolve: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read(parts({"fileData": {"fileUri": uri}}), resolve=resolve)


roles: st.SearchStrategy[Role] = st.sampled_from(["system", "user", "model"])


@given(st.lists(st.tuples(roles, st.sampled_from(["", "a", "b"])), max_size=8))
def test_after_at_most_one_system_turn_user_and_model_alternate(held: list[Any]) -> None:
    turns = [Turn(role, (Text(text),)) for role, text in held]
    told = [turn.role for turn in arranged(turns).turns]
    assert "system" not in told[1:]
    assert all(a != b for a, b in zip(told, told[1:], strict=False))
    said = "".join(text for role, text in held if role != "system")
    texts = [part for turn in arranged(turns).turns if turn.role != "system" for part in turn.parts]
    assert "".join(part.text for part in texts if isinstance(part, Text)) == said
