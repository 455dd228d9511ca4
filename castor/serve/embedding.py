"""Texts and media as vectors: what is asked, and vectors of fewer dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from castor.core.content import Document
from castor.serve.fields import as_mapping, listed, whole
from castor.serve.prompt import conversation
from castor.serve.service import Desk, Settings

MOST = 100  # requests in one batch
AT_ONCE = 32  # documents that the engine is handed: its queue has room for others
WIDEST = 1 << 16


def requests_of(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The requests of a batch.

    Raises:
        ValueError: there is none, or there are more than MOST.
    """
    requests = listed(fields, "requests")
    if not 1 <= len(requests) <= MOST:
        raise ValueError(
            f"* BatchEmbedContentsRequest.requests: at most {MOST} requests can be in one batch, "
            f"and at least one; got {len(requests)}"
        )
    return [dict(as_mapping(each, at=f"requests[{i}]")) for i, each in enumerate(requests)]


def document_of(fields: Mapping[str, Any], desk: Desk, settings: Settings) -> Document:
    """What is to be embedded. `taskType` and `title` are accepted and change nothing.

    Raises:
        ValueError: there is nothing, or what the model does not perceive.
        Refusal: a file is not there.
    """
    content = fields.get("content")
    if isinstance(content, str):
        content = {"parts": [{"text": content}]}
    if not content:
        raise ValueError("* EmbedContentRequest.content: content is not specified")
    return conversation({"contents": content}, desk=desk, resolve=settings.resolve_file)


def size_of(fields: Mapping[str, Any]) -> int | None:
    """Dimensions that are asked for, None = all.

    Raises:
        ValueError: it is no number above 0.
    """
    inner = as_mapping(fields.get("embedContentConfig"), at="embedContentConfig")
    held = fields if fields.get("outputDimensionality") is not None else inner
    return whole(held, "outputDimensionality", at="", low=1, high=WIDEST)


async def embedded(desk: Desk, documents: Sequence[Document]) -> list[tuple[np.ndarray, int]]:
    """What the engine makes of any number of documents, a few at a time.

    Raises:
        ValueError: one is too long, or holds what the model cannot read.
        Busy: the queue is full.
    """
    found: list[tuple[np.ndarray, int]] = []
    for start in range(0, len(documents), AT_ONCE):
        found += await desk.embed(documents[start : start + AT_ONCE])
    return found


def shortened(vector: np.ndarray, size: int | None) -> np.ndarray:
    """The first `size` values, of length 1 again; all of them if there are fewer.

    Paper: Kusupati et al. 2022, arXiv:2205.13147 (a vector's first values as a vector).
    """
    kept = vector[:size].astype(np.float32)
    length = float(np.linalg.norm(kept))
    return kept / np.float32(length) if length > 0 else kept
