"""Errors that clients match on, word for word, however a reply is asked for."""

from typing import Any, NamedTuple

import pytest

from castor.sample.ask import Busy

from .driver import GENERATE, HI, STREAM, client_of
from .fake_desk import FakeDesk

CALL = {"functionCall": {"name": "f", "args": {}}}
RESULT = {"functionResponse": {"name": "f", "response": {}}}
CACHED = HI | {"cachedContent": "cachedContents/abc"}
NO_CACHE_BESIDE = (
    "CachedContent can not be used with GenerateContent request setting system_instruction, tools "
    "or tool_config."
)


class Row(NamedTuple):
    """A request that is refused, and the words."""

    message: str
    body: Any = HI
    code: int = 400
    status: str = "INVALID_ARGUMENT"
    settings: dict[str, Any] = {}
    headers: dict[str, str] = {}
    desk: dict[str, Any] = {}
    model: str = "castor-fake"
    details: tuple[str, ...] = ()


def missing(name: str, *beside: str) -> Any:
    raise LookupError(name)


def talk(*turns: Any) -> Any:
    """Contents of turns by user and model, in turn."""
    roles = ("user", "model")
    return {"contents": [{"role": roles[i % 2], "parts": turn} for i, turn in enumerate(turns)]}


KEYS = {"keys": frozenset({"good"})}
ROWS = {
    "bad key": Row(
        "API key not valid. Please pass a valid API key.",
        settings=KEYS,
        headers={"x-goog-api-key": "bad"},
        details=("ErrorInfo", "LocalizedMessage"),
    ),
    "no key": Row(
        "Method doesn't allow unregistered callers (callers without established identity). Please "
        "use API Key or other form of API consumer identity to call this API.",
        code=403,
        status="PERMISSION_DENIED",
        settings=KEYS,
    ),
    "unknown model": Row(
        "models/nope is not found for API version v1beta, or is not supported for METHOD. Call "
        "ListModels to see the list of available models and their supported methods.",
        code=404,
        status="NOT_FOUND",
        model="nope",
    ),
    "unknown field": Row(
        "Invalid JSON payload received. Unknown name \"role\" at 'contents[0].parts': Cannot find "
        "field.",
        {"contents": [{"parts": {"text": "hi", "role": "user"}}]},
        settings={"strict": True},
        details=("BadRequest",),
    ),
    "too long": Row(
        "The input token count (1001) exceeds the maximum number of tokens allowed (1000).",
        talk([{"text": "x" * 1001}]),
    ),
    "role": Row(
        "Please use a valid role: user, model.",
        {"contents": [{"role": "boss", "parts": [{"text": "a"}]}]},
    ),
    "a call that answers nobody": Row(
        "Please ensure that function call turn comes immediately after a user turn or after a "
        "function response turn.",
        {"contents": [{"role": "model", "parts": [CALL]}]},
    ),
    "a result of no call": Row(
        "Please ensure that function response turn comes immediately after a function call turn.",
        talk([RESULT]),
    ),
    "results fewer than calls": Row(
        "Please ensure that the number of function response parts is equal to the number of "
        "function call parts of the function call turn.",
        talk([{"text": "a"}], [CALL, CALL], [RESULT]),
    ),
    "busy": Row(
        "The server is busy: 5 requests are waiting already; try again in 7 s",
        code=503,
        status="UNAVAILABLE",
        desk={"busy": Busy(5, 7.4)},
        details=("RetryInfo",),
    ),
    "missing file": Row(
        "You do not have permission to access the File x1 or it may not exist.",
        talk([{"fileData": {"fileUri": "https://a.example/v1beta/files/x1"}}]),
        code=403,
        status="PERMISSION_DENIED",
        settings={"resolve_file": missing},
    ),
    "missing cache": Row(
        "CachedContent not found (or permission denied)",
        CACHED,
        code=403,
        status="PERMISSION_DENIED",
        settings={"cached": missing},
    ),
    "cache and instruction": Row(NO_CACHE_BESIDE, CACHED | {"systemInstruction": "a"}),
    "cache and tools": Row(NO_CACHE_BESIDE, CACHED | {"tools": [{"functionDeclarations": []}]}),
    "cache and modes": Row(
        NO_CACHE_BESIDE, CACHED | {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}
    ),
    "nothing asked": Row("* GenerateContentRequest.contents: contents is not specified", {}),
    "nothing in the list": Row(
        "* GenerateContentRequest.contents: contents is not specified", {"contents": []}
    ),
}


@pytest.mark.parametrize("path", [GENERATE, STREAM, STREAM.partition("?")[0]])
@pytest.mark.parametrize("name", ROWS)
def test_each_error_of_the_catalogue_has_its_words(name: str, path: str) -> None:
    row = ROWS[name]
    client = client_of(FakeDesk(**row.desk), **row.settings)
    url = path.replace("castor-fake", row.model)
    response = client.post(url, json=row.body, headers=row.headers)
    told = response.json()
    if path.endswith(":streamGenerateContent"):  # an array is answered with one of one error
        (told,) = told
    assert list(told) == ["error"] and response.status_code == row.code
    error = told["error"]
    method = path.partition("?")[0].rpartition(":")[2]
    assert error["message"] == row.message.replace("METHOD", method)
    assert (error["code"], error["status"]) == (row.code, row.status)
    kinds = tuple(each["@type"].rpartition(".")[2] for each in error.get("details", ()))
    assert kinds == row.details


@pytest.mark.parametrize("path", [GENERATE, STREAM])
def test_who_is_told_to_come_again_is_told_when_and_no_word_that_means_never(path: str) -> None:
    response = client_of(FakeDesk(busy=Busy(5, 47.0))).post(path, json=HI)
    (delay,) = response.json()["error"]["details"]
    assert delay["retryDelay"] == "47s" and response.headers["retry-after"] == "47"
    assert not any(word in response.text for word in ("limit: 0", "PerDay", "Daily"))
