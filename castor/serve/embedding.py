"""Texts and media as vectors: what is asked, and vectors of fewer dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from castor.core.content import Document, Text, Turn
from castor.serve.fields import as_mapping, choice, listed, text, whole
from castor.serve.prompt import conversation
from castor.serve.service import Desk, Settings

MOST = 100  # requests in one batch
AT_ONCE = 32  # documents that the engine is handed: its queue has room for others
WIDEST = 1 << 16
QUERY = "task: {} | query: "
UNTITLED = "title: none"
TASKS = {  # to the name of a prompt, and what EmbeddingGemma calls the task in QUERY
    "RETRIEVAL_QUERY": ("query", "search result"),
    "RETRIEVAL_DOCUMENT": ("document", ""),
    "SEMANTIC_SIMILARITY": ("STS", "sentence similarity"),
    "CLASSIFICATION": ("Classification", "classification"),
    "CLUSTERING": ("Clustering", "clustering"),
    "QUESTION_ANSWERING": ("question answering", "question answering"),
    "FACT_VERIFICATION": ("fact checking", "fact checking"),
    "CODE_RETRIEVAL_QUERY": ("InstructionRetrieval", "code retrieval"),
}


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
    """What is to be embedded, after the model's prompt for its `taskType` and `title`; of a model
    without prompts both change nothing.

    Raises:
        ValueError: there is nothing, or what the model does not perceive, or it has no such prompt.
        Refusal: a file is not there.
    """
    content = fields.get("content")
    if isinstance(content, str):
        content = {"parts": [{"text": content}]}
    if not content:
        raise ValueError("* EmbedContentRequest.content: content is not specified")
    document = conversation({"contents": content}, desk=desk, resolve=settings.resolve_file)
    if not settings.prompts:
        return document
    told = {**as_mapping(fields.get("embedContentConfig"), at="embedContentConfig"), **fields}
    task = choice(told.get("taskType"), ("", *TASKS), at="taskType", prefix="TASK_TYPE_UNSPECIFIED")
    before = Text(prompt_for(task, title=text(told, "title", at=""), prompts=settings.prompts))
    return Document(tuple(Turn(t.role, (before, *t.parts)) for t in document.turns))


def prompt_for(task: str, *, title: str = "", prompts: Mapping[str, str]) -> str:
    """What stands before a text that is embedded for one of TASKS; "" without a task.

    Raises:
        ValueError: the model has no such prompt, or none with a title.
    """
    if title and task != "RETRIEVAL_DOCUMENT":
        raise ValueError("title: only taskType RETRIEVAL_DOCUMENT has one")
    if not task:
        return ""
    name, words = TASKS[task]
    found = prompts.get(name)
    if found is None and words and prompts.get("query") == QUERY.format("search result"):
        found = QUERY.format(words)
    if found is None or (title and UNTITLED not in found):
        told = f"a prompt with a title for {task}" if title else f"a prompt for {task}"
        raise ValueError(f"taskType: this model does not have {told}")
    return found.replace(UNTITLED, f"title: {title}", 1) if title else found


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
