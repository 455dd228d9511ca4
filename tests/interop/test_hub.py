"""What is fetched from a hub, and what its refusals are in words."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from castor.interop.hub import Offer, offer, pull

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "gemma"}',
    "model.safetensors": b"weights" * 100,
    "consolidated.pth": b"another format",
    "README.md": b"---\nlicense: apache-2.0\n---\n",
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a pull needs."""

    asked: list[str] = []

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.asked.append(f"{self.command} {path}")
        if "/gated/" in path or path.endswith("/gated"):
            self.refuse(403, "GatedRepo")
        elif "maker/small" not in path:
            self.refuse(404, "RepoNotFound")
        elif "unknown" in path:
            self.refuse(404, "RevisionNotFound")
        elif path.startswith("/api/"):
            told = self.listed() if "/tree/" in path else self.told()
            self.send(json.dumps(told).encode(), {"Content-Type": "application/json"})
        else:
            content = FILES[path.rsplit("/", 1)[1]]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self.send(content, {"ETag": etag, "X-Repo-Commit": COMMIT})

    def told(self) -> dict[str, Any]:
        files = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
        card = {"license": "apache-2.0"}
        return {"id": "maker/small", "sha": COMMIT, "siblings": files, "cardData": card}

    def listed(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
            for name, data in FILES.items()
        ]

    def refuse(self, status: int, code: str) -> None:
        self.send(b"{}", {"X-Error-Code": code, "X-Error-Message": code}, status)

    def send(self, body: bytes, heads: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in (heads | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_offer_has_the_licence_the_commit_and_the_size_of_what_is_read(hub: str) -> None:
    size = sum(len(data) for name, data in FILES.items() if not name.endswith("pth"))
    assert offer("maker/small", endpoint=hub) == Offer("maker/small", "apache-2.0", COMMIT, size)


def test_only_what_is_read_is_fetched_and_only_once(hub: str, tmp_path: Path) -> None:
    found = offer("maker/small", endpoint=hub)
    pull(found, tmp_path / "small", endpoint=hub)
    there = {p.name: p.read_bytes() for p in (tmp_path / "small").iterdir() if p.is_file()}
    assert there == {name: data for name, data in FILES.items() if not name.endswith("pth")}
    Hub.asked.clear()
    pull(found, tmp_path / "small", endpoint=hub)
    assert not [line for line in Hub.asked if line.startswith("GET") and "resolve" in line]


@pytest.mark.parametrize(
    ("name", "revision", "match"),
    [
        ("maker/gated", "main", "must be asked for first: accept its licence"),
        ("maker/none", "main", "the hub has no model maker/none"),
        ("maker/small", "unknown", "has no such revision"),
        ("a b c", "main", "is no name of a model such as"),
    ],
)
def test_a_refusal_says_what_to_do(hub: str, name: str, revision: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        offer(name, revision=revision, endpoint=hub)


def test_a_hub_out_of_reach_is_told_as_such() -> None:
    with pytest.raises(ValueError, match=r"the hub cannot be reached for maker/small"):
        offer("maker/small", endpoint="http://127.0.0.1:9")
