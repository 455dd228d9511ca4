"""The whole server put together: what is kept is found by what asks for it."""

import errno
import json
import socket
from pathlib import Path

import pytest

from castor.serve.run import Place, listening, whole
from castor.serve.service import Settings
from castor.serve.store import Store

from .driver import GENERATE, HI, Client, post
from .fake_desk import FakeDesk

MODEL = "models/castor-fake"


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


@pytest.fixture
def client(desk: FakeDesk, tmp_path: Path) -> Client:
    inside, _ = whole(desk, Settings(), Store(tmp_path))
    return Client(inside)


def test_a_cached_prefix_comes_before_what_is_asked(client: Client, desk: FakeDesk) -> None:
    body = {"model": MODEL, "ttl": "60s", "contents": [{"role": "user", "parts": [{"text": "a"}]}]}
    name = post(client, "/v1beta/cachedContents", body)["name"]
    post(client, GENERATE, {**HI, "cachedContent": name})
    (turn,) = desk.asks[-1].document.turns
    assert turn.parts[0].text == "ahi"
    other = client.post(GENERATE, json={**HI, "cachedContent": "cachedContents/none"})
    assert other.status_code == 403


def test_an_uploaded_file_is_seen(client: Client, desk: FakeDesk) -> None:
    told = client.post(
        "/upload/v1beta/files?uploadType=media",
        content=b"note",
        headers={"content-type": "text/plain", "x-goog-upload-protocol": "raw"},
    ).json()
    uri = told["file"]["uri"]
    part = {"fileData": {"fileUri": uri, "mimeType": "text/plain"}}
    post(client, GENERATE, {"contents": [{"parts": [part, {"text": "!"}]}]})
    assert "note" in desk.asks[-1].document.turns[-1].parts[0].text


def test_a_batch_for_another_model_is_refused(client: Client) -> None:
    body = {"batch": {"inputConfig": {"requests": {"requests": [{"request": HI}]}}}}
    told = client.post("/v1beta/models/other:batchGenerateContent", json=body)
    assert told.status_code == 404
    assert "models/other is not found" in told.json()["error"]["message"]


def test_a_cache_for_another_model_is_refused(client: Client) -> None:
    body = {"model": "models/other", "contents": HI["contents"]}
    told = client.post("/v1beta/cachedContents", json=body)
    assert told.status_code == 404
    assert "models/other is not found" in told.json()["error"]["message"]


def test_ratings_are_lines_that_can_be_read_again(client: Client, tmp_path: Path) -> None:
    for rating in ({"up": True, "text": "schön"}, {"up": False}):
        assert post(client, "/feedback", rating) == {}
    lines = (tmp_path / "feedback.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"up": True, "text": "schön"}, {"up": False}]


def test_a_taken_port_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port}: .* Choose another --port"):
            listening(Place(tmp_path, port=port))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone has it")
def test_who_never_reads_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("castor.serve.run.UNREAD_S", 1)
    with listening(Place(tmp_path, port=0)) as bound, socket.socket() as client:
        bound.listen()
        client.connect(bound.getsockname())
        server, _ = bound.accept()
        server.settimeout(60)
        with server, pytest.raises(OSError, match="timed out") as told:
            while True:
                server.send(bytes(1 << 20))
        assert told.value.errno == errno.ETIMEDOUT  # not the test's own patience
