"""Uploads on the wire: as clients send them, cut off and gone on with, and wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from castor.serve import upload_protocol
from castor.serve.files import resolve
from castor.serve.store import Store
from castor.serve.uploads import begin, find_upload, generated
from tests.serve.routed import Client, app_of, message, store_in

Ask = Callable[..., httpx.Response]
START = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return store_in(tmp_path, file_bytes=3 << 20, total_bytes=4 << 20)[0]


@pytest.fixture
def ask(kept: Store) -> Ask:
    return Client(upload_protocol.routes(kept))


def started(ask: Ask, *, body: Any = None, **headers: str) -> str:
    named = {f"x-goog-upload-header-{name.replace('_', '-')}": v for name, v in headers.items()}
    reply = ask("POST", "/upload/files", headers=START | named, json=body or {})
    assert reply.status_code == 200, reply.text
    return reply.headers["x-goog-upload-url"].partition("/upload/v1beta/")[2]


def sent(
    ask: Ask, path: str, command: str, *, offset: Any = 0, data: bytes = b""
) -> httpx.Response:
    headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
    return ask("POST", f"/upload/{path}", headers=headers, content=data)


def test_a_file_in_two_chunks_as_clients_send_it(kept: Store, ask: Ask) -> None:
    told = {"file": {"name": "files/two", "display_name": "Two", "mime_type": "a/b"}}
    path = started(ask, body=told, content_length="7", content_type="ignored/when-told")
    first = sent(ask, path, "upload", data=b"abcd")
    assert (first.status_code, first.content) == (200, b"")
    assert first.headers["x-goog-upload-status"] == "active"
    last = sent(ask, path, "upload, finalize", offset=4, data=b"efg")
    assert last.headers["x-goog-upload-status"] == "final"
    file = last.json()["file"]
    assert (file["displayName"], file["mimeType"], file["sizeBytes"]) == ("Two", "a/b", "7")
    assert resolve(kept, "files/two")[1] == b"abcdefg"


def test_chunks_go_to_the_disk_in_pieces(kept: Store, ask: Ask) -> None:
    content = bytes(range(256)) * 10_000  # 2.5 MB
    path = started(ask)
    name = sent(ask, path, "upload, finalize", data=content).json()["file"]["name"]
    assert resolve(kept, name)[1] == content


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({}, "http://here"),
        ({"host": "box:99"}, "http://box:99"),
        ({"x-forwarded-proto": "https", "x-forwarded-host": "out, in"}, "https://out"),
    ],
)
def test_the_address_of_an_upload_is_on_the_host_that_the_client_named(
    ask: Ask, headers: dict[str, str], origin: str
) -> None:
    url = ask("POST", "/upload/files", headers=START | headers).headers["x-goog-upload-url"]
    assert url.startswith(f"{origin}/upload/v1beta/files?upload_id=")


def test_a_wrong_offset_is_refused_and_changes_nothing(ask: Ask) -> None:
    path = started(ask)
    sent(ask, path, "upload", data=b"abc")
    reply = sent(ask, path, "upload", offset=2, data=b"cd")
    assert reply.status_code == 400
    assert message(reply).startswith("The bytes from 2 on came, but those from 3 on are due.")
    assert reply.headers["x-goog-upload-status"] == "final"  # or clients would send it thrice
    assert reply.headers["x-goog-upload-size-received"] == "3"
    assert sent(ask, path, "upload, finalize", offset=3, data=b"d").json()["file"]


def test_a_client_may_ask_how_far_it_got(ask: Ask) -> None:
    path = started(ask)
    sent(ask, path, "upload", data=b"abc")
    reply = sent(ask, path, "query")
    assert reply.headers["x-goog-upload-status"] == "active"
    assert reply.headers["x-goog-upload-size-received"] == "3"
    sent(ask, path, "finalize")
    assert sent(ask, path, "query").headers["x-goog-upload-status"] == "final"


def test_whoever_missed_the_last_reply_gets_it_again(ask: Ask) -> None:
    path = started(ask)
    first = sent(ask, path, "upload, finalize", data=b"abc")
    assert sent(ask, path, "upload, finalize", data=b"abc").json() == first.json()


def test_a_cancelled_upload_is_forgotten(kept: Store, ask: Ask) -> None:
    path = started(ask)
    sent(ask, path, "upload", data=b"abc")
    assert sent(ask, path, "cancel").headers["x-goog-upload-status"] == "cancelled"
    reply = sent(ask, path, "query")
    assert (reply.status_code, message(reply)[:24]) == (404, "There is no such upload:")
    assert not list((kept.folder / "parts").iterdir())


@pytest.mark.parametrize("ends", [True, False])
def test_a_client_that_is_cut_off_leaves_what_came(kept: Store, ask: Ask, ends: bool) -> None:
    path = started(ask, content_length="6")
    pieces = [b"a", b"", b"b"]
    parts = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    gone = {"type": "http.disconnect"}
    sends: list[Any] = []

    async def receive() -> dict[str, Any]:
        return parts.pop(0) if parts else gone

    async def send(part: Any) -> None:
        sends.append(part)

    command = b"upload, finalize" if ends else b"upload"
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/upload/files",
        "query_string": path.partition("?")[2].encode(),
        "headers": [(b"x-goog-upload-command", command), (b"x-goog-upload-offset", b"0")],
    }
    asyncio.run(app_of(upload_protocol.routes(kept))(scope, receive, send))
    assert sends[0]["status"] == 499
    assert sent(ask, path, "query").headers["x-goog-upload-size-received"] == "2"
    file = sent(ask, path, "upload, finalize", offset=2, data=b"cdef").json()["file"]
    assert resolve(kept, file["name"])[1] == b"abcdef"


def test_bytes_of_a_slow_sender_do_not_wait_in_memory(
    kept: Store, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_protocol, "DELAY_S", 0.0)
    upload, seen = begin(kept), []

    async def slow() -> AsyncIterator[bytes]:
        for i in range(3):
            yield bytes([i])
            seen.append(find_upload(kept, upload.id).received)

    asyncio.run(upload_protocol._receive(kept, upload.id, 0, slow()))
    assert seen == [1, 2, 3]


def test_an_upload_in_one_request_of_two_parts(kept: Store, ask: Ask) -> None:
    parts: dict[str, Any] = {
        "metadata": (None, '{"file": {"displayName": "P"}}', "application/json")
    }
    parts["file"] = ("name.txt", PNG, "image/png")
    reply = ask("POST", "/upload/files", params={"uploadType": "multipart"}, files=parts)
    file = reply.json()["file"]
    assert (file["displayName"], file["mimeType"]) == ("P", "image/png")
    assert resolve(kept, file["name"])[1] == PNG


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends before its last boundary"),
        (b"--b\r\n\r\n{}\r\n--b\r\n\r\nabc", "ends before its last boundary"),
        (b"--b\r\n\r\n[]\r\n--b\r\n\r\nabc\r\n--b--", "Root element must be an object"),
        (b"--b\r\n\r\n" + b" " * 70_000, "first part of a multipart upload may have 65536 bytes"),
    ],
)
def test_a_broken_multipart_body_leaves_nothing(
    kept: Store, ask: Ask, body: bytes, said: str
) -> None:
    headers = {
        "x-goog-upload-protocol": "multipart",
        "content-type": "multipart/related; boundary=b",
    }
    reply = ask("POST", "/upload/files", headers=headers, content=body)
    assert reply.status_code == 400 and said in message(reply)
    assert not list((kept.folder / "parts").iterdir())


@pytest.mark.parametrize("kind", ["", "multipart/related", "application/json; boundary=b"])
def test_a_multipart_upload_needs_a_boundary(ask: Ask, kind: str) -> None:
    headers = {"x-goog-upload-protocol": "multipart", "content-type": kind}
    assert "has the Content-Type multipart/related" in message(
        ask("POST", "/upload/files", headers=headers, content=b"x")
    )


def test_an_upload_of_bytes_alone(kept: Store, ask: Ask) -> None:
    headers = {"x-goog-upload-protocol": "raw", "content-type": "audio/wav"}
    file = ask("POST", "/upload/files", headers=headers, content=b"abc").json()["file"]
    assert resolve(kept, file["name"]) == ("audio/wav", b"abc")


@pytest.mark.parametrize(
    ("headers", "content", "mime"),
    [
        ({"x-goog-upload-file-name": "talk.pdf"}, b"x", "application/pdf"),
        ({}, PNG, "image/png"),
        ({}, b"who knows", "application/octet-stream"),
    ],
)
def test_an_unknown_mime_is_told_by_the_name_or_the_first_bytes(
    ask: Ask, headers: dict[str, str], content: bytes, mime: str
) -> None:
    url = ask("POST", "/upload/files", headers=START | headers).headers["x-goog-upload-url"]
    path = url.partition("/upload/v1beta/")[2]
    file = sent(ask, path, "upload, finalize", data=content).json()["file"]
    assert file["mimeType"] == mime


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        ({"name": "files/Upper"}, 400, "'files/Upper' is no file name: it is files/ and up to 40"),
        ({"name": "-x"}, 400, "no dash first or last"),
        ({"name": "files/" + "x" * 41}, 400, "is no file name"),
        ({"name": 7}, 400, "name is a string; got 7"),
        ({"displayName": "x" * 513}, 400, "A displayName has up to 512 characters; got 513"),
        ({"size_bytes": "lots"}, 400, "The size of a file is a number of bytes; got 'lots'"),
        ({"sizeBytes": (3 << 20) + 1}, 400, "A file has up to 3145728 bytes; this one has 3145729"),
        ({"name": "taken"}, 409, "File files/taken already exists."),
    ],
)
def test_a_file_that_cannot_be_is_refused_before_it_is_sent(
    kept: Store, ask: Ask, told: dict[str, Any], code: int, said: str
) -> None:
    generated(kept, [], mime="text/plain", name="taken")
    reply = ask("POST", "/upload/files", headers=START, json={"file": told})
    assert (reply.status_code, reply.headers["x-goog-upload-status"]) == (code, "final")
    assert said in message(reply)


def test_what_is_told_of_a_file_is_short(ask: Ask) -> None:
    reply = ask("POST", "/upload/files", headers=START, json={"file": {"x": "x" * 70_000}})
    assert message(reply) == "What is told of a file may have 65536 bytes"


def test_a_file_is_an_object(ask: Ask) -> None:
    reply = ask("POST", "/upload/files", headers=START, json={"file": "mine"})
    assert message(reply) == "file is a JSON object; got str"


def test_more_bytes_than_were_announced_are_refused(ask: Ask) -> None:
    path = started(ask, content_length="2")
    assert message(sent(ask, path, "upload", data=b"abc")) == "2 bytes are due and 3 came"


def test_fewer_bytes_than_were_announced_make_no_file(ask: Ask) -> None:
    path = started(ask, content_length="4")
    reply = sent(ask, path, "upload, finalize", data=b"abc")
    assert message(reply) == "4 bytes are due and 3 came"


def test_a_file_that_grows_too_large_is_refused(ask: Ask) -> None:
    reply = sent(ask, started(ask), "upload, finalize", data=bytes((3 << 20) + 1))
    assert message(reply).startswith("A file has up to 3145728 bytes")


@pytest.mark.parametrize(
    ("command", "offset", "said"),
    [
        ("", 0, "X-Goog-Upload-Command is one or two of upload, finalize, query, cancel; got ''"),
        ("start", 0, "got 'start'"),
        ("upload", "", "X-Goog-Upload-Offset is a number of bytes; got ''"),
        ("upload", "-1", "X-Goog-Upload-Offset is a number of bytes; got '-1'"),
    ],
)
def test_a_command_that_is_none_is_refused(ask: Ask, command: str, offset: Any, said: str) -> None:
    assert said in message(sent(ask, started(ask), command, offset=offset))


@pytest.mark.parametrize(("query", "given"), [("", ""), ("uploadType=resumable", None)])
def test_an_upload_of_an_unknown_protocol_is_refused(
    ask: Ask, query: str, given: str | None
) -> None:
    reply = ask("POST", f"/upload/files?{query}", content=b"x")
    said = f"X-Goog-Upload-Protocol is resumable, multipart or raw; got {given or query!r}"
    assert message(reply) == said


def test_an_upload_that_was_never_begun_is_refused(ask: Ask) -> None:
    assert sent(ask, "files?upload_id=guess", "upload", data=b"x").status_code == 404
