"""The desk: many requests at once, answered by one model in one running batch.

One thread owns the model, the table of rows and what was kept of prompts; it alone calls JAX, but
for preparing prompts. Requests come from event loops: `ask` renders the prompt in a worker thread,
then puts a job into the queue under the desk's lock; news go back through each ticket's loop.
Nothing else crosses. Between two calls of the compiled loop, rows join and leave and one chunk of
one prompt is read, or of up to four together, the shortest first; so a long prompt holds nobody up
for more than a chunk.

Invariant: what a request is answered does not depend on the requests beside it.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from castor.core.content import Document, Part, Turn
from castor.models.cache import fitted
from castor.sample.ask import Ask, Busy, Constraint, Failed, Late, News, Token
from castor.sample.engine import Engine, next_role
from castor.sample.jobs import Candidate, Job, Tally, job_for, job_to_embed, resolve
from castor.sample.languages import language
from castor.sample.prefixes import Prefixes
from castor.sample.reading import (
    CHUNK,
    TOGETHER,
    Read,
    Reading,
    advance_together,
    prompt_of,
)
from castor.sample.rows import room_for
from castor.sample.session import keys
from castor.sample.table import Call, Table
from castor.sample.ticket import Counted, Ticket, counted
from castor.tokens.render import Piece

IN_TURN = 8  # each so many chunks the oldest prompt is read on, not the shortest
KEEP_BYTES = 256 * 2**20  # of rows that are kept for prompts which begin like them

log = logging.getLogger(__name__)


class Desk:
    """Takes requests until it is closed. `rows` is the most replies that grow at once, `queue`
    the most requests that wait for one."""

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        rows: int = 32,
        queue: int = 128,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        assert engine.embedder is None, "a model that embeds has a desk of its own"
        self.name, self.tally = name, Tally()
        self._engine, self._rows, self._most = engine, rows, queue
        self.context, self.draws = engine.config.context, engine.codec is not None
        self.embeds = True
        self._table = Table(engine.weights, config=engine.shape, rows_most=rows, draws=self.draws)
        self._prefixes = Prefixes(bytes_most=keep_bytes)
        self._waiting: deque[Job] = deque()
        self._reading: list[Job] = []
        self._candidates: dict[int, tuple[Job, Candidate]] = {}  # by their sitter's identity
        self._pending: Call | None = None
        self._unasked: Reading | None = None
        self._told: list[tuple[Ticket, News | Exception]] = []
        self._turn = 0
        self._open = True
        self._bell = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="castor-desk", daemon=True)
        self._thread.start()

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of media that the model perceives."""
        config = self._engine.config
        pictures = {"image", "video"} if config.image is not None else set()
        return frozenset(pictures | ({"audio"} if config.audio is not None else set()))

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def answering(self) -> int:
        """Replies that are growing."""
        return len(self._candidates)

    def constraint(self, kind: str, spec: Any) -> Constraint:
        """A language of replies, as `languages.language` says.

        Raises:
            ValueError: there is no such kind, or the specification cannot be kept to.
        """
        return language(kind, spec, vocab=self._engine.vocab)

    def count(self, document: Document) -> Counted:
        """The tokens of a document as a prompt.

        Raises:
            ValueError: it holds what the model cannot read.
        """
        return counted(self._engine.tokens(document, open_turn=next_role(document)))

    async def ask(self, ask: Ask) -> Ticket:
        """Put a request into the queue.

        Raises:
            ValueError: it does not fit into the context, or holds what the model cannot read.
            Busy: the queue is full.
        """
        job = await asyncio.to_thread(self._prepared, ask)
        tokens = counted(job.prompt.tokens)
        job.ticket = Ticket(tokens, ask.candidates, position=self._position)
        self._queue(job)
        return job.ticket

    async def embed(
        self, documents: Sequence[Document]
    ) -> list[tuple[Float32[np.ndarray, " D"], int]]:
        """For each document the mean of its final states, of length 1, and its tokens.

        Raises:
            ValueError: one does not fit into the context, or holds what the model cannot read.
            Busy: the queue is full.
        """
        loop = asyncio.get_running_loop()
        jobs = [await asyncio.to_thread(job_to_embed, d, engine=self._engine) for d in documents]
        for job in jobs:
            job.embedded = loop.create_future()
        for job in jobs:
            self._queue(job)
        found = [await job.embedded for job in jobs if job.embedded is not None]
        return [(vector, len(job.prompt)) for vector, job in zip(found, jobs, strict=True)]

    def close(self) -> None:
        """End what runs, and the thread."""
        with self._bell:
            self._open = False
            self._bell.notify()
        self._thread.join()

    def _prepared(self, ask: Ask) -> Job:
        job = job_for(ask, engine=self._engine)
        if job.rows > self._rows:
            raise ValueError(
                f"{ask.candidates} candidates take {job.rows} rows; this server has {self._rows}"
            )
        return job

    def _queue(self, job: Job) -> None:
        with self._bell:
            if not self._open:
                raise Busy(0, 1.0)
            if len(self._waiting) >= self._most:
                raise Busy(len(self._waiting), 1.0 + len(self._waiting) / self._rows)
            self._waiting.append(job)
            self._bell.notify()

    def _position(self, ticket: Ticket) -> int:
        with self._bell:
            places = (n for n, job in enumerate(self._waiting, start=1) if job.ticket is ticket)
            return next(places, 0)

    def _work(self) -> None:
        """The thread: rounds while there is something to do."""
        while True:
            with self._bell:
                while self._open and not (self._waiting or self._reading or self._candidates):
                    self._bell.wait()
                if not self._open:
                    break
            try:
                self._round()
            except Exception as error:
                log.exception("the desk dropped what it was doing")
                self._drop_all(Failed(f"the model failed: {error}"))
            self._flush()
        self._drop_all(Failed("the server is stopping"))
        self._flush()

    def _round(self) -> None:
        self._sweep()
        self._admit()
        if self._reading:
            self._read_on()
        if not self._table.sitters or (self._pending is not None and self._table.spent):
            self._hear()
            return
        awaited, busy = self._table.awaited, bool(self._reading)
        self._call(hurry=busy)
        guided = any(candidate.guide for _, candidate in self._candidates.values())
        if guided or (awaited and busy):
            self._hear()
        elif awaited and not self._table.spent:  # the first is told while the next are drawn
            self._call(hurry=False)

    def _call(self, *, hurry: bool) -> None:
        """Draw the next ids, and take down those of the call before."""
        call = self._table.call(hurry=hurry)
        self.tally.calls += 1
        self._hear()
        self._pending = call

    def _sweep(self) -> None:
        """Let go of what nobody waits for, and of what is late."""
        now = time.monotonic()
        with self._bell:
            for job in [job for job in self._waiting if job.dropped or job.deadline < now]:
                self._waiting.remove(job)
                self._end(job, Late())
        for job in [job for job in self._reading if job.dropped or job.deadline < now]:
            self._reading.remove(job)
            self._end(job, Late())
        for job in {job: 0 for job, _ in self._candidates.values()}:
            if job.dropped or job.deadline < now:
                self._give_up(job, Late())

    def _give_up(self, job: Job, error: Exception) -> None:
        """End a request whose replies are growing."""
        for candidate in job.candidates:
            self._stand_up(job, candidate)
        self._end(job, error)

    def _end(self, job: Job, error: Exception) -> None:
        if job.ticket is not None and not job.ticket.cancelled:
            self._told.append((job.ticket, error))
        if job.embedded is not None:
            resolve(job.embedded, error)

    def _admit(self) -> None:
        """Begin to read what has come, as far as there will be rows for it."""
        free = self._table.free - sum(job.rows for job in self._reading)
        while True:
            with self._bell:
                if not self._waiting or self._waiting[0].rows > free:
                    return
                job = self._waiting.popleft()
            self._reading.append(job)  # at once: whatever fails now is told to whoever asked
            free -= job.rows
            known, shared = (None, 0) if job.ask is None else self._prefixes.longest(job.prompt)
            job.reading = Reading(
                self._engine.weights,
                job.prompt,
                config=self._engine.shape,
                room=job.room,
                known=known,
                shared=shared,
            )
            if job.ticket is not None:
                job.ticket.reused = shared
            self.tally.requests += 1
            self.tally.prompt_tokens += len(job.prompt)
            self.tally.reused_tokens += shared

    def _read_on(self) -> None:
        """One chunk of the prompts that need least, or now and then of the one that came first."""
        self._turn += 1
        by_left = sorted(self._reading, key=lambda job: job.left)
        first = self._reading[0] if self._turn % IN_TURN == 0 else by_left[0]
        room = first.row_room
        alike = [job for job in by_left if job is not first and job.row_room == room]
        jobs = [first, *alike[: TOGETHER - 1]] if len(alike) > 1 else [first]
        readings = [job.reading for job in jobs if job.reading is not None]
        long = not self._table.sitters and first.left > 2 * CHUNK  # whoever comes waits for a chunk
        advance_together(readings, CHUNK // 2 if long else CHUNK)
        if first.left and not self._table.sitters:  # else all its chunks stand in line at once
            jax.block_until_ready(readings[0].read.logits)
        for job in jobs:
            if not job.left:
                self._finish_reading(job)

    def _finish_reading(self, job: Job) -> None:
        """A prompt is read: its replies begin, or its states were all that was wanted."""
        assert job.reading is not None
        read = job.reading.done
        if job.embedded is not None:
            pooled = np.asarray(read.pooled)[0]
            resolve(job.embedded, pooled / max(float(np.linalg.norm(pooled)), 1e-12))
        else:
            self._prefixes.keep(job.prompt.marks, read.cache)
            for number in range(job.ask.candidates if job.ask else 0):
                self._seat(job, number, read)
        self._reading.remove(job)

    def _seat(self, job: Job, number: int, read: Read) -> None:
        """A candidate begins its reply, with its shadow where pictures are guided."""
        candidate = job.candidate(number, vocab=self._engine.vocab)
        sitter, key = candidate.sitter, keys(candidate.sitter.sampling.seed, [number])
        self._candidates[id(sitter)] = (job, candidate)
        self._table.sit(sitter, read, key)
        if sitter.shadow is not None:
            unasked = self._read_unasked()
            sitter.shadow.prompt = len(unasked)
            self._table.sit(sitter.shadow, unasked.done, key)

    def _read_unasked(self) -> Reading:
        """A prompt that asks nothing, which guidance compares with."""
        if self._unasked is None:
            nothing = Document((Turn("user", ()),))
            prompt = prompt_of(self._engine.tokens(nothing, open_turn="model"))
            shape, room = self._engine.shape, room_for(len(prompt) + 1, self.context)
            reading = Reading(self._engine.weights, prompt, config=shape, room=room)
            reading.advance()
            self._unasked = reading
        return self._unasked

    def _hear(self) -> None:
        """Take down what the call before the last dispatched one drew."""
        call, self._pending = self._pending, None
        if call is None:
            return
        heard = jax.device_get(call.drawn)
        steps = int(heard.steps)
        news: list[tuple[Job, Candidate, list[Token], list[Piece]]] = []
        for row, sitter in enumerate(call.sitters):
            job, candidate = self._candidates.get(id(sitter), (None, None))
            if job is not None and candidate is not None:
                try:
                    tokens, pieces = candidate.listen(heard, row=row, steps=steps)
                except Failed as error:  # of its constraint, which is nobody else's
                    self._give_up(job, error)
                    continue
                self.tally.drawn_tokens += len(tokens)
                news.append((job, candidate, tokens, pieces))
        parts = self._engine.parts([pieces for *_, pieces in news])
        for (job, candidate, tokens, _), mine in zip(news, parts, strict=True):
            if id(candidate.sitter) in self._candidates:  # not given up with another of its job
                self._tell(job, candidate, tokens, mine)

    def _tell(self, job: Job, candidate: Candidate, tokens: list[Token], parts: list[Part]) -> None:
        finish = None
        if candidate.over:
            finish = "stop" if candidate.script.ended else "length"
            self._stand_up(job, candidate)
        if job.ticket is not None and (tokens or finish):
            news = News(candidate.number, tuple(parts), tuple(tokens), finish)
            self._told.append((job.ticket, news))

    def _stand_up(self, job: Job, candidate: Candidate) -> None:
        """A candidate's row is free again; what it holds is kept for the talk's next turn."""
        sitter = candidate.sitter
        if self._candidates.pop(id(sitter), None) is None:
            return
        held = self._table.leave(sitter)
        marks = np.concatenate([job.prompt.marks, np.array(candidate.script.ids, np.int64)])
        room = room_for(len(marks), self.context)
        self._prefixes.keep(marks, fitted(held, room=min(room, held.room)))
        if sitter.shadow is not None:
            self._table.leave(sitter.shadow)

    def _drop_all(self, error: Exception) -> None:
        """Start afresh: nothing that was under way goes on."""
        with self._bell:
            jobs = [*self._waiting, *self._reading, *(job for job, _ in self._candidates.values())]
            self._waiting.clear()
        self._reading, self._candidates, self._pending = [], {}, None
        self._table = Table(
            self._engine.weights,
            config=self._engine.shape,
            rows_most=self._rows,
            draws=self.draws,
        )
        for job in dict.fromkeys(jobs):
            self._end(job, error)

    def _flush(self) -> None:
        told, self._told = self._told, []
        if told:
            Ticket.deliver(told)
