"""Every request is counted and logged, and every error is JSON."""

import asyncio
import json
import logging
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from castor.sample.ask import Busy, Failed, Late
from castor.serve import edge
from castor.serve.app import app
from castor.serve.incoming import json_object
from castor.serve.refusal import Refusal
from castor.serve.service import Settings

from .driver import GENERATE, HI, STREAM, Client, Listener, client_of, refused
from .fake_desk import FakeDesk, says


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v1/nope", 404),
        ("PUT", "/v1/models", 405),
        ("DELETE", "/health", 405),
        ("POST", "/v1beta/models/x:predictLongRunning", 501),
        ("POST", "/v1beta/models/x:asyncBatchEmbedContent", 501),
        ("POST", "/v1/auth_tokens", 501),
        ("GET", "/v1/operations/1", 501),
        ("GET", "/v1/agents/x", 501),
        ("GET", "/v1/fileSearchStores", 501),
    ],
)
def test_what_is_not_there_is_told_in_json(method: str, path: str, code: int) -> None:
    response = client_of().request(method, path)
    assert response.status_code == code
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert list(response.json()) == ["error"] and error["code"] == code
    expected = {404: "NOT_FOUND", 405: "INVALID_ARGUMENT", 501: "UNIMPLEMENTED"}
    assert error["status"] == expected[code]


def test_openai_paths_that_are_not_there_are_told_in_their_form() -> None:
    response = client_of().post("/v1/completions", json={})
    assert response.status_code == 501
    assert response.json()["error"]["type"] == "server_error"
    bearer = {"authorization": "Bearer x"}
    assert client_of().get("/v1/files", headers=bearer).json()["error"]["param"] is None


