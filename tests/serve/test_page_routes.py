"""The chat page as the server hands it out: its files, its policy, and ratings."""

from pathlib import Path
from typing import Any

import pytest

from castor.serve import page
from castor.serve.app import app
from castor.serve.service import Settings

from .driver import Client
from .fake_desk import FakeDesk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page of two files, and a secret beside them."""
    (tmp_path / "web/view").mkdir(parents=True)
    (tmp_path / "web/index.html").write_text("<title>Castor</title>")
    (tmp_path / "web/view/app.js").write_text("run()")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "web"


def client_with(folder: Path, **settings: Any) -> Client:
    return Client(app(FakeDesk(), Settings(**settings), more=page.routes(folder=folder)))


def test_the_page_and_its_files_have_a_policy_that_lets_nothing_else_in(folder: Path) -> None:
    client = client_with(folder, keys=frozenset({"k"}))
    for path, kind in (("/", "text/html"), ("/web/view/app.js", "text/javascript")):
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert response.headers["content-security-policy"] == page.POLICY
        assert response.headers["cache-control"] == "no-cache"


def test_a_file_that_has_not_changed_is_not_sent_again(folder: Path) -> None:
    client = client_with(folder)
    mark = client.get("/web/view/app.js").headers["etag"]
    again = client.get("/web/view/app.js", headers={"if-none-match": mark})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/web/none.js", "/web/../secret", "/web/%2e%2e/secret", "/web//secret", "/web/view"]
)
def test_what_is_no_file_of_the_page_is_not_there(folder: Path, path: str) -> None:
    response = client_with(folder).get(path)
    assert response.status_code == 404
    assert response.json()["error"]["status"] == "NOT_FOUND"


def test_the_page_of_the_package_is_whole() -> None:
    client = Client(app(FakeDesk(), Settings(), more=page.routes()))
    html = client.get("/").text
    assert "web/app.js" in html and client.get("/web/app.js").status_code == 200


def test_a_rating_is_kept_by_whoever_asked_for_it_and_needs_the_key() -> None:
    kept: list[Any] = []
    settings = Settings(keys=frozenset({"k"}))
    client = Client(app(FakeDesk(), settings, more=page.routes(rate=kept.append)))
    assert client.post("/feedback", json={"up": True}).status_code == 403
    told = client.post("/feedback", json={"up": True}, headers={"x-goog-api-key": "k"})
    assert told.json() == {} and kept == [{"up": True}]
    assert Client(app(FakeDesk(), Settings())).post("/feedback", json={}).status_code == 404
