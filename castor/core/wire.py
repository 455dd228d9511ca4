"""Documents as JSON: the form of the Gemini API's `contents`, in both directions.

    {"systemInstruction": {"parts": [{"text": "…"}]},
     "contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "…"}},
                                             {"text": "What is this?"}]},
                  {"role": "model", "parts": [{"text": "a cat"}]}],
     "origin": "…", "tags": ["…"]}

Invariant: `from_wire(to_wire(document)) == document`, for every document.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, cast

from castor.core.content import Call, Document, Media, Part, Result, Role, Text, Turn
from castor.core.media import named_media

Resolve = Callable[[str], bytes]  # a fileUri (a path, or "file#offset,length") to its bytes
KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
ROLE_NAMES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "model": "model",
    "page": "page",
    "function": "user",  # what answers a call
}


def to_wire(document: Document) -> dict[str, Any]:
    """The document as plain JSON data; media ride along in base64."""
    turns = list(document.turns)
    wire: dict[str, Any] = {}
    if turns and turns[0].role == "system":
        wire["systemInstruction"] = {"parts": [_part_to_wire(p) for p in turns.pop(0).parts]}
    wire["contents"] = [
        {"role": turn.role, "parts": [_part_to_wire(p) for p in turn.parts]} for turn in turns
    ]
    if document.origin:
        wire["origin"] = document.origin
    if document.tags:
        wire["tags"] = sorted(document.tags)
    return wire


def from_wire(wire: Mapping[str, Any], *, resolve: Resolve | None = None) -> Document:
    """The document that JSON data stands for; names may be in camelCase or snake_case.

    `resolve` reads the bytes of a `fileData`; without it such parts are refused. Fields beside
    `contents`, `systemInstruction`, `origin` and `tags` are ignored.

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
    tags = _list({"tags": [], **fields}, "tags", "the document")
    return Document(tuple(turns), str(fields.get("origin", "")), frozenset(map(str, tags)))


def _part_to_wire(part: Part) -> dict[str, Any]:
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
    role = ROLE_NAMES.get(str(fields.get("role", "user")))
    if role is None:
        raise ValueError(f"{place}: a role is one of {list(ROLE_NAMES)}; got {fields['role']!r}")
    parts = enumerate(_list(fields, "parts", place))
    return Turn(role, tuple(_part(part, f"{place}.parts[{i}]", resolve) for i, part in parts))


def _part(wire: Any, place: str, resolve: Resolve | None) -> Part:
    fields = _fields(wire, place)
    kinds = [kind for kind in KINDS if kind in fields]
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
    try:
        return Media(mime, base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{place}: the data of a medium is base64 ({error})") from None


def _file(fields: Mapping[str, Any], place: str, resolve: Resolve | None) -> Media:
    uri = _text(fields, "fileUri", place)
    if resolve is None:
        raise ValueError(f"{place} names the file {uri!r}, and files are not read here")
    data = resolve(uri)
    mime = fields.get("mimeType")
    return Media(str(mime), data) if mime else named_media(uri.partition("#")[0], data)


def _fields(wire: Any, place: str) -> dict[str, Any]:
    """The fields of a JSON object under their camelCase names."""
    return {_camel(str(name)): value for name, value in _mapping(wire, place).items()}


def _mapping(wire: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(wire, Mapping):
        raise ValueError(f"{place} is a JSON object; got {type(wire).__name__}")
    return cast("Mapping[str, Any]", wire)


def _list(fields: Mapping[str, Any], name: str, place: str) -> list[Any]:
    value = fields.get(name)
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
