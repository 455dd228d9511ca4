"""OpenAI's API: chat completions, embeddings and models, for clients that speak no Gemini."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from castor.core.content import Document
from castor.serve import models
from castor.serve.embedding import WIDEST, embedded, shortened
from castor.serve.fields import text, texts, whole
from castor.serve.incoming import deadline_of, json_object, read_body
from castor.serve.metrics import Metrics
from castor.serve.openai_reply import Completion
from castor.serve.openai_request import chat_wanted
from castor.serve.paths import fields_of, serves
from castor.serve.refusal import Refusal, refusals
from castor.serve.reply import Reply
from castor.serve.service import Desk, Settings
from castor.serve.stream import OPENAI_EVENTS, Chat, Streamed, Whole

MOST_INPUTS = 2048  # of one request for embeddings
SIGN_OF_LIFE = b": waiting\r\n\r\n"  # a comment: these clients skip it


class OpenAI:
    """The methods, for one engine."""

    def __init__(self, desk: Desk, *, settings: Settings, metrics: Metrics) -> None:
        self._desk, self._settings, self._metrics = desk, settings, metrics

    def routes(self) -> list[Route]:
        """Under one prefix, whatever version the client names."""
        return [
            Route("/openai/chat/completions", self.chat, methods=["POST"]),
            Route("/openai/embeddings", self.embed, methods=["POST"]),
            Route("/openai/models", self.list, methods=["GET"]),
            Route("/openai/models/{model:path}", self.get, methods=["GET"]),
        ]

    async def chat(self, request: Request) -> Streamed | Whole:
        """A completion, whole or streamed."""
        deadline_s, wire = deadline_of(request), await self._body(request)
        self._check_model(_model(wire))
        asked = await run_in_threadpool(
            chat_wanted, wire, desk=self._desk, settings=self._settings, deadline_s=deadline_s
        )
        ask, logprobs = asked.wanted.ask, asked.wanted.logprobs
        with refusals():
            ticket = await self._desk.ask(ask)
        chat = Chat(ticket, metrics=self._metrics, every_s=self._settings.keep_alive_s)
        reply = Reply(ticket, candidates=ask.candidates, model=self._desk.name, logprobs=logprobs)
        completion = Completion(
            reply,
            model=self._desk.name,
            logprobs=logprobs,
            parallel=asked.parallel,
            counts=asked.counts,
        )
        if not asked.streams:
            head_s = self._settings.head_s
            return Whole(chat, note=completion.note, whole=completion.whole, head_s=head_s)
        return Streamed(
            chat,
            OPENAI_EVENTS,
            messages=completion.chunks,
            sign_of_life=lambda: SIGN_OF_LIFE,
            last=completion.last,
            error=lambda told: told.told("openai"),
        )

    async def embed(self, request: Request) -> JSONResponse:
        """A vector for each input."""
        wire = await self._body(request)
        self._check_model(_model(wire))
        if not self._desk.embeds:
            raise _unknown_model(_model(wire))
        with refusals():
            size = whole(wire, "dimensions", at="", low=1, high=WIDEST)
            form = text(wire, "encoding_format", at="") or "float"
            if form not in ("float", "base64"):
                raise ValueError(f"encoding_format: {form!r} is not one of float, base64")
            documents = [Document.of(each) for each in _inputs(wire)]
            found = await embedded(self._desk, documents)
        told = [
            {"object": "embedding", "index": i, "embedding": _encoded(vector, size, form)}
            for i, (vector, _) in enumerate(found)
        ]
        tokens = sum(count for _, count in found)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse(
            {"object": "list", "data": told, "model": self._desk.name, "usage": usage}
        )

    async def list(self, request: Request) -> JSONResponse:
        """The loaded model."""
        query = fields_of(request.scope["query_string"])
        with refusals():
            return JSONResponse(models.listing(self._desk, query=query, settings=self._settings))

    async def get(self, request: Request) -> JSONResponse:
        """The same for one name."""
        self._check_model(request.path_params["model"])
        return JSONResponse(models.described(self._desk, self._settings))

    async def _body(self, request: Request) -> dict[str, Any]:
        return json_object(await read_body(request, limit=self._settings.body_bytes))

    def _check_model(self, name: str) -> None:
        if not serves(name, loaded=self._desk.name, strict=self._settings.strict_models):
            raise _unknown_model(name)


def _model(wire: Mapping[str, Any]) -> str:
    with refusals():
        return text(wire, "model", at="")


def _unknown_model(name: str) -> Refusal:
    message = f"The model `{name}` does not exist or cannot do this."
    return Refusal(404, message, reason="model_not_found")


def _inputs(wire: Mapping[str, Any]) -> "tuple[str, ...]":
    try:
        inputs = texts(wire, "input", at="")
    except ValueError:
        raise ValueError("input: a string or a list of strings; tokens are not read") from None
    if not 1 <= len(inputs) <= MOST_INPUTS or "" in inputs:
        raise ValueError(f"input: 1 to {MOST_INPUTS} strings, none of them empty")
    return inputs


def _encoded(vector: np.ndarray, size: int | None, form: str) -> "list[float] | str":
    kept = shortened(vector, size).astype("<f4")
    if form == "base64":
        return base64.b64encode(kept.tobytes()).decode("ascii")
    return kept.tolist()
