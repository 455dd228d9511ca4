"""Errors as clients read them: a Gemini or an OpenAI object, `error` always its first key."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Literal

from castor.sample.ask import Busy, Failed, Late

Form = Literal["gemini", "openai", "interactions"]
Style = Form | Literal["array"]  # array: a Gemini object as a list of one

NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "INVALID_ARGUMENT",
    409: "ALREADY_EXISTS",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
RPC = "type.googleapis.com/google.rpc."


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str = "",
        details: tuple[dict[str, Any], ...] = (),
        wait_s: float | None = None,
        reason: str | None = None,
        allowed: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details
        self.status = status or NAMES.get(code, "UNKNOWN")
        self.wait_s = wait_s  # when to come again
        self.reason = reason  # the `code` of OpenAI's form
        self.allowed = allowed  # methods of the path that has not this one

    def told(self, form: Form) -> dict[str, Any]:
        """The object that tells it."""
        if form == "interactions":
            code = "invalid_request" if self.code == 400 else self.status.lower()
            return {"error": {"code": code, "message": self.message}}
        if form == "openai":
            kind = OPENAI_TYPES.get(self.code)
            kind = kind or ("server_error" if self.code >= 500 else "invalid_request_error")
            told = {"message": self.message, "type": kind, "param": None, "code": self.reason}
            return {"error": told}
        told = {"code": self.code, "message": self.message, "status": self.status}
        return {"error": told | ({"details": list(self.details)} if self.details else {})}


def encoded(refusal: Refusal, style: Style) -> bytes:
    """The JSON that tells it, all ASCII."""
    told = [refusal.told("gemini")] if style == "array" else refusal.told(style)
    return json.dumps(told).encode("ascii")


def headers(refusal: Refusal) -> dict[str, str]:
    """What goes with it: when to come again, or which methods there are."""
    wait_s, allowed = refusal.wait_s, ", ".join(refusal.allowed)
    told = {} if wait_s is None else {"retry-after": str(max(1, round(wait_s)))}
    return told | ({"allow": allowed} if allowed else {})


def status(refusal: Refusal, style: Style) -> int:
    """The HTTP status that it is told with."""
    return 401 if style == "openai" and refusal.reason == "invalid_api_key" else refusal.code


def of(error: Exception) -> Refusal:
    """What an error of the engine says to a client; one that is none of its kinds is INTERNAL."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Busy):
        delay = {"@type": f"{RPC}RetryInfo", "retryDelay": f"{max(1, round(error.wait_s))}s"}
        message = f"The server is busy: {error}"
        return Refusal(503, message, details=(delay,), wait_s=error.wait_s)
    if isinstance(error, Late):
        return Refusal(504, "Deadline expired before operation could complete.")
    if isinstance(error, Failed):
        return Refusal(500, f"An internal error has occurred: {error}")
    return Refusal(500, "An internal error has occurred. The server's log says more.")


def of_status(code: int, path: str, method: str) -> Refusal:
    """What the router has no answer to."""
    if code == 404:
        return Refusal(404, f"There is no {path} here.")
    if code == 405:
        return no_method(path, method, ())
    return Refusal(code, HTTPStatus(code).phrase)


def no_method(path: str, method: str, allowed: Sequence[str]) -> Refusal:
    """A path that there is, but not with this method."""
    return Refusal(405, f"{path} does not take {method}.", allowed=allowed)


def bad(message: str) -> Refusal:
    """A request that says what it may not."""
    return Refusal(400, message)


def unsupported(what: str) -> Refusal:
    """A part of the API that this server leaves out, where ignoring it would change the meaning."""
    return Refusal(400, f"{what} is not supported by this server")


def no_file(name: str) -> Refusal:
    """A file that is not there, or not for this caller."""
    return Refusal(
        403, f"You do not have permission to access the File {name} or it may not exist."
    )


def bad_key() -> Refusal:
    """A key that is not one of the server's."""
    message = "API key not valid. Please pass a valid API key."
    info = {
        "@type": f"{RPC}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    localized = {"@type": f"{RPC}LocalizedMessage", "locale": "en-US", "message": message}
    return Refusal(400, message, details=(info, localized), reason="invalid_api_key")


def no_key() -> Refusal:
    """A request without a key, where the server asks for one."""
    return Refusal(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
        reason="invalid_api_key",
    )


def unknown_fields(fields: list[tuple[str, str]]) -> Refusal:
    """Fields that the API does not have: pairs of a place and a name."""

    def told(place: str, name: str) -> str:
        where = f" at '{place}'" if place else ""
        return f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'

    violations = [{"field": place, "description": told(place, name)} for place, name in fields]
    details = {"@type": f"{RPC}BadRequest", "fieldViolations": violations}
    return Refusal(400, "\n".join(told(*field) for field in fields), details=(details,))


@contextmanager
def refusals() -> Generator[None]:
    """What is wrong with a request's content (ValueError) becomes a Refusal with code 400."""
    try:
        yield
    except ValueError as error:
        raise bad(str(error)) from error
