"""Calls of functions and their results as text: JSON, and the brackets of open families.

In brackets (FunctionGemma, Gemma 4) a call is `call:name{key:value,…}`, a result
`response:name{…}`; a string stands between two quotation marks that are control ids, so it needs
no escapes.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from castor.core.content import Call, Result

Kind = type[Call] | type[Result]
WORDS = {Call: "call", Result: "response"}
QUOTED = "\0"  # stands for a string while brackets are read
NAME = re.compile(r"(call|response):([^{\0]+)\{")
TOKEN = re.compile(r"\s*([{}\[\],:]|\0|[^{}\[\],:\0]+)")
PLAIN = re.compile(r"[\w.$-]+")  # a key that needs no quotation marks
DEEPEST = 64  # brackets within brackets; more are no call


def to_json(part: Call | Result) -> str:
    """A call or result as one JSON object."""
    body = part.args if isinstance(part, Call) else part.response
    fields: dict[str, Any] = {"name": part.name, "body": body}
    fields |= {"id": part.id} if part.id else {}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def from_json(kind: Kind, text: str) -> Call | Result | None:
    """The call or result that a text spells; None if it spells none, as a model's may."""
    try:
        fields: dict[str, Any] = json.loads(text)
        name, body, id = fields["name"], fields["body"], fields.get("id", "")
        if not all((isinstance(name, str), isinstance(body, dict), isinstance(id, str))):
            return None
        return kind(name, body, id)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def to_brackets(part: Call | Result) -> list[str | None]:
    """The texts of a call or result, and None for each quotation mark. The id is not written."""
    body = part.args if isinstance(part, Call) else part.response
    marks: list[str | None] = [f"{WORDS[type(part)]}:{part.name}", *_written(body)]
    return list(_joined(marks))


def from_brackets(kind: Kind, texts: Sequence[str]) -> Call | Result | None:
    """What was written, of the texts between the quotation marks; None if it is none."""
    if len(texts) % 2 == 0 or any(QUOTED in text for text in texts[::2]):
        return None
    found = NAME.match(QUOTED.join(texts[::2]))
    if found is None or found[1] != WORDS[kind]:
        return None
    strings = iter(texts[1::2])
    rest = QUOTED.join(texts[::2])[found.end() - 1 :]
    tokens = [match[1] for match in TOKEN.finditer(rest)]
    try:
        value, end = _value(tokens, 0, strings, depth=0)
        if end != len(tokens) or not isinstance(value, dict):
            return None
        return kind(found[2].strip(), cast("dict[str, Any]", value))
    except (ValueError, IndexError, StopIteration):
        return None


def _written(value: Any) -> Iterator[str | None]:
    if isinstance(value, str):
        yield from (None, value, None)
    elif isinstance(value, dict):
        yield "{"
        for n, (key, inner) in enumerate(sorted(cast("dict[str, Any]", value).items())):
            yield "," if n else ""
            yield from (key,) if PLAIN.fullmatch(key) else (None, key, None)
            yield ":"
            yield from _written(inner)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for n, inner in enumerate(cast("list[Any]", value)):
            yield "," if n else ""
            yield from _written(inner)
        yield "]"
    else:
        yield json.dumps(value)


def _joined(marks: Sequence[str | None]) -> Iterator[str | None]:
    text = ""
    for mark in marks:
        if mark is None:
            yield text
            yield None
            text = ""
        else:
            text += mark
    yield text


def _value(
    tokens: Sequence[str], at: int, strings: Iterator[str], *, depth: int
) -> tuple[Any, int]:
    """A value, and where the tokens go on after it."""
    if depth > DEEPEST:
        raise ValueError("too deep")
    token = tokens[at]
    if token == QUOTED:
        return next(strings), at + 1
    if token == "{":
        return _object(tokens, at + 1, strings, depth=depth)
    if token == "[":
        return _list(tokens, at + 1, strings, depth=depth)
    return json.loads(token), at + 1


def _object(
    tokens: Sequence[str], at: int, strings: Iterator[str], *, depth: int
) -> tuple[Any, int]:
    found: dict[str, Any] = {}
    while tokens[at] != "}":
        key = next(strings) if tokens[at] == QUOTED else tokens[at].strip()
        if tokens[at + 1] != ":":
            raise ValueError("a key without a value")
        found[key], at = _value(tokens, at + 2, strings, depth=depth + 1)
        at = _past_comma(tokens, at, "}")
    return found, at + 1


def _list(tokens: Sequence[str], at: int, strings: Iterator[str], *, depth: int) -> tuple[Any, int]:
    found: list[Any] = []
    while tokens[at] != "]":
        value, at = _value(tokens, at, strings, depth=depth + 1)
        found.append(value)
        at = _past_comma(tokens, at, "]")
    return found, at + 1


def _past_comma(tokens: Sequence[str], at: int, end: str) -> int:
    if tokens[at] == ",":
        return at + 1
    if tokens[at] != end:
        raise ValueError("no comma between two values")
    return at
