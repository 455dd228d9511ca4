"""The Gemini API's methods of models: generate, stream, count, embed, list and get."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from castor.core.content import Document
from castor.serve import embedding, models, refusal
from castor.serve.fields import as_mapping
from castor.serve.generate import Wanted, count, known, wanted, with_cached
from castor.serve.incoming import deadline_of, json_object, read_body
from castor.serve.metrics import Metrics
from castor.serve.paths import VERSION, fields_of, model_of, serves, wants_sse
from castor.serve.prompt import check_contents
from castor.serve.refusal import Refusal, refusals
from castor.serve.reply import Reply, by_modality
from castor.serve.service import Desk, Settings
from castor.serve.stream import ARRAY, EVENTS, Chat, Streamed, Whole


class Gemini:
    """The methods, for one engine."""

    def __init__(self, desk: Desk, *, settings: Settings, metrics: Metrics) -> None:
        self._desk, self._settings, self._metrics = desk, settings, metrics

    def routes(self) -> list[Route]:
        """In the order in which they are tried."""
        methods = {
            "generateContent": self.generate,
            "streamGenerateContent": self.stream,
            "countTokens": self.count,
            "embedContent": self.embed,
            "batchEmbedContents": self.embed_batch,
        }
        named = [
            Route(f"/{kind}/{{model:path}}:{name}", method, methods=["POST"])
            for kind in ("models", "tunedModels")
            for name, method in methods.items()
        ]
        return [
            *named,
            Route("/models", self.list, methods=["GET"]),
            Route("/models/{model:path}", self.get, methods=["GET"]),
        ]

    async def generate(self, request: Request) -> Whole:
        """One response, whole."""
        self._check_model(request, "generateContent")
        asked = await self._wanted(request)
        chat, reply = await self._begin(asked)
        head_s = self._settings.head_s
        return Whole(chat, note=reply.take, whole=reply.whole, head_s=head_s)

    async def stream(self, request: Request) -> Streamed:
        """The same in chunks: as events if `alt=sse` asks for them, else as one JSON array."""
        self._check_model(request, "streamGenerateContent")
        asked = await self._wanted(request)
        chat, reply = await self._begin(asked)
        frames = EVENTS if wants_sse(request.scope["query_string"]) else ARRAY
        return Streamed(
            chat,
            frames,
            first=lambda: [reply.sign_of_life()] if chat.ticket.position else [],
            messages=lambda news: [reply.chunk(news)],
            sign_of_life=reply.sign_of_life,
        )

    async def count(self, request: Request) -> JSONResponse:
        """Tokens of the prompt that the same request would be answered from."""
        self._check_model(request, "countTokens")
        wire = await self._body(request)
        fields = known(wire, "CountTokensRequest", self._settings)
        inner = fields.pop("generateContentRequest", None)
        if inner is not None and fields.get("contents"):
            raise refusal.bad("Give contents or generateContentRequest, not both.")
        model, desk, settings = self._model(request), self._desk, self._settings

        def counted() -> dict[str, Any]:
            with refusals():
                whole = fields if inner is None else as_mapping(inner, at="generateContentRequest")
                check_contents(with_cached(whole, settings))
            found = count({**whole, "model": model}, desk=desk, settings=settings)
            told = {"totalTokens": found.total, "promptTokensDetails": by_modality(found)}
            if name := whole.get("cachedContent"):
                begin = {"model": model, "cachedContent": name}
                held = count(begin, desk=desk, settings=settings)
                told["cachedContentTokenCount"] = min(held.total, found.total)
            return told

        return JSONResponse(await run_in_threadpool(counted))

    async def embed(self, request: Request) -> JSONResponse:
        """One vector."""
        self._check_embeds(request, "embedContent")
        fields = known(await self._body(request), "EmbedContentRequest", self._settings)
        (told,) = await self._embedded([fields])
        values, tokens = told
        usage = {"promptTokenCount": tokens, "totalTokenCount": tokens}
        return JSONResponse({"embedding": {"values": values}, "usageMetadata": usage})

    async def embed_batch(self, request: Request) -> JSONResponse:
        """A vector for each request, in their order."""
        self._check_embeds(request, "batchEmbedContents")
        fields = known(await self._body(request), "BatchEmbedContentsRequest", self._settings)
        with refusals():
            requests = embedding.requests_of(fields)
        for each in requests:
            if each.get("model"):
                self._check_name(request, str(each["model"]), "batchEmbedContents")
        told = await self._embedded(requests)
        tokens = sum(count for _, count in told)
        usage = {"promptTokenCount": tokens, "totalTokenCount": tokens}
        vectors = [{"values": values} for values, _ in told]
        return JSONResponse({"embeddings": vectors, "usageMetadata": usage})

    async def list(self, request: Request) -> JSONResponse:
        """The loaded model, for both APIs' clients."""
        query = fields_of(request.scope["query_string"])
        with refusals():
            return JSONResponse(models.listing(self._desk, query=query, settings=self._settings))

    async def get(self, request: Request) -> JSONResponse:
        """The same for one name."""
        self._check_model(request, "")
        return JSONResponse(models.described(self._desk, self._settings))

    async def _wanted(self, request: Request) -> Wanted:
        deadline_s = deadline_of(request)
        wire = {**await self._body(request), "model": self._model(request)}
        return await run_in_threadpool(
            wanted, wire, desk=self._desk, settings=self._settings, deadline_s=deadline_s
        )

    async def _begin(self, asked: Wanted) -> tuple[Chat, Reply]:
        with refusals():
            ticket = await self._desk.ask(asked.ask)
        chat = Chat(ticket, metrics=self._metrics, every_s=self._settings.keep_alive_s)
        name, candidates = self._desk.name, asked.ask.candidates
        return chat, Reply(ticket, candidates=candidates, model=name, logprobs=asked.logprobs)

    async def _embedded(self, requests: "list[dict[str, Any]]") -> "list[tuple[Any, int]]":
        desk, settings = self._desk, self._settings

        def documents() -> "list[Document]":
            with refusals():
                return [embedding.document_of(each, desk, settings) for each in requests]

        with refusals():
            sizes = [embedding.size_of(each) for each in requests]
            found = await embedding.embedded(desk, await run_in_threadpool(documents))
            return [
                (embedding.shortened(vector, size).tolist(), tokens)
                for (vector, tokens), size in zip(found, sizes, strict=True)
            ]

    async def _body(self, request: Request) -> dict[str, Any]:
        return json_object(await read_body(request, limit=self._settings.body_bytes))

    def _model(self, request: Request) -> str:
        return model_of(request.path_params["model"])

    def _check_embeds(self, request: Request, method: str) -> None:
        self._check_model(request, method)
        if not self._desk.embeds:
            raise unknown_model(request, request.path_params["model"], method)

    def _check_model(self, request: Request, method: str) -> None:
        self._check_name(request, request.path_params["model"], method)

    def _check_name(self, request: Request, name: str, method: str) -> None:
        strict = self._settings.strict_models
        if not serves(name, loaded=self._desk.name, strict=strict):
            raise unknown_model(request, name, method)


def unknown_model(request: Request, name: str, method: str) -> Refusal:
    """A model that is not loaded, or cannot do what is asked."""
    version = request.scope[VERSION]
    able = f", or is not supported for {method}" if method else ""
    return Refusal(
        404,
        f"models/{model_of(name)} is not found for API version {version}{able}. "
        "Call ListModels to see the list of available models and their supported methods.",
        reason="model_not_found",
    )
