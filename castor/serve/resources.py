"""What files, caches and batches have in common on the wire: bodies, times, ids and pages."""

import base64
import binascii
import re
import secrets
import sqlite3
import string
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from starlette.requests import Request
from starlette.responses import JSONResponse

from castor.serve.incoming import json_object, read_body
from castor.serve.refusal import bad
from castor.serve.store import Store

BODY_BYTES = 100 << 20
ALPHABET = string.ascii_lowercase + string.digits  # no dash: clients cut ids in URIs at one
DURATION = re.compile(r"([0-9]+(?:\.[0-9]{1,9})?)s")
LAST_YEAR = 9998  # so that no time zone leads behind what can be written


@runtime_checkable
class Entry(Protocol):
    """What a list holds."""

    @property
    def name(self) -> str: ...

    @property
    def created(self) -> float: ...

    @property
    def wire(self) -> dict[str, Any]: ...


class Page(NamedTuple):
    """A stretch of a list, newest first."""

    size: int
    created: float  # only what is older, or as old and of a lower name
    name: str


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object that a request carries; an empty body is an empty object.

    Raises:
        Refusal: it is something else, or longer than BODY_BYTES.
    """
    return json_object(await read_body(request, limit=BODY_BYTES))


def as_object(value: Any, place: str) -> dict[str, Any]:
    """A JSON object; none at all counts as an empty one.

    Raises:
        Refusal: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad(f"{place} is a JSON object; got {type(value).__name__}")
    return cast("dict[str, Any]", value)


def field(data: dict[str, Any], name: str) -> Any:
    """A field by its camelCase name, however it was written; None if it is not there."""
    return data.get(name, data.get(re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", name)))


def text_field(data: dict[str, Any], name: str) -> str:
    """A field that is text; "" if it is not there.

    Raises:
        Refusal: it is something else.
    """
    value = field(data, name)
    if value is not None and not isinstance(value, str):
        raise bad(f"{name} is a string; got {value!r}")
    return value or ""


def new_id(characters: int) -> str:
    """Lower-case letters and digits; 24 of them are more than anyone can guess."""
    return "".join(secrets.choice(ALPHABET) for _ in range(characters))


def timestamp(seconds: float) -> str:
    """A time since 1970 as the API writes it."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_timestamp(text: str) -> float:
    """Seconds since 1970.

    Raises:
        Refusal: it is no time in the form of RFC 3339.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise bad(f'A time is written like "2030-01-31T23:59:59Z"; got {text!r}')
    if moment.year > LAST_YEAR:
        raise bad(f"A time is in the year {LAST_YEAR} at the latest; got {text!r}")
    return moment.timestamp()


def read_duration(text: str) -> float:
    """Seconds.

    Raises:
        Refusal: it is no duration of the API's form, or one of no length.
    """
    found = DURATION.fullmatch(text)
    seconds = float(found[1]) if found else 0.0
    if not 0 < seconds < 1e10:
        raise bad(f'A duration is written like "3600s" and is above 0; got {text!r}')
    return seconds


def page_of(request: Request, *, usual: int, most: int) -> Page:
    """What a list request asks for; more than `most` means `most`.

    Raises:
        Refusal: its pageSize or pageToken is not one.
    """
    query = dict(request.query_params)
    size, token = field(query, "pageSize") or "0", field(query, "pageToken") or ""
    if not re.fullmatch(r"\d{1,9}", size):
        raise bad(f"pageSize is a whole number from 0; got {size!r}")
    created, name = _read_token(token) if token else (float("inf"), "")
    return Page(min(int(size) or usual, most), created, name)


def newest(store: Store, table: str, page: Page, *, expired: bool = False) -> list[sqlite3.Row]:
    """The rows of a page, and one more if there is one."""
    query = f"""SELECT * FROM {table} WHERE (created, name) < (?, ?) AND expires > ?
                ORDER BY created DESC, name DESC LIMIT ?"""
    since = float("-inf") if expired else store.now()
    with store.read() as rows:
        return rows.execute(query, [page.created, page.name, since, page.size + 1]).fetchall()


def listing(key: str, entries: Sequence[Entry], page: Page) -> JSONResponse:
    """The reply to a list request, of the entries that `newest` gave."""
    if not entries:
        return JSONResponse({})
    shown = entries[: page.size]
    reply: dict[str, Any] = {key: [entry.wire for entry in shown]}
    if len(entries) > len(shown):
        token = f"{shown[-1].created!r} {shown[-1].name}".encode()
        reply["nextPageToken"] = base64.urlsafe_b64encode(token).decode().rstrip("=")
    return JSONResponse(reply)


def _read_token(token: str) -> tuple[float, str]:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        created, _, name = text.partition(" ")
        return float(created), name
    except (binascii.Error, ValueError):
        raise bad(f"pageToken {token!r} is not one that this server gave") from None
