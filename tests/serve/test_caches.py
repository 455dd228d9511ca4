"""Cached contents: kept for the time that is asked, counted, and never told back."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from castor.serve import caches
from castor.serve.caches import cached
from castor.serve.refusal import Refusal
from castor.serve.resources import read_timestamp, timestamp
from castor.serve.store import HOUR, Store
from tests.serve.routed import Client, Clock, message

Ask = Callable[..., httpx.Response]
CONTENTS = [{"role": "user", "parts": [{"text": "a long story"}]}]
GONE = "CachedContent not found (or permission denied)"


def count(payload: dict[str, Any]) -> int:
    """Ten for each field; refuses what an engine would."""
    if payload.get("tools") == "none":
        raise ValueError("tools is a list")
    if payload["model"] == "models/strange":
        raise Refusal(404, "models/strange is not found")
    return 10 * len(payload)


@pytest.fixture
def ask(kept: Store) -> Ask:
    return Client(caches.routes(kept, count))


def made(ask: Ask, **fields: Any) -> dict[str, Any]:
    reply = ask("POST", "/cachedContents", json={"model": "m", "contents": CONTENTS, **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()


def lifetime_s(cache: dict[str, Any]) -> float:
    seconds = read_timestamp(cache["expireTime"]) - read_timestamp(cache["updateTime"])
    return round(seconds, 2)


def test_a_cache_is_told_without_its_contents(ask: Ask) -> None:
    cache = made(ask, displayName="Story", system_instruction={"parts": [{"text": "Be brief."}]})
    assert cache == {
        "name": cache["name"],
        "model": "models/m",
        "displayName": "Story",
        "createTime": cache["createTime"],
        "updateTime": cache["createTime"],
        "expireTime": cache["expireTime"],
        "usageMetadata": {"totalTokenCount": 30},
    }
    assert ask("GET", f"/{cache['name']}").json() == cache


def test_what_is_cached_comes_back_as_it_was_sent(kept: Store, ask: Ask) -> None:
    tools = [{"function_declarations": [{"name": "f"}]}]
    name = made(ask, tools=tools, tool_config={"a_b": 1}, other=1)["name"]
    assert cached(kept, name) == {
        "contents": CONTENTS,
        "tools": tools,
        "toolConfig": {"a_b": 1},
    }


@pytest.mark.parametrize("model", ["", "m", "models/m"])
def test_a_cache_serves_the_model_that_it_was_made_for(kept: Store, ask: Ask, model: str) -> None:
    name = made(ask)["name"].removeprefix("cachedContents/")
    assert cached(kept, name, model=model) == {"contents": CONTENTS}


def test_a_cache_serves_no_other_model(kept: Store, ask: Ask) -> None:
    with pytest.raises(ValueError, match=r"\(models/n\) and CachedContent \(models/m\) has to be"):
        cached(kept, made(ask)["name"], model="models/n")


@pytest.mark.parametrize(
    ("told", "seconds"), [({}, 3600), ({"ttl": "60s"}, 60), ({"ttl": "1.5s"}, 1.5)]
)
def test_a_cache_lives_an_hour_or_as_long_as_is_asked(
    ask: Ask, told: dict[str, str], seconds: float
) -> None:
    assert lifetime_s(made(ask, **told)) == seconds


def test_a_cache_lives_until_the_time_that_is_asked(opened: tuple[Store, Clock], ask: Ask) -> None:
    moment = timestamp(opened[1].now + 99)
    assert made(ask, expireTime=moment)["expireTime"] == moment


def test_an_expired_cache_is_not_found(opened: tuple[Store, Clock], ask: Ask) -> None:
    kept, clock = opened
    name = made(ask, ttl="60s")["name"]
    clock.now += 60
    assert message(ask("GET", f"/{name}")) == GONE
    with pytest.raises(LookupError, match="there is no cachedContents/"):
        cached(kept, name)
    kept.clean()
    with kept.read() as rows:
        assert rows.execute("SELECT COUNT(*) FROM caches").fetchone()[0] == 0


@pytest.mark.parametrize("body", [{"ttl": "9s"}, {"ttl": "9s", "name": "cachedContents/x"}])
def test_a_cache_can_be_given_more_time_or_less(ask: Ask, body: dict[str, str]) -> None:
    cache = made(ask)
    changed = ask("PATCH", f"/{cache['name']}", json=body).json()
    assert lifetime_s(changed) == 9
    assert changed["createTime"] == cache["createTime"] < changed["updateTime"]


@pytest.mark.parametrize("body", [{}, {"ttl": "9s", "model": "n"}, {"displayName": "x"}])
def test_nothing_else_of_a_cache_can_be_changed(ask: Ask, body: dict[str, str]) -> None:
    reply = ask("PATCH", f"/{made(ask)['name']}", json=body)
    assert (reply.status_code, message(reply)[:29]) == (400, "Only ttl or expireTime of a C")


def test_a_deleted_cache_is_gone(ask: Ask) -> None:
    name = made(ask)["name"]
    reply = ask("DELETE", f"/{name}")
    assert (reply.status_code, reply.json()) == (200, {})
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"ttl": "9s"})):
        reply = ask(method, f"/{name}", json=body)
        assert (reply.status_code, message(reply)) == (403, GONE)


def test_pages_of_a_list_hold_every_live_cache_newest_first(
    opened: tuple[Store, Clock], ask: Ask
) -> None:
    names = [made(ask)["name"] for _ in range(3)]
    made(ask, ttl="1s")
    opened[1].now += 1
    first = ask("GET", "/cachedContents", params={"pageSize": 2}).json()
    query = {"pageToken": first["nextPageToken"]}
    second = ask("GET", "/cachedContents", params=query).json()
    pages = first["cachedContents"] + second["cachedContents"]
    assert [cache["name"] for cache in pages] == names[::-1]
    assert "nextPageToken" not in second


def test_a_list_of_no_caches_is_empty(ask: Ask) -> None:
    assert ask("GET", "/cachedContents").json() == {}


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        ({"model": ""}, 400, "* CreateCachedContentRequest.model: model is required"),
        ({"contents": []}, 400, "A CachedContent holds one or more of contents, systemInstr"),
        ({"ttl": "0s"}, 400, "A duration is written like \"3600s\" and is above 0; got '0s'"),
        ({"ttl": 60}, 400, "ttl is a string; got 60"),
        ({"expireTime": "2001-01-01T00:00:00Z"}, 400, "expireTime 2001-01-01T00:00:00Z is in the"),
        ({"expire_time": "soon"}, 400, "A time is written like"),
        ({"ttl": "1s", "expireTime": "2099-01-01T00:00:00Z"}, 400, "ttl and expireTime are two"),
        ({"tools": "none"}, 400, "tools is a list"),
        ({"model": "strange"}, 404, "models/strange is not found"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(
    ask: Ask, told: dict[str, Any], code: int, said: str
) -> None:
    reply = ask("POST", "/cachedContents", json={"model": "m", "contents": CONTENTS, **told})
    assert (reply.status_code, message(reply)[: len(said)]) == (code, said)


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"{"])
def test_a_body_that_is_no_object_is_refused(ask: Ask, body: bytes) -> None:
    reply = ask("POST", "/cachedContents", content=body)
    assert message(reply).startswith("Invalid JSON payload received.")


def test_caches_outlive_the_process(kept: Store, ask: Ask) -> None:
    name = made(ask, ttl=f"{int(HOUR)}s")["name"]
    again = Store(kept.folder, clock=kept.now)
    assert cached(again, name) == {"contents": CONTENTS}
