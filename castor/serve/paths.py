"""One spelling for every way in which clients write a path, and for the names of models.

    //v1beta/v1/models/x:generateContent   →  /models/x:generateContent, version v1
    /v1beta/upload/v1beta/files            →  /upload/files, version v1beta
    /v1/chat/completions                   →  /openai/chat/completions, version v1

Routes are written without a version; it is in the scope, under VERSION.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from castor.serve.refusal import Style

VERSIONS = ("v1", "v1beta", "v1alpha")
VERSION, STYLE = "castor.version", "castor.style"  # where a scope has them
OPENAI = ("chat", "completions", "embeddings", "responses", "images", "audio", "moderations")
SHARED = ("files", "batches")  # what both APIs have and answer differently
# What asks for a key without a version before it.
API = ("upload", "ws", "openai", "metrics", "feedback")
FAMILIES = re.compile(r"(gemini|gemma|learnlm|embedding|text-embedding)[-\d]")


class Place(NamedTuple):
    path: str
    version: str  # the last that was named, v1beta if none was
    api: bool  # whether it is a path of the API, not of a page


def place_of(path: str) -> Place:
    """The path as routes write it."""
    parts = [part for part in path.split("/") if part]
    versions: list[str] = []
    if len(parts) > 1 and parts[0] == "gemini":
        parts = parts[1:]
    parts = _without_versions(parts, versions)
    if parts[:1] == ["upload"]:
        parts = ["upload", *_without_versions(parts[1:], versions)]
    elif parts[:1] == ["openai"]:
        parts = ["openai", *_without_versions(parts[1:], versions)]
    elif parts and parts[0] in OPENAI:
        parts = ["openai", *parts]
    version = versions[-1] if versions else "v1beta"
    api = bool(versions) or (bool(parts) and (parts[0] in API or _unversioned(parts)))
    return Place("/" + "/".join(parts), version, api)


def model_of(name: str) -> str:
    """`x` of "x", "models/x" and "tunedModels/x"."""
    for prefix in ("models/", "tunedModels/"):
        name = name.removeprefix(prefix)
    return name


def serves(name: str, *, loaded: str, strict: bool) -> bool:
    """Whether a request for a model of this name is answered by the loaded one.

    Clients have names of Google's models built in; unless `strict`, those mean the loaded model.
    """
    model = model_of(name)
    return model == loaded or (not strict and FAMILIES.match(model) is not None)


def style_of(place: Place, query: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Style:
    """In which form errors are told there."""
    first = place.path.split("/")[1]
    given = {name: value for name, value in headers}
    if first == "openai" or (first in SHARED and _from_openai(query, given)):
        return "openai"
    if first == "interactions":
        return "interactions"
    streams = place.path.endswith(":streamGenerateContent")
    return "array" if streams and not wants_sse(query) else "gemini"


def wants_sse(query: bytes) -> bool:
    """Whether a stream is asked for as server-sent events, not as one JSON array."""
    fields = fields_of(query)
    return "sse" in (fields.get("alt"), fields.get("$alt", "").split(";")[0])


def fields_of(query: bytes) -> dict[str, str]:
    """A query string's fields, the last of each name."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))


def spelled(scope: dict[str, Any]) -> tuple[dict[str, Any], Place]:
    """The scope with its path as routes write it, its version and the form of its errors."""
    place = place_of(scope["path"])
    query = scope.get("query_string", b"")
    style = style_of(place, query, scope["headers"])
    path = place.path
    if style == "openai" and not path.startswith("/openai"):
        path = f"/openai{path}"
    return {**scope, "path": path, VERSION: place.version, STYLE: style}, place


def _without_versions(parts: list[str], versions: list[str]) -> list[str]:
    while parts and parts[0] in VERSIONS:
        versions.append(parts[0])
        parts = parts[1:]
    return parts


def _unversioned(parts: list[str]) -> bool:
    return parts[0] in ("models", "tunedModels") or parts[0] in SHARED


def _from_openai(query: bytes, headers: dict[bytes, bytes]) -> bool:
    google = b"x-goog-api-key" in headers or b"x-goog-api-client" in headers
    google = google or "key" in fields_of(query)
    bearer = headers.get(b"authorization", b"").lower().startswith(b"bearer ")
    return bearer and not google
