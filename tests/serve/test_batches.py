"""Batches: what is told of them, and how they are made, cancelled, deleted and listed."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from castor.serve import batches
from castor.serve.batches import CANCELLED, EXPIRED, FAILED, SUCCEEDED, close, create, operation
from castor.serve.files import delete, find
from castor.serve.refusal import Refusal
from castor.serve.store import HOUR, Store
from castor.serve.uploads import generated
from tests.serve.routed import Client, Clock, message

Ask = Callable[..., httpx.Response]
MAKE = "/models/m:batchGenerateContent"
REQUEST = {"contents": [{"parts": [{"text": "hello"}]}]}


def check(model: str) -> None:
    if model == "models/none":
        raise Refusal(404, "models/none is not found")


@pytest.fixture
def woken() -> list[None]:
    return []


@pytest.fixture
def ask(kept: Store, woken: list[None]) -> Ask:
    return Client(batches.routes(kept, lambda: woken.append(None), check))


def inline(*requests: Any, **fields: Any) -> dict[str, Any]:
    items = [{"request": request} for request in requests]
    return {"batch": {**fields, "inputConfig": {"requests": {"requests": items}}}}


def lines_in(kept: Store, name: str) -> list[bytes]:
    """The stored lines of a batch, by their places."""
    with kept.read() as rows:
        places = list(rows.execute("SELECT * FROM items WHERE batch = ? ORDER BY position", [name]))
    data = kept.blob(operation(kept, name).batch.requests).read_bytes()
    return [data[row["start"] : row["start"] + row["length"]] for row in places]


def test_a_new_batch_is_pending(ask: Ask, woken: list[None]) -> None:
    told = ask("POST", MAKE, json=inline(REQUEST, REQUEST, displayName="Two", priority="3")).json()
    assert told == {
        "name": told["name"],
        "metadata": {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "model": "models/m",
            "displayName": "Two",
            "createTime": told["metadata"]["createTime"],
            "updateTime": told["metadata"]["createTime"],
            "batchStats": {"requestCount": "2", "pendingRequestCount": "2"},
            "state": "BATCH_STATE_PENDING",
            "priority": "3",
            "name": told["name"],
        },
    }
    assert ask("GET", f"/{told['name']}").json() == told
    assert woken


def test_names_of_fields_may_be_written_in_either_way(kept: Store, ask: Ask) -> None:
    body = {"batch": {"display_name": "x", "input_config": {"requests": {"requests": [{}]}}}}
    told = ask("POST", MAKE, json=body).json()
    assert told["metadata"]["displayName"] == "x"
    file = generated(kept, [b"{}\n"], mime="jsonl")
    body = {"batch": {"input_config": {"file_name": file.name}}}
    assert ask("POST", MAKE, json=body).json()["metadata"]["inputConfig"] == {"fileName": file.name}


def test_a_tuned_model_has_batches_too(ask: Ask) -> None:
    told = ask("POST", "/tunedModels/a.b:batchGenerateContent", json=inline(REQUEST)).json()
    assert told["metadata"]["model"] == "models/a.b"


def test_inline_requests_are_kept_as_lines(kept: Store) -> None:
    name = create(kept, "models/m", inline({"a": 1}, {"b": "two\nlines"}))
    assert [json.loads(line)["request"] for line in lines_in(kept, name)] == [
        {"a": 1},
        {"b": "two\nlines"},
    ]


def test_lines_of_a_file_are_found_where_they_are(kept: Store) -> None:
    file = generated(kept, [b'\n{"a": 1}\r\n\n  \n{"b"', b': 2}\n{"c": 3}'], mime="jsonl")
    name = create(kept, "models/m", {"batch": {"inputConfig": {"fileName": file.name}}})
    assert [json.loads(line) for line in lines_in(kept, name)] == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_requests_stay_when_the_file_that_brought_them_is_deleted(kept: Store) -> None:
    file = generated(kept, [b'{"a": 1}'], mime="jsonl")
    name = create(kept, "models/m", {"batch": {"inputConfig": {"fileName": file.wire["uri"]}}})
    delete(kept, file.name)
    kept.clean()
    assert lines_in(kept, name) == [b'{"a": 1}']
    batches.delete(kept, name)
    assert not kept.blob(file.sha256).exists()


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ({}, 400, "batch.inputConfig has either fileName or requests"),
        ({"fileName": "files/x", "requests": {}}, 400, "has either fileName or requests"),
        ({"requests": {}}, 400, "batch.inputConfig.requests.requests is a list of requests"),
        ({"requests": {"requests": []}}, 400, "batch.inputConfig.requests holds no requests"),
        ({"fileName": "files/none"}, 403, "the File none or it may not exist"),
        ({"fileName": "none"}, 403, "the File none or it may not exist"),
        ({"fileName": "files/empty"}, 400, "files/empty holds no requests"),
        ({"fileName": "files/lost"}, 403, "the File files/lost or it may not exist"),
        ([], 400, "batch.inputConfig is a JSON object; got list"),
    ],
)
def test_a_batch_of_nothing_is_refused(
    kept: Store, ask: Ask, config: Any, code: int, said: str
) -> None:
    generated(kept, [b" \n\n"], mime="jsonl", name="empty")
    lost = generated(kept, [b"{}"], mime="jsonl", name="lost")
    kept.blob(lost.sha256).unlink()
    reply = ask("POST", MAKE, json={"batch": {"inputConfig": config}})
    assert reply.status_code == code
    assert said.removeprefix("the File files/") in message(reply)


def test_a_line_has_a_limit(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BODY_BYTES", 9)
    generated(kept, [b"123456789\n"], mime="jsonl", name="long")
    body = {"batch": {"inputConfig": {"fileName": "files/long"}}}
    with pytest.raises(Refusal, match="files/long: a line may have 9 bytes"):
        create(kept, "models/m", body)


def test_a_file_that_is_deleted_while_it_is_read_is_refused(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = generated(kept, [b"{}"], mime="jsonl", name="mine")

    def deleted(characters: int) -> str:
        delete(kept, file.name)
        return "x" * characters

    monkeypatch.setattr(batches, "new_id", deleted)
    with pytest.raises(Refusal, match="the File mine or it may not exist"):
        create(kept, "models/m", {"batch": {"inputConfig": {"fileName": file.name}}})


def test_a_priority_is_a_number(ask: Ask) -> None:
    reply = ask("POST", MAKE, json=inline(REQUEST, priority="high"))
    assert message(reply) == "batch.priority is a whole number; got 'high'"


def test_a_model_that_is_not_there_has_no_batches(ask: Ask) -> None:
    reply = ask("POST", "/models/none:batchGenerateContent", json=inline(REQUEST))
    assert (reply.status_code, message(reply)) == (404, "models/none is not found")


def test_cancelling_ends_a_batch_and_frees_its_requests(
    kept: Store, ask: Ask, woken: list[None]
) -> None:
    name = create(kept, "models/m", inline(REQUEST))
    reply = ask("POST", f"/{name}:cancel")
    assert (reply.status_code, reply.json(), len(woken)) == (200, {}, 1)
    told = ask("GET", f"/{name}").json()
    assert (told["done"], told["metadata"]["state"]) == (True, CANCELLED)
    assert told["error"] == {"code": 1, "message": "The batch was cancelled."}
    assert not list((kept.folder / "blobs").iterdir())


def test_cancelling_a_batch_that_is_over_changes_nothing(kept: Store, ask: Ask) -> None:
    name = create(kept, "models/m", inline(REQUEST))
    close(kept, name, FAILED)
    before = ask("GET", f"/{name}").json()
    assert ask("POST", f"/{name}:cancel").status_code == 200
    assert ask("GET", f"/{name}").json() == before


@pytest.mark.parametrize(
    ("state", "error", "told"),
    [
        (EXPIRED, None, {"code": 4, "message": "The batch was not answered in time."}),
        (FAILED, "It rained.", {"code": 13, "message": "It rained."}),
        (FAILED, None, {"code": 13, "message": "The batch failed."}),
    ],
)
def test_a_batch_that_came_to_nothing_says_why(
    kept: Store, state: str, error: str | None, told: dict[str, Any]
) -> None:
    name = create(kept, "models/m", inline(REQUEST))
    close(kept, name, state, error=error)
    assert operation(kept, name).wire["error"] == told


def test_a_deleted_batch_is_gone(kept: Store, ask: Ask) -> None:
    name = create(kept, "models/m", inline(REQUEST))
    reply = ask("DELETE", f"/{name}")
    assert (reply.status_code, reply.json()) == (200, {})
    for method, path in (("GET", name), ("DELETE", name), ("POST", f"{name}:cancel")):
        reply = ask(method, f"/{path}")
        assert (reply.status_code, message(reply)) == (404, f"{name} was not found.")
    assert not list((kept.folder / "blobs").iterdir())


def test_pages_of_a_list_hold_every_batch_newest_first(kept: Store, ask: Ask) -> None:
    names = [create(kept, "models/m", inline(REQUEST)) for _ in range(3)]
    close(kept, names[0], SUCCEEDED)
    first = ask("GET", "/batches", params={"pageSize": 2}).json()
    token = first["nextPageToken"]
    second = ask("GET", "/batches", params={"pageSize": 2, "pageToken": token}).json()
    listed = first["operations"] + second["operations"]
    assert [told["name"] for told in listed] == names[::-1]
    assert "nextPageToken" not in second


def test_a_batch_that_is_over_is_forgotten_after_30_days(opened: tuple[Store, Clock]) -> None:
    kept, clock = opened
    over, still = (create(kept, "models/m", inline(REQUEST)) for _ in range(2))
    close(kept, over, SUCCEEDED)
    clock.now += 31 * 24 * HOUR
    kept.clean()
    with pytest.raises(Refusal, match="was not found"):
        operation(kept, over)
    assert operation(kept, still).batch.ended is None


def test_a_file_of_requests_stays_an_ordinary_file(kept: Store) -> None:
    file = generated(kept, [b"{}"], mime="jsonl")
    name = create(kept, "models/m", {"batch": {"inputConfig": {"fileName": file.name}}})
    batches.delete(kept, name)
    assert kept.blob(find(kept, file.name).sha256).exists()
