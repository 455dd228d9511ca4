"""The whole server around a FakeDesk, with its routes and its own description of them."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute, Route

from castor.serve import description
from castor.serve.run import whole
from castor.serve.service import Settings
from castor.serve.store import Store
from castor.serve.uploads import generated

from .driver import Client
from .examples import BODIES, NAME
from .fake_desk import FakeDesk


class Served:
    """The whole server with one file, one cache, one batch and one interaction."""

    def __init__(self, folder: Path) -> None:
        self.routes: list[BaseRoute] = []
        seen, real = self.routes, description.routes

        def routes(others: list[BaseRoute], **given: Any) -> list[Route]:
            found = real(others, **given)
            seen.extend([*others, *found])
            return found

        store = Store(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(description, "routes", routes)
            inside, _ = whole(FakeDesk(embeds=True), Settings(), store)
        self.client = Client(inside)
        generated(store, [b'{"request": {}}\n'], mime="text/plain", name="files/lines")
        self.told: dict[str, Any] = self.client.get("/openapi.json").json()
        self.ids = {
            "files": "lines",
            "cachedContents": self._id("createCachedContent"),
            "batches": self._id("batchGenerateContent"),
            "interactions": self._id("createInteraction"),
        }

    def ask(self, operation: str, body: Any = None, **query: str) -> httpx.Response:
        """The answer to an example of an operation."""
        method, path, _ = self.operations[operation]
        values = {"version": "v1beta", "model": NAME}
        for part, id in getattr(self, "ids", {}).items():
            if f"/{part}/" in path:
                values["id"] = id
        head = {"x-goog-upload-protocol": "resumable"} if "upload" in path else {}
        url = path.format_map(values)
        return self.client.request(method, url, params=query, json=body, headers=head)

    @property
    def operations(self) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """Method, path and description of each operation."""
        return {
            told["operationId"]: (method.upper(), path, told)
            for path, methods in self.told["paths"].items()
            for method, told in methods.items()
            if method != "parameters"
        }

    def _id(self, operation: str) -> str:
        body = next(body for name, body in BODIES if name == operation and "stream" not in body)
        told = self.ask(operation, body).json()
        return told.get("id") or told["name"].rpartition("/")[2]
