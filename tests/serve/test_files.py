"""Files: what is told of them, pages of their list, how they end, what requests mean by them."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from castor.serve import files, uploads
from castor.serve.files import File, resolve
from castor.serve.resources import read_duration, read_timestamp, timestamp
from castor.serve.store import HOUR, Store
from tests.serve.routed import Client, Clock, message

Ask = Callable[..., httpx.Response]
GONE = "You do not have permission to access the File gone or it may not exist."


@pytest.fixture
def ask(kept: Store) -> Ask:
    return Client(files.routes(kept))


def upload(kept: Store, content: bytes = b"abc", **told: Any) -> File:
    begun = uploads.begin(kept, **{"mime": "text/plain", **told})
    uploads.append(kept, begun.id, 0, content)
    return uploads.finish(kept, begun.id)


def test_a_file_is_told_as_the_api_tells_it(kept: Store, ask: Ask) -> None:
    file = upload(kept, name="my-own", display_name="Mine")
    digest = hashlib.sha256(b"abc").hexdigest().encode()
    assert ask("GET", "/files/my-own").json() == {
        "name": "files/my-own",
        "displayName": "Mine",
        "mimeType": "text/plain",
        "sizeBytes": "3",
        "createTime": timestamp(file.created),
        "updateTime": timestamp(file.created),
        "expirationTime": timestamp(file.created + 48 * HOUR),
        "sha256Hash": base64.b64encode(digest).decode(),
        "uri": "https://generativelanguage.googleapis.com/v1beta/files/my-own",
        "state": "ACTIVE",
        "source": "UPLOADED",
    }


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_file_that_is_not_there_is_none_of_the_callers_business(ask: Ask, method: str) -> None:
    reply = ask(method, "/files/gone")
    assert (reply.status_code, message(reply)) == (403, GONE)


def test_a_deleted_file_is_gone_at_once(kept: Store, ask: Ask) -> None:
    upload(kept, name="gone")
    reply = ask("DELETE", "/files/gone")
    assert (reply.status_code, reply.json()) == (200, {})
    assert message(ask("GET", "/files/gone")) == GONE


def test_a_file_ends_after_48_hours_and_its_name_is_free_again(
    opened: tuple[Store, Clock], ask: Ask
) -> None:
    kept, clock = opened
    upload(kept, name="gone")
    clock.now += 48 * HOUR
    assert message(ask("GET", "/files/gone")) == GONE
    assert ask("GET", "/files").json() == {}
    assert upload(kept, b"again", name="gone").size == 5


def test_pages_of_a_list_hold_every_file_once_newest_first(kept: Store, ask: Ask) -> None:
    made = [upload(kept, bytes([i])).name for i in range(7)]
    seen: list[str] = []
    token = ""
    while True:
        page = ask("GET", "/files", params={"pageSize": 3, "pageToken": token}).json()
        seen += [file["name"] for file in page["files"]]
        token = page.get("nextPageToken")
        if token is None:
            break
    assert seen == made[::-1]


def test_a_page_has_ten_files_unless_asked_and_a_hundred_at_most(kept: Store, ask: Ask) -> None:
    for _ in range(101):
        upload(kept)
    assert len(ask("GET", "/files").json()["files"]) == 10
    assert len(ask("GET", "/files", params={"page_size": 5000}).json()["files"]) == 100


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"pageSize": "many"}, "pageSize is a whole number from 0; got 'many'"),
        ({"pageSize": "-1"}, "pageSize is a whole number from 0; got '-1'"),
        ({"pageToken": "§"}, "pageToken '§' is not one that this server gave"),
        ({"pageToken": "AAAA"}, "pageToken 'AAAA' is not one that this server gave"),
    ],
)
def test_a_page_that_cannot_be_is_refused(ask: Ask, query: dict[str, str], said: str) -> None:
    reply = ask("GET", "/files", params=query)
    assert (reply.status_code, message(reply)) == (400, said)


def test_a_generated_file_can_be_downloaded(kept: Store, ask: Ask) -> None:
    content = bytes(range(256)) * 9000  # more than one piece
    file = uploads.generated(kept, [content], mime="video/mp4")
    assert file.wire["downloadUri"] == f"{file.wire['uri']}:download?alt=media"
    reply = ask("GET", f"/{file.name}:download", params={"alt": "media"})
    assert reply.content == content
    assert reply.headers["content-type"] == "video/mp4"
    assert reply.headers["content-length"] == str(len(content))


def test_an_uploaded_file_cannot_be_downloaded(kept: Store, ask: Ask) -> None:
    upload(kept, name="mine")
    reply = ask("GET", "/files/mine:download")
    assert reply.status_code == 400
    assert message(reply) == "File files/mine was uploaded; only generated files can be downloaded."


def test_a_download_whose_bytes_are_gone_is_refused(kept: Store, ask: Ask) -> None:
    file = uploads.generated(kept, [b"x"], mime="text/plain", name="gone")
    kept.blob(file.sha256).unlink()
    assert message(ask("GET", "/files/gone:download")) == GONE


@pytest.mark.parametrize(
    "uri",
    [
        "files/mine-1",
        "https://generativelanguage.googleapis.com/v1beta/files/mine-1",
        "http://127.0.0.1:8080/v1/files/mine-1",
        "https://host/v1beta/files/mine-1?alt=media",
    ],
)
def test_any_uri_that_ends_in_a_files_name_means_it(kept: Store, uri: str) -> None:
    upload(kept, name="mine-1")
    assert resolve(kept, uri) == ("text/plain", b"abc")


@pytest.mark.parametrize("uri", ["", "mine", "files/", "files/../castor.db", "myfiles/mine"])
def test_other_uris_mean_no_file(kept: Store, uri: str) -> None:
    upload(kept, name="mine")
    with pytest.raises(LookupError, match="there is no file"):
        resolve(kept, uri)


def test_times_are_written_with_microseconds_and_read_with_any_zone() -> None:
    assert timestamp(1_800_000_000.25) == "2027-01-15T08:00:00.250000Z"
    for text in ("2027-01-15T08:00:00.250Z", "2027-01-15T10:00:00.250000000+02:00"):
        assert read_timestamp(text) == 1_800_000_000.25


@pytest.mark.parametrize("text", ["", "tomorrow", "2027-01-15T08:00:00", "2027-13-01T00:00:00Z"])
def test_a_time_without_a_zone_or_sense_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="A time is written like"):
        read_timestamp(text)


def test_durations_are_seconds() -> None:
    assert [read_duration(text) for text in ("60s", "3.5s", "0.000000001s")] == [60, 3.5, 1e-9]


@pytest.mark.parametrize("text", ["", "60", "0s", "-5s", "1m", "1e3s", "99999999999s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(Exception, match="A duration is written like"):
        read_duration(text)
