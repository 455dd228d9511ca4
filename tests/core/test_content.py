"""Documents are canonical, and hold nothing that could not be written down."""

from typing import Any

import pytest

from castor.core.content import Call, Document, Media, Result, Text, Turn


def test_texts_that_touch_are_one_text() -> None:
    turn = Turn("user", (Text("a"), Text(""), Text("b"), Media("image/png", b""), Text("c")))
    assert turn.parts == (Text("ab"), Media("image/png", b""), Text("c"))


def test_an_empty_text_is_no_part() -> None:
    assert Turn("user", (Text(""),)).parts == ()


def test_turns_that_mean_the_same_are_equal() -> None:
    assert Document.of("a", "b") == Document.of("ab") == Document.of(Text("ab"))


def test_a_document_grows_by_turns_and_keeps_its_origin() -> None:
    document = Document.of("q", role="user", origin="book#1").then("a").then("q", role="user")
    assert [turn.role for turn in document.turns] == ["user", "model", "user"]
    assert document.origin == "book#1"


def test_arguments_become_plain_json() -> None:
    given = {"b": (1, 2), "a": {"x": None}}
    call = Call("f", given)
    assert call.args == {"b": [1, 2], "a": {"x": None}}
    given["b"] = ()
    assert call.args["b"] == [1, 2]


def test_media_do_not_print_their_bytes() -> None:
    assert repr(Media("image/png", b"secret")) == "Media(mime='image/png')"


@pytest.mark.parametrize("kind", [Call, Result])
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"a": {1, 2}}, "holds something that JSON cannot"),
        ({"a": float("nan")}, "holds something that JSON cannot"),
        ({"a": float("inf")}, "holds something that JSON cannot"),
        ({"a": "\ud800"}, "holds something that JSON cannot"),
        ({"a": [{1: 2}]}, r"holds .*: keys that are no strings, \[1\]"),
    ],
)
def test_a_body_that_is_no_json_is_refused(
    kind: type[Call] | type[Result], body: dict[Any, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"of 'f' {sentence}"):
        kind("f", body)


def test_a_body_that_is_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(ValueError, match="the call of 'f' holds something that JSON cannot"):
        Call("f", {"a": deep})


def test_a_lone_surrogate_is_refused_wherever_it_stands() -> None:
    for make in (
        lambda: Text("ab\ud800"),
        lambda: Media("image/\ud800", b""),
        lambda: Call("\ud800", {}),
        lambda: Result("f", {}, "\ud800"),
    ):
        with pytest.raises(ValueError, match="holds a lone surrogate at character"):
            make()


def test_what_has_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match="a call needs the name of its function"):
        Call("", {})
    with pytest.raises(ValueError, match="a result needs the name of its function"):
        Result("", {})
    with pytest.raises(ValueError, match="a medium needs a mime type"):
        Media("", b"")


def test_a_role_that_is_none_is_refused() -> None:
    role: Any = "assistant"
    with pytest.raises(ValueError, match="a turn cannot have the role 'assistant'; it has one of"):
        Turn.__init__.__wrapped__(object.__new__(Turn), role, ())
