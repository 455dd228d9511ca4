"""What a client wants to see of a response: `fields=…` leaves out the rest, `prettyPrint=true`
spreads the JSON over lines.

Both are query parameters of every method of the Gemini API, also as `$fields` and `$prettyPrint`.
Every response here sends each JSON object in one piece, alone or as one message of a stream; so
streams stay streams. Errors are never cut.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from castor.serve.paths import fields_of

TOKEN = re.compile(r"[\w@$*-]+|[/.,()]|\S", re.ASCII)
END = "end of text"
SIGNS = ("/", ".", ",", "(", ")", END)
NAME = re.compile(r"[\w@$-]+|\*", re.ASCII)
OBJECT = re.compile(rb"(data: |\[|,\r\n|)(\{.*\})(\r\n\r\n|)", re.DOTALL)
TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass
class Wanted:
    """Fields of an object: all, or those that are named; "*" names each."""

    all: bool = False
    named: "dict[str, Wanted]" = field(default_factory=dict[str, "Wanted"])


def wanted_in(text: str) -> Wanted:
    """What `candidates(content/parts,finishReason),modelVersion` names: `/` or `.` goes one deeper,
    as do parentheses for several.

    Raises:
        ValueError: it is no list of fields.
    """
    whole = here = Wanted()
    parents, last = [whole], ","
    for sign in TOKEN.findall(text) + [END]:
        if (sign in SIGNS) == (last in ",/.(") or (last == ")" and sign in "/.("):
            raise _invalid(text)
        if sign in (",", ")", END) and last != ")":
            here.all = True
        if sign not in SIGNS:
            here = here.named.setdefault(_camel(sign, text), Wanted())
        elif sign == "(":
            parents.append(here)
        elif sign == ",":
            here = parents[-1]
        elif sign == ")":
            here = parents.pop()
        last = sign
        if not parents:
            raise _invalid(text)
    if len(parents) > 1:
        raise _invalid(text)
    return whole


def selected(value: Any, wanted: Wanted) -> Any:
    """The value with nothing but what is wanted; of a list, of each of its items."""
    if wanted.all:
        return value
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [selected(item, wanted) for item in items if isinstance(item, dict | list)]
    found: dict[str, Any] = {}
    for name, held in cast("dict[str, Any]", value).items():
        inner = wanted.named.get(name) or wanted.named.get("*")
        if inner is not None and (inner.all or isinstance(held, dict | list)):
            found[name] = selected(held, inner)
    return found


@dataclass(frozen=True)
class View:
    """How a client wants to see responses; None and false change nothing."""

    wanted: Wanted | None = None
    pretty: bool = False

    def __bool__(self) -> bool:
        return self.wanted is not None or self.pretty

    def of(self, body: bytes) -> bytes:
        """A piece of a body: an object, alone or framed as a message of a stream, or neither."""
        found = OBJECT.fullmatch(body)
        if found is None:
            return body
        value: dict[str, Any] = json.loads(found[2])
        if next(iter(value), "") == "error":
            return body
        alone = not found[1] and not found[3]
        if self.wanted is not None:
            value = selected(value, self.wanted)
        told = json.dumps(value, indent=2 if self.pretty and alone else None)
        return found[1] + told.encode("ascii") + found[3]


def view_of(query: bytes) -> View:
    """The view that a query string asks for.

    Raises:
        ValueError: it asks for what cannot be.
    """
    asked = fields_of(query)
    fields = asked.get("fields") or asked.get("$fields")
    pretty = asked.get("prettyPrint") or asked.get("$prettyPrint") or "false"
    if asked.get("alt") == "media":  # a file's bytes, whatever they are
        return View()
    if pretty.lower() not in TRUTH:
        raise ValueError(f"Invalid value at 'prettyPrint': {pretty!r} is neither true nor false")
    return View(wanted_in(fields) if fields else None, TRUTH[pretty.lower()])


class Viewed:
    """Sends a response as its client wants to see it."""

    def __init__(self, view: View, send: Send) -> None:
        self._view, self._send = view, send
        self._head: Message | None = None  # one that tells a length, until that is known
        self._plain = False  # whether it is sent as it is

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
            return
        if not self._plain:
            message = {**message, "body": self._view.of(message.get("body", b""))}
        if self._head is not None:
            head, self._head = self._head, None
            MutableHeaders(scope=head)["content-length"] = str(len(message["body"]))
            await self._send(head)
        await self._send(message)

    async def _start(self, message: Message) -> None:
        head = MutableHeaders(scope=message)
        kind = head.get("content-type", "").split(";")[0]
        known = kind in ("application/json", "text/event-stream")
        self._plain = message["status"] != 200 or not known
        if self._plain or "content-length" not in head:
            await self._send(message)
        else:
            self._head = message


def _camel(name: str, text: str) -> str:
    """`finishReason` of `finish_reason`: what responses are written in."""
    if NAME.fullmatch(name) is None:
        raise _invalid(text)
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _invalid(text: str) -> ValueError:
    return ValueError(
        f"Invalid value at 'fields': {text[:200]!r} is no list of fields such as "
        "candidates(content/parts,finishReason),modelVersion"
    )
