"""Request bodies: read in pieces up to a limit, and their JSON."""

import json
import math
import re
from typing import Any, cast

from starlette.requests import Request

from castor.serve import refusal
from castor.serve.refusal import Refusal

SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")  # where half a pair may stand


async def read_body(request: Request, *, limit: int) -> bytes:
    """The whole body. What is over the limit is not kept.

    Raises:
        Refusal: it is longer than `limit` bytes.
        starlette.requests.ClientDisconnect: the client has gone.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        raise _too_long(limit)
    pieces: list[bytes] = []
    length = 0
    async for piece in request.stream():
        length += len(piece)
        if length > limit:
            raise _too_long(limit)
        pieces.append(piece)
    return b"".join(pieces)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is; an empty body is an empty object.

    Raises:
        Refusal: it is no JSON object.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(body, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        reason = "It is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise refusal.bad(f"Invalid JSON payload received. {reason}") from None
    if not isinstance(value, dict):
        raise refusal.bad("Invalid JSON payload received. Root element must be an object.")
    if SURROGATE.search(body):
        _check_unicode(value)
    return cast("dict[str, Any]", value)


def deadline_of(request: Request) -> float | None:
    """Seconds that the client waits for the whole reply (X-Server-Timeout), None = any.

    Raises:
        Refusal: it is no number above 0.
    """
    told = request.headers.get("x-server-timeout")
    if told is None:
        return None
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise refusal.bad(f"X-Server-Timeout is a number of seconds above 0; got {told!r}")
    return seconds


def _check_unicode(value: Any) -> None:
    """Half a pair of surrogates is no text, and nothing that is kept could hold it."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise refusal.bad(
            "Invalid JSON payload received. A string holds a lone surrogate: "
            f"\\u{ord(error.object[error.start]):04x}"
        ) from None


def _too_long(limit: int) -> Refusal:
    return refusal.bad(
        f"Request payload size exceeds the limit: {limit} bytes. "
        "Upload large files and refer to them."
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits} is too large for a number")
    return value
