"""Documents as JSON: the form of the Gemini API's `contents`, in both directions.

    {"systemInstruction": {"parts": [{"text": "…"}]},
     "contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "…"}},
                                             {"text": "What is this?"}]},
                  {"role": "model", "parts": [{"text": "a cat"}]}],
     "origin": "…", "tags": ["…"]}

Invariant: `from_wire(to_wire(document)) == document`, for every document.
What is read is wider than what is written: names in snake_case, base64 of either alphabet with or
without padding, one part or one turn without its list, null for what is absent.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from castor.core.content import Call, Document, Media, Part, Result, Role, Text, Turn
from castor.core.media import named_media

Resolve = Callable[[str], bytes | Media]  # a fileUri (perhaps "file#offset,length") to what it is
KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
ROLE_NAMES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "model": "model",
    "page": "page",
    "function": "user",  # what answers a call; so is "tool"
    "tool": "user",
}
BASE64 = re.compile(r"[A-Za-z0-9+/]*")
SPELLINGS = str.maketrans("-_", "+/")


def to_wire(document: Document) -> dict[str, Any]:
    """The document as plain JSON data; media ride along in base64."""
    turns = list(document.turns)
    wire: dict[str, Any] = {}
    if turns and turns[0].role == "system":
        wire["systemInstruction"] = {"parts": [part_to_wire(p) for p in turns.pop(0).parts]}
    wire["contents"] = [
        {"role": turn.role, "parts": [part_to_wire(p) for p in turn.parts]} for turn in turns
    ]
    if document.origin:
        wire["origin"] = document.origin
    if document.tags:
        wire["tags"] = sorted(document.tags)
    return wire


def from_wire(wire: Mapping[str, Any], *, resolve: Resolve | None = None) -> Document:
    """The document that JSON data stands for; names may be in camelCase or snake_case.

    `resolve` reads the bytes of a `fileData`; without it such parts are refused. Parts that are
    thoughts are left out: a model does not read what it once thought. Fields beside `contents`,
    `systemInstruction`, `origin` and `tags` are ignored.

    Raises:
        ValueError: something is not in the form of the API; the message says where.
        OSError: a file that is named cannot be read.
    """
    fields = _fields(wire, "the document")
    contents = _list(fields, "contents", "the document")
    turns = [
        _turn(_fields(turn, f"contents[{i}]"), f"contents[{i}]", resolve)
        for i, turn in enumerate(contents)
    ]
    if fields.get("systemInstruction") is not None:
        place = "systemInstruction"
        system = _fields(fields[place], place)
        turns.insert(0, _turn({**system, "role": "system"}, place, resolve))
    tags = fields.get("tags", [])
    if not isinstance(tags, list):
        raise ValueError(f"the document needs a list of tags; it has {list(fields)}")
    tags = cast("list[Any]", tags)
    return Document(tuple(turns), str(fields.get("origin", "")), frozenset(map(str, tags)))


def part_to_wire(part: Part) -> dict[str, Any]:
    """One part as plain JSON data."""
    if isinstance(part, Text):
        return {"text": part.text}
    if isinstance(part, Media):
        data = base64.b64encode(part.data).decode("ascii")
        return {"inlineData": {"mimeType": part.mime, "data": data}}
    named = {"name": part.name} | ({"id": part.id} if part.id else {})
    if isinstance(part, Call):
        return {"functionCall": named | {"args": dict(part.args)}}
    return {"functionResponse": named | {"response": dict(part.response)}}


def _turn(fields: Mapping[str, Any], place: str, resolve: Resolve | None) -> Turn:
    role = ROLE_NAMES.get(str(fields.get("role") or "user"))
    if role is None:
        raise ValueError(f"{place}: a role is one of {list(ROLE_NAMES)}; got {fields['role']!r}")
    parts = [
        (f"{place}.parts[{i}]", _fields(part, f"{place}.parts[{i}]"))
        for i, part in enumerate(_list(fields, "parts", place))
    ]
    kept = [(at, part) for at, part in parts if part.get("thought") is not True]
    return Turn(role, tuple(_part(part, at, resolve) for at, part in kept))


def _part(fields: Mapping[str, Any], place: str, resolve: Resolve | None) -> Part:
    kinds = [kind for kind in KINDS if fields.get(kind) is not None]
    if len(kinds) != 1:
        raise ValueError(f"{place} has {list(fields)}; a part has one of {list(KINDS)}")
    kind, body = kinds[0], fields[kinds[0]]
    if kind == "text":
        if not isinstance(body, str):
            raise ValueError(f"{place}: a text is a string; got {type(body).__name__}")
        return Text(body)
    inner = _fields(body, f"{place}.{kind}")
    if kind == "inlineData":
        return _inline(inner, place)
    if kind == "fileData":
        return _file(inner, place, resolve)
    name, id = _text(inner, "name", place), str(inner.get("id") or "")
    if kind == "functionCall":
        return Call(name, _object(inner, "args", place), id)
    return Result(name, _object(inner, "response", place), id)


def _inline(fields: Mapping[str, Any], place: str) -> Media:
    mime, text = _text(fields, "mimeType", place), _text(fields, "data", place)
    return Media(mime, bytes_of(text, place))


def bytes_of(text: str, place: str) -> bytes:
    """The bytes that base64 spells, in either alphabet, padded or not.

    Raises:
        ValueError: it is no base64; the message says where.
    """
    digits = text.rstrip("=").translate(SPELLINGS)
    if not BASE64.fullmatch(digits) or len(digits) % 4 == 1:
        raise ValueError(f"{place}: the data of a medium is base64; got {text[:20]!r}")
    return base64.b64decode(digits + "=" * (-len(digits) % 4))


def _file(fields: Mapping[str, Any], place: str, resolve: Resolve | None) -> Media:
    uri = _text(fields, "fileUri", place)
    if resolve is None:
        raise ValueError(f"{place} names the file {uri!r}, and files are not read here")
    found, mime = resolve(uri), fields.get("mimeType")
    if isinstance(found, Media):
        return Media(str(mime), found.data) if mime else found
    return Media(str(mime), found) if mime else named_media(uri.partition("#")[0], found)


def _fields(wire: Any, place: str) -> dict[str, Any]:
    """The fields of a JSON object under their camelCase names."""
    return {_camel(str(name)): value for name, value in _mapping(wire, place).items()}


def _mapping(wire: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(wire, Mapping):
        raise ValueError(f"{place} is a JSON object; got {type(wire).__name__}")
    return cast("Mapping[str, Any]", wire)


def _list(fields: Mapping[str, Any], name: str, place: str) -> list[Any]:
    value = fields.get(name)
    if isinstance(value, Mapping):
        return [value]
    if not isinstance(value, list):
        raise ValueError(f"{place} needs a list of {name}; it has {list(fields)}")
    return cast("list[Any]", value)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _text(fields: Mapping[str, Any], name: str, place: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or (not value and name != "data"):
        raise ValueError(f"{place} needs {name}, a string; it has {list(fields)}")
    return value


def _object(fields: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    return _mapping(fields.get(name) or {}, f"{place}.{name}")
