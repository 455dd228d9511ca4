"""Reads streams as strictly as the strictest client, and complains about what would break one."""

import json
from typing import Any


def events(body: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream of events; every rule of the stricter clients is asserted."""
    text = body.decode("ascii")  # U+2028 and friends would end a line for some
    assert text.endswith("\r\n\r\n") and "\r\n\r\n\r\n" not in text
    chunks: list[dict[str, Any]] = []
    for event in text.removesuffix("\r\n\r\n").split("\r\n\r\n"):
        assert event.startswith("data: {"), event
        assert "\n" not in event and "\r" not in event, event
        chunks.append(json.loads(event.removeprefix("data: ")))
    return chunks


def whole(body: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream of events that ended well."""
    chunks = events(body)
    for chunk in chunks:
        assert "error" not in chunk, chunk
        assert {"usageMetadata", "modelVersion", "responseId"} <= chunk.keys()
    last = chunks[-1]
    assert all(candidate["finishReason"] for candidate in last["candidates"])
    usage = last["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    assert len({chunk["responseId"] for chunk in chunks}) == 1
    return chunks


def said(chunks: list[dict[str, Any]], candidate: int = 0) -> str:
    """The text of one candidate."""
    mine = [c for chunk in chunks for c in chunk.get("candidates", []) if c["index"] == candidate]
    return "".join(part.get("text", "") for c in mine for part in c["content"]["parts"])
