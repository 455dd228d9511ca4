"""Who may come in: names, pages and keys."""

import pytest

from castor.serve.service import Settings

from .driver import GENERATE, HI, client_of, post


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8000", "localhost:80", "LOCALHOST", "[::1]:80", "a.localhost"),
        *("192.168.1.7:8000", "[fe80::1]", "mine.example:8000", "own.example."),
    ],
)
def test_names_of_this_machine_and_addresses_are_served(host: str) -> None:
    client = client_of(host="mine.example", allow_hosts=("own.example",))
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "[", "a:b:c"])
def test_other_names_are_refused_since_any_page_may_point_one_here(host: str) -> None:
    response = client_of().get("/health", headers={"host": host})
    assert response.status_code == 403
    assert "is not served here; start with --allow-host" in response.json()["error"]["message"]


def test_a_star_allows_every_name() -> None:
    client = client_of(allow_hosts=("*",))
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 200


def test_a_page_from_elsewhere_may_not_post_unless_its_origin_is_allowed() -> None:
    page = {"sec-fetch-site": "cross-site", "origin": "https://a.example"}
    response = client_of().post(GENERATE, json=HI, headers=page)
    assert response.status_code == 403
    assert response.json()["error"]["message"] == "Pages of https://a.example may not call this API"
    assert "access-control-allow-origin" not in response.headers
    allowed = client_of(origins=("https://a.example",)).post(GENERATE, json=HI, headers=page)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://a.example"
    assert "x-goog-upload-url" in allowed.headers["access-control-expose-headers"]
    assert client_of().get("/health", headers=page).status_code == 200


def test_the_same_site_needs_no_permission() -> None:
    post(client_of(), GENERATE, HI, **{"sec-fetch-site": "same-origin"})


@pytest.mark.parametrize("origins", [("https://a.example",), ("*",)])
def test_a_preflight_of_an_allowed_origin_is_told_what_it_may_send(origins: tuple[str]) -> None:
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    response = client_of(origins=origins, keys=frozenset({"k"})).request(
        "OPTIONS", GENERATE, headers=asked
    )
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] in ("https://a.example", "*")
    allowed = response.headers["access-control-allow-headers"]
    for name in ("x-goog-api-key", "x-goog-upload-offset", "x-server-timeout", "api-revision"):
        assert name in allowed


def test_a_preflight_of_another_origin_is_told_nothing() -> None:
    asked = {"origin": "https://b.example", "access-control-request-method": "POST"}
    response = client_of(origins=("https://a.example",)).request("OPTIONS", GENERATE, headers=asked)
    assert response.status_code == 204
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"x-goog-api-key": "good"}),
        ("?key=good", {}),
        ("", {"authorization": "Bearer good"}),
        ("", {"authorization": "bearer good"}),
        ("", {"authorization": "Token good"}),
        ("?access_token=good", {}),
    ],
)
def test_a_key_is_found_wherever_clients_put_it(query: str, headers: dict[str, str]) -> None:
    post(client_of(keys=frozenset({"good", "other"})), GENERATE + query, HI, **headers)


def test_without_keys_any_or_none_is_fine() -> None:
    post(client_of(), GENERATE, HI)
    post(client_of(), GENERATE, HI, **{"x-goog-api-key": "any"})


def test_a_wrong_key_is_told_as_google_tells_it() -> None:
    client = client_of(keys=frozenset({"good"}))
    response = client.post(GENERATE, json=HI, headers={"x-goog-api-key": "bad"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["message"] == "API key not valid. Please pass a valid API key."
    assert error["status"] == "INVALID_ARGUMENT"
    info, localized = error["details"]
    assert (info["reason"], info["domain"]) == ("API_KEY_INVALID", "googleapis.com")
    assert info["metadata"] == {"service": "generativelanguage.googleapis.com"}
    assert localized["@type"].endswith("LocalizedMessage")


def test_no_key_is_told_as_google_tells_it() -> None:
    response = client_of(keys=frozenset({"good"})).post(GENERATE, json=HI)
    assert response.status_code == 403
    error = response.json()["error"]
    assert error["status"] == "PERMISSION_DENIED"
    assert error["message"] == (
        "Method doesn't allow unregistered callers (callers without established identity). Please "
        "use API Key or other form of API consumer identity to call this API."
    )


def test_openai_clients_are_told_of_a_wrong_key_in_their_form() -> None:
    client = client_of(keys=frozenset({"good"}))
    response = client.post("/v1/chat/completions", headers={"authorization": "Bearer bad"})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"


def test_health_pages_and_upload_addresses_need_no_key() -> None:
    client = client_of(keys=frozenset({"good"}))
    assert client.get("/health").status_code == 200
    assert client.get("/").status_code == 404
    assert client.post("/upload/v1beta/files?upload_id=secret").status_code == 501
    assert client.post("/upload/v1beta/files").status_code == 403
    assert client.get("/metrics").status_code == 403


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"body_bytes": 0}, "body_bytes=0 lets no request in"),
        ({"keep_alive_s": 0.0}, "keep_alive_s=0.0 is not above 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**settings)


def test_keys_do_not_show_when_settings_are_printed() -> None:
    assert "secret" not in repr(Settings(keys=frozenset({"secret"})))
