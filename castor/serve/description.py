"""The OpenAPI description of a server: what each of its routes reads and says.

It is made of the routes that an app has, so a part that is not served is not described.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

import castor
from castor.serve import described_replies as replies
from castor.serve import described_requests as requests
from castor.serve.described_operations import JSON, OPERATIONS, Fields, Operation
from castor.serve.described_requests import FLAG, TEXT, Schema, among, many, ref
from castor.serve.gates import OPEN
from castor.serve.paths import FAMILIES, VERSIONS
from castor.serve.service import Desk, Settings

PATH = "/openapi.json"
BARE = ("/health", "/metrics", "/feedback", PATH)  # what has no version before it
ERRORS = {"openai": "OpenAIError", "interactions": "InteractionError"}
VIEW: Fields = {"prettyPrint": FLAG}
SCHEMAS = {
    **requests.gemini(),
    **requests.kept(),
    **requests.openai(),
    **requests.interactions(),
    **replies.gemini(),
    **replies.kept(),
    **replies.openai(),
    **replies.interactions(),
    **replies.errors(),
}


def routes(others: Iterable[BaseRoute], *, desk: Desk, settings: Settings) -> list[Route]:
    """The description of the others and of itself, at PATH."""

    async def told(request: Request) -> JSONResponse:
        return JSONResponse(description([*others, *found], desk=desk, settings=settings))

    found = [Route(PATH, told, methods=["GET"])]
    return found


def description(routes: Iterable[BaseRoute], *, desk: Desk, settings: Settings) -> dict[str, Any]:
    """An OpenAPI document of those routes that OPERATIONS knows: the others are no part of the
    API (the chat page, sockets) or answer nothing but 501."""
    paths = dict[str, dict[str, Any]]()
    for key, operation, route in described(routes):
        method, path = key.split()
        tuned = route.path.startswith("/tunedModels")
        operation = operation._replace(id=operation.id + "Tuned") if tuned else operation
        held = paths.setdefault(path, {"parameters": _in_path(path, desk, settings)})
        if path not in BARE and operation.form in ("", "array"):
            operation = operation._replace(query=operation.query | VIEW)
        open_: dict[str, Any] = {"security": []} if path in OPEN else {}
        held.setdefault(method.lower(), _operation(operation) | open_)
    secured: dict[str, Any] = {"security": [{name: []} for name in KEYS]} if settings.keys else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Castor",
            "summary": f"The Gemini API and OpenAI's, answered by {desk.name}",
            "description": "`fields=a,b/c` in a query of the Gemini API leaves all else out of "
            "the reply. Paths of OpenAI's API are served without `openai/`, too. Fields that are "
            "not described are ignored, or refused where the server is strict.",
            "version": castor.__version__,
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": KEYS},
        **secured,
    }


def described(routes: Iterable[BaseRoute]) -> "list[tuple[str, Operation, Route]]":
    """The routes that OPERATIONS knows, each with its method and its path on the wire."""
    found: list[tuple[str, Operation, Route]] = []
    for route in routes:
        if isinstance(route, Route):
            path = re.sub(r"\{(\w+):path\}", r"{\1}", route.path)
            for method in sorted(route.methods or ()):
                key = f"{method} {path.replace('/tunedModels', '/models')}"
                if key in OPERATIONS:
                    found.append((f"{method} {_on_the_wire(path)}", OPERATIONS[key], route))
    return found


KEYS: dict[str, Any] = {
    "header": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
    "query": {"type": "apiKey", "in": "query", "name": "key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def _on_the_wire(path: str) -> str:
    if path in BARE:
        return path
    if path.startswith("/upload"):
        return path.replace("/upload", "/upload/{version}")
    return "/{version}" + path


def _in_path(path: str, desk: Desk, settings: Settings) -> list[dict[str, Any]]:
    families = {"pattern": f"^{FAMILIES.pattern}[A-Za-z0-9._-]*$"}
    names = [{"const": desk.name}, *([] if settings.strict_models else [families])]
    held: dict[str, Schema] = {
        "version": among(VERSIONS),
        "model": TEXT | {"anyOf": names},
        "id": TEXT | {"pattern": "^[A-Za-z0-9_-]+$"},
    }
    return [
        {"name": name, "in": "path", "required": True, "schema": held[name]}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _operation(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.told,
        "parameters": [
            {"name": name, "in": place, "schema": schema}
            for place, fields in (("query", operation.query), ("header", operation.headers))
            for name, schema in fields.items()
        ],
        "responses": _responses(operation),
    }
    if operation.asks:
        told["requestBody"] = {"content": _content(operation.asks)}
    return told


def _responses(operation: Operation) -> dict[str, Any]:
    error = ref(ERRORS.get(operation.form, "Error"))
    nowhere = {"anyOf": [error, ref("Error")]}  # under another version is no path of any API
    if operation.form == "array":
        error = nowhere = {"anyOf": [error, many(error)]}
    told: dict[str, Any] = {}
    if operation.says:
        told["200"] = {"description": "OK", "content": _content(operation.says)}
    for code in operation.codes.split():
        name = operation.others.get(code)
        content = _content({JSON: ref(name) if name else nowhere if code == "404" else error})
        told[code] = {"description": HTTPStatus(int(code)).phrase, "content": content}
    return told


def _content(fields: Fields) -> dict[str, Any]:
    return {kind: {"schema": schema} for kind, schema in fields.items()}
