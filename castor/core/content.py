"""Documents: the one content type from crawl to reply. Their JSON form is in `wire.py`.

Invariant: a Turn is canonical. Adjacent texts are merged and empty ones dropped on construction,
so that two turns with the same meaning are equal.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

Role = Literal["system", "user", "model", "page"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class Text:
    """Unicode text. Lone surrogates are not text and are refused.

    Raises:
        ValueError: `text` cannot be written as UTF-8.
    """

    text: str

    def __post_init__(self) -> None:
        _check_unicode(self.text, "text")


@dataclass(frozen=True)
class Media:
    """Encoded bytes as they arrived; `mime` decides which modality opens them.

    Raises:
        ValueError: `mime` is empty or no Unicode text.
    """

    mime: str
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_unicode(self.mime, "a mime type")
        if not self.mime:
            raise ValueError("a medium needs a mime type, for example image/png")


@dataclass(frozen=True)
class Call:
    """The model asks for a function to be run: `args` is a JSON object.

    Raises:
        ValueError: `args` is not JSON (a set, NaN, a lone surrogate, a key that is no string), or
            the name is empty.
    """

    name: str
    args: Mapping[str, Any]
    id: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name, self.id, "call")
        object.__setattr__(self, "args", _json_object(self.args, f"the call of {self.name!r}"))


@dataclass(frozen=True)
class Result:
    """What a function answered: `response` is a JSON object; `id` repeats the call's.

    Raises:
        ValueError: `response` is not JSON, or the name is empty.
    """

    name: str
    response: Mapping[str, Any]
    id: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name, self.id, "result")
        checked = _json_object(self.response, f"the result of {self.name!r}")
        object.__setattr__(self, "response", checked)


Part = Text | Media | Call | Result


@dataclass(frozen=True)
class Turn:
    """One speaker's parts. "page" is content with no speaker (a web page, a book): it is learned.

    Raises:
        ValueError: the role is not one of ROLES.
    """

    role: Role
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"a turn cannot have the role {self.role!r}; it has one of {ROLES}")
        object.__setattr__(self, "parts", _canonical(self.parts))


@dataclass(frozen=True)
class Document:
    """One crawl page, one chat, one benchmark prompt or one API request: all are this."""

    turns: tuple[Turn, ...]
    origin: str = ""  # where it came from, e.g. "books/Beowulf#4123"
    tags: frozenset[str] = frozenset()

    @staticmethod
    def of(*parts: Part | str, role: Role = "user", origin: str = "") -> "Document":
        """A document of one turn; plain strings become Text."""
        turn = Turn(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))
        return Document((turn,), origin=origin)

    def then(self, *parts: Part | str, role: Role = "model") -> "Document":
        """This document with one more turn."""
        turn = Turn(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))
        return Document((*self.turns, turn), self.origin, self.tags)


def _canonical(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(part, Text) and isinstance(last, Text):
            merged[-1] = Text(last.text + part.text)
        elif part != Text(""):
            merged.append(part)
    return tuple(merged)


def _check_unicode(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} holds a lone surrogate at character {error.start}; "
            "replace it (for example with U+FFFD) first"
        ) from None


def _check_name(name: str, id: str, what: str) -> None:
    if not name:
        raise ValueError(f"a {what} needs the name of its function")
    _check_unicode(name, f"the name of a {what}")
    _check_unicode(id, f"the id of a {what}")


def _json_object(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
        _check_keys(value)
        kept: dict[str, Any] = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} holds something that JSON cannot: {error}") from None
    return kept


def _check_keys(value: Any) -> None:
    if isinstance(value, Mapping):
        fields = cast("Mapping[Any, Any]", value)
        if not all(isinstance(key, str) for key in fields):
            raise TypeError(f"keys that are no strings, {list(fields)}")
        value = tuple(fields.values())
    for inner in cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ():
        _check_keys(inner)
