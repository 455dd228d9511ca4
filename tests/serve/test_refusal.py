"""Errors in both forms; other texts of the catalogue are asserted where they arise."""

import json

import pytest

from castor.serve import refusal
from castor.serve.refusal import Refusal


def test_error_is_the_first_key_and_the_bytes_are_ascii() -> None:
    told = refusal.encoded(Refusal(404, "no é\u2028"), "gemini")
    assert (
        told == b'{"error": {"code": 404, "message": "no \\u00e9\\u2028", "status": "NOT_FOUND"}}'
    )
    assert refusal.encoded(Refusal(404, "x"), "array").startswith(b'[{"error": ')


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (400, "INVALID_ARGUMENT", "invalid_request_error"),
        (401, "UNAUTHENTICATED", "authentication_error"),
        (403, "PERMISSION_DENIED", "permission_error"),
        (404, "NOT_FOUND", "invalid_request_error"),
        (409, "ALREADY_EXISTS", "invalid_request_error"),
        (429, "RESOURCE_EXHAUSTED", "rate_limit_error"),
        (499, "CANCELLED", "invalid_request_error"),
        (500, "INTERNAL", "server_error"),
        (501, "UNIMPLEMENTED", "server_error"),
        (503, "UNAVAILABLE", "overloaded_error"),
        (504, "DEADLINE_EXCEEDED", "timeout_error"),
        (418, "UNKNOWN", "invalid_request_error"),
    ],
)
def test_every_code_has_a_name_in_both_apis(code: int, status: str, kind: str) -> None:
    told = Refusal(code, "x", reason="r")
    assert told.told("gemini")["error"]["status"] == status
    assert told.told("openai") == {
        "error": {"message": "x", "type": kind, "param": None, "code": "r"}
    }


def test_a_status_may_be_named() -> None:
    told = Refusal(400, "x", status="FAILED_PRECONDITION").told("gemini")
    assert told["error"]["status"] == "FAILED_PRECONDITION"


def test_what_is_wrong_with_content_is_a_refusal_and_a_refusal_passes() -> None:
    with pytest.raises(Refusal, match="^too long$") as caught, refusal.refusals():
        raise ValueError("too long")
    assert caught.value.code == 400
    with pytest.raises(Refusal) as passed, refusal.refusals():
        raise refusal.no_file("x")
    assert passed.value.code == 403


def test_details_come_last() -> None:
    told = json.loads(refusal.encoded(refusal.bad_key(), "gemini"))
    assert list(told["error"]) == ["code", "message", "status", "details"]


def test_other_statuses_of_the_router_say_what_http_says() -> None:
    told = refusal.of_status(415, "/x", "POST")
    assert (told.code, told.message) == (415, "Unsupported Media Type")
