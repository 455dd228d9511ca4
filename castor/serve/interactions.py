"""The Interactions API: a talk that the server remembers.

The newest interactions are in memory, within MOST and MOST_BYTES; with a store all are also there,
for 55 days. Nothing runs in the background.
"""

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from castor.serve import refusal
from castor.serve.fields import flag, text
from castor.serve.gemini import unknown_model
from castor.serve.generate import Wanted, wanted
from castor.serve.incoming import deadline_of, json_object, read_body
from castor.serve.interactions_reply import Interaction, Wire, error_event
from castor.serve.interactions_request import generate_request
from castor.serve.metrics import Metrics
from castor.serve.paths import model_of, serves
from castor.serve.refusal import Refusal, refusals
from castor.serve.reply import Reply, new_id
from castor.serve.service import Desk, Settings
from castor.serve.store import Store
from castor.serve.stream import NAMED_EVENTS, Chat, Streamed, Whole

MOST, MOST_BYTES = 1000, 256 << 20


class Kept(NamedTuple):
    """An interaction that is remembered."""

    contents: list[Wire]  # of the whole talk, as a later request would send them
    told: Wire
    size: int  # bytes that it added


class Memory:
    """The newest interactions by their ids."""

    def __init__(self, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0

    def keep(self, id: str, kept: Kept) -> None:
        """Remember one, and forget the oldest where there are too many."""
        self._note(id, kept)

    def _note(self, id: str, kept: Kept) -> None:
        self._kept[id] = kept
        self._bytes += kept.size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size

    def find(self, id: str) -> Kept:
        """One that is remembered.

        Raises:
            Refusal: it is not.
        """
        if id not in self._kept:
            raise Refusal(404, f"Interaction {id} was not found.")
        return self._kept[id]

    async def recall(self, id: str) -> Kept:
        """The same, wherever it must be looked for.

        Raises:
            Refusal: as `find`.
        """
        return self.find(id)

    def forget(self, id: str) -> None:
        """Forget one.

        Raises:
            Refusal: it is not in memory.
        """
        self._bytes -= self.find(id).size
        del self._kept[id]


class StoredMemory(Memory):
    """A memory that outlives the process. Rows are written in a thread of its own, so what was told
    or deleted a moment before the process is killed may be lost, or be there again."""

    def __init__(self, store: Store, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        super().__init__(most=most, most_bytes=most_bytes)
        self._store, self._writer = store, ThreadPoolExecutor(1, "castor-interactions")
        self._gone: set[str] = set()  # forgotten, while their rows are still there

    def keep(self, id: str, kept: Kept) -> None:
        self._note(id, kept)
        body = {"contents": kept.contents, "told": kept.told, "size": kept.size}
        self._writer.submit(self._store.save_interaction, id, body)

    async def recall(self, id: str) -> Kept:
        if id not in self._kept and id not in self._gone:
            body = await run_in_threadpool(self._store.load_interaction, id)
            if body is not None and id not in self._kept and id not in self._gone:
                self._note(id, Kept(**body))  # neither came nor went while its row was read
        return self.find(id)

    def forget(self, id: str) -> None:
        super().forget(id)
        self._gone.add(id)
        self._writer.submit(self._delete, id)

    def close(self) -> None:
        """Write what is not written yet."""
        self._writer.shutdown()

    def _delete(self, id: str) -> None:
        self._store.delete_interaction(id)
        self._gone.discard(id)


class Interactions:
    """The methods, for one engine."""

    def __init__(
        self, desk: Desk, *, settings: Settings, metrics: Metrics, memory: Memory | None = None
    ) -> None:
        self._desk, self._settings, self._metrics = desk, settings, metrics
        self._memory = Memory() if memory is None else memory

    def routes(self) -> list[Route]:
        """Create, get, delete and cancel."""
        return [
            Route("/interactions", self.create, methods=["POST"]),
            Route("/interactions/{id}", self.get, methods=["GET"]),
            Route("/interactions/{id}", self.delete, methods=["DELETE"]),
            Route("/interactions/{id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Streamed | Whole:
        """Answer the next step of a talk."""
        deadline_s = deadline_of(request)
        body = await read_body(request, limit=self._settings.body_bytes)
        wire = json_object(body)
        with refusals():
            model = text(wire, "model", at="")
            previous = text(wire, "previous_interaction_id", at="")
            streams, keeps = flag(wire, "stream", at=""), wire.get("store") is not False
        if not serves(model, loaded=self._desk.name, strict=self._settings.strict_models):
            raise unknown_model(request, model, "")
        history = (await self._memory.recall(previous)).contents if previous else []

        def read() -> tuple[Wire, Wanted]:
            with refusals():
                inner = generate_request(wire, history=history)
            sent = {**inner, "model": model_of(model)}
            settings = self._settings
            return inner, wanted(sent, desk=self._desk, settings=settings, deadline_s=deadline_s)

        inner, asked = await run_in_threadpool(read)
        with refusals():
            ticket = await self._desk.ask(asked.ask)
        chat = Chat(ticket, metrics=self._metrics, every_s=self._settings.keep_alive_s)
        name = self._desk.name
        reply = Reply(ticket, candidates=1, model=name, logprobs=False)
        told = Interaction(reply, id=new_id(), model=name, previous=previous)

        def whole() -> Wire:
            final = told.whole()
            if keeps:
                contents = [*inner["contents"], told.content]
                self._memory.keep(told.id, Kept(contents, final, 2 * len(body) + _size(told)))
            return final

        if not streams:
            return Whole(chat, note=told.note, whole=whole, head_s=self._settings.head_s)

        def end() -> list[Wire]:
            whole()
            return told.end()

        return Streamed(
            chat,
            NAMED_EVENTS,
            first=told.begin,
            messages=told.events,
            sign_of_life=told.sign_of_life,
            last=end,
            error=error_event,
        )

    async def get(self, request: Request) -> JSONResponse:
        """One that is remembered."""
        for name in ("stream", "include_input"):
            if request.query_params.get(name, "").lower() == "true":
                raise refusal.unsupported(name)
        return JSONResponse((await self._memory.recall(request.path_params["id"])).told)

    async def delete(self, request: Request) -> JSONResponse:
        """Forget one."""
        await self._memory.recall(request.path_params["id"])
        self._memory.forget(request.path_params["id"])
        return JSONResponse({})

    async def cancel(self, request: Request) -> JSONResponse:
        """Nothing runs in the background, so nothing can be cancelled."""
        await self._memory.recall(request.path_params["id"])
        raise refusal.bad("Only an interaction that runs in the background can be cancelled.")


def _size(told: Interaction) -> int:
    held: list[Any] = [part.get("inlineData", {}).get("data", "") for part in told.content["parts"]]
    return 4096 + sum(map(len, held))