def test_a_stream_without_events_tells_errors_in_a_list_of_one() -> None:
    response = client_of().post(STREAM.partition("?")[0], json={})
    (told,) = response.json()
    assert told["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"contents": [', "Invalid JSON payload received. Expecting value"),
        (b"[]", "Invalid JSON payload received. Root element must be an object."),
        (
            b'{"a": "\\ud800"}',
            "Invalid JSON payload received. A string holds a lone surrogate: \\ud800",
        ),
        (b'{"a": NaN}', "Invalid JSON payload received. NaN is no JSON number"),
        (b'{"a": 1e999}', "Invalid JSON payload received. 1e999 is too large for a number"),
        (b"\xff\xfe\xfd", "Invalid JSON payload received. "),
        (b"[" * 100_000, "Invalid JSON payload received. It is nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, message: str) -> None:
    response = client_of().post(GENERATE, content=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(message)


def test_an_empty_body_is_an_empty_object() -> None:
    assert json_object(b"") == json_object(b" \n") == {}


@pytest.mark.parametrize("told", [True, False])
def test_a_body_over_the_limit_is_refused_with_the_limit(told: bool) -> None:
    pieces = [b"x" * 60, b"x" * 60]
    given = {"content": b"".join(pieces)} if told else {"pieces": pieces}
    response = client_of(body_bytes=100).post(GENERATE, **given)
    assert response.status_code == 400
    assert "Request payload size exceeds the limit: 100 bytes" in response.text


def test_bodies_of_ninety_megabytes_come_in() -> None:
    text = "x" * (90 << 20)
    message = refused(client_of(), GENERATE, {"contents": [{"parts": [{"text": text}]}]})
    assert message == (
        f"The input token count ({90 << 20}) exceeds the maximum number of tokens allowed (1000)."
    )


def test_a_full_queue_is_told_with_when_to_come_again() -> None:
    response = client_of(FakeDesk(busy=Busy(5, 7.4))).post(GENERATE, json=HI)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "7"
    error = response.json()["error"]
    assert error["status"] == "UNAVAILABLE" and "limit: 0" not in error["message"]
    assert error["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
    ]


@pytest.mark.parametrize(
    ("error", "code", "status", "message"),
    [
        (Late(), 504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
        (Failed("no memory"), 500, "INTERNAL", "An internal error has occurred: no memory"),
        (KeyError("secret"), 500, "INTERNAL", "An internal error has occurred. The server's log"),
    ],
)
def test_errors_of_the_engine_are_told(
    error: Exception, code: int, status: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = client_of(FakeDesk(script=[says("a"), error])).post(GENERATE, json=HI)
    assert response.status_code == code
    assert response.json()["error"]["status"] == status
    assert response.json()["error"]["message"].startswith(message)
    failed = [r for r in caplog.records if r.name == "castor.serve.errors"]
    assert len(failed) == (code == 500)


def test_the_log_has_a_line_for_each_request_and_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "castor.serve.access")
    client = client_of()
    client.post(GENERATE + "?alt=json&key=SECRET", json=HI, headers={"x-goog-api-key": "SECRET"})
    client.post("/upload/v1/files?upload_id=SECRET")
    first, second = [r for r in caplog.records if r.name == "castor.serve.access"]
    line = json.loads(first.getMessage())
    assert line == vars(first)["request"]
    assert line["status"] == 200 and line["query"] == "alt=json&key=…"
    assert "SECRET" not in first.getMessage() + second.getMessage()


@pytest.mark.parametrize("query", ["key=S", "a=1&KEY=S&b=2", "access_token=S", "upload_id=S"])
def test_secrets_of_a_query_are_left_out(query: str) -> None:
    assert "S" not in edge.redacted(query).replace("KEY", "")


def test_every_response_has_the_headers_that_keep_browsers_careful() -> None:
    for response in (client_of().get("/health"), client_of().get("/nope")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["cache-control"] == "no-store"


def test_more_routes_see_one_spelling_and_may_set_their_own_headers() -> None:
    async def page(request: Request) -> Response:
        policy = {"content-security-policy": "default-src 'self'"}
        return JSONResponse(request.path_params, headers=policy)

    async def gone(request: Request) -> Response:
        raise Refusal(403, "not for you")

    more = [Route("/files/{id}", page), Route("/cachedContents/{id}", gone)]
    client = Client(app(FakeDesk(), Settings(), more=more))
    response = client.get("//v1beta/v1//files/abc")
    assert response.json() == {"id": "abc"}
    assert response.headers["content-security-policy"] == "default-src 'self'"
    assert client.get("/v1/cachedContents/x").json()["error"]["message"] == "not for you"


@pytest.mark.parametrize(
    ("query", "host", "sent"),
    [
        ("key=good", "127.0.0.1", ["websocket.accept", "websocket.close"]),
        ("", "127.0.0.1", ["websocket.accept", "websocket.close"]),
        ("key=good", "evil.example", ["websocket.close"]),
    ],
)
def test_sockets_pass_the_same_gates(query: str, host: str, sent: list[str]) -> None:
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        told.append(message)

    settings = Settings(keys=frozenset({"good"}))
    served = app(FakeDesk(), settings, more=[WebSocketRoute("/ws/live", live)])
    listener = Listener(f"////ws/live?{query}", host=host)
    asyncio.run(served(listener.scope | {"type": "websocket"}, receive, send))
    assert [message["type"] for message in told] == sent
    if not query or host != "127.0.0.1":
        assert told[-1]["code"] == 1008 and 0 < len(told[-1]["reason"].encode()) <= 123


def test_metrics_count_what_was_asked_and_said() -> None:
    client = client_of(FakeDesk(position=3))
    client.post(GENERATE, json=HI)
    client.get("/nope")
    client.request("BREW", "/health")
    lines = client.get("/metrics").text.splitlines()
    route = "/models/{model:path}:generateContent"
    assert f'castor_requests_total{{route="{route}",method="POST",status="200"}} 1' in lines
    assert 'castor_requests_total{route="none",method="GET",status="404"} 1' in lines
    assert 'castor_requests_total{route="/health",method="OTHER",status="405"} 1' in lines
    assert 'castor_tokens_total{kind="prompt"} 2' in lines
    assert 'castor_tokens_total{kind="reply"} 2' in lines
    assert 'castor_queue_position_bucket{le="2"} 0' in lines
    assert 'castor_queue_position_bucket{le="4"} 1' in lines
    assert "castor_first_token_seconds_count 1" in lines
    assert "castor_requests_open 0" in lines
    assert "castor_requests_waiting 0" in lines
    assert "castor_cancelled_total 0" in lines


def test_health_names_the_model() -> None:
    told: dict[str, Any] = client_of().get("/health").json()
    assert told == {"status": "ok", "model": "castor-fake", "queue": 0}


def test_health_is_loading_until_all_is_compiled() -> None:
    shares = iter([0.0, 0.40049, 1.0])
    client = Client(app(FakeDesk(position=1), Settings(), compiled=lambda: next(shares)))
    told = [
        (response.status_code, response.json()) for response in map(client.get, ["/health"] * 3)
    ]
    loading = {"status": "loading", "model": "castor-fake", "queue": 0}
    assert told == [
        (503, loading | {"compiled": 0.0}),
        (503, loading | {"compiled": 0.4}),
        (200, loading | {"status": "ok"}),
    ]


def test_requests_are_answered_while_others_compile() -> None:
    client = Client(app(FakeDesk(), Settings(), compiled=lambda: 0.4))
    assert client.post(GENERATE, json=HI).status_code == 200
    assert "castor_compiled_ratio 0.4" in client.get("/metrics").text.splitlines()
