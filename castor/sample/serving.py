"""The desk: many requests at once, answered by one model in one running batch.

One thread owns the model, the table of rows and what was kept of prompts; it alone calls JAX, but
for preparing prompts. How jobs reach it is in `intake`. Between two calls of the compiled loop,
rows join and leave and one chunk of one prompt is read, or of up to four together, the shortest
first; so a long prompt holds nobody up for more than a chunk.

Invariant: what a request is answered does not depend on the requests beside it.
"""

import time

import jax
import numpy as np

from castor.core.content import Document, Part, Turn
from castor.models.cache import fitted
from castor.sample.ask import Ask, Failed, Late, News, Token
from castor.sample.engine import Engine
from castor.sample.intake import IN_TURN, Intake
from castor.sample.jobs import Candidate, Job
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
from castor.tokens.render import Piece

KEEP_BYTES = 256 * 2**20  # of rows that are kept for prompts which begin like them


class Desk(Intake):
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
        super().__init__(engine, name=name, rows=rows, queue=queue)
        self._table = self._empty_table()
        self._prefixes = Prefixes(bytes_most=keep_bytes)
        self._reading: list[Job] = []
        self._candidates: dict[int, tuple[Job, Candidate]] = {}  # by their sitter's identity
        self._pending: Call | None = None
        self._unasked: Reading | None = None
        self._turn = 0
        self._open_up()

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of media that the model perceives."""
        config = self._engine.config
        pictures = {"image", "video"} if config.image is not None else set()
        return frozenset(pictures | ({"audio"} if config.audio is not None else set()))

    @property
    def answering(self) -> int:
        """Replies that are growing."""
        return len(self._candidates)

    def _busy(self) -> bool:
        return bool(self._reading or self._candidates)

    def _empty_table(self) -> Table:
        engine = self._engine
        return Table(engine.weights, config=engine.shape, rows_most=self._rows, draws=self.draws)

    def _prepared(self, ask: Ask) -> Job:
        job = super()._prepared(ask)
        if job.rows > self._rows:
            raise ValueError(
                f"{ask.candidates} candidates take {job.rows} rows; this server has {self._rows}"
            )
        return job

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
        self._sweep_waiting(now)
        for job in [job for job in self._reading if job.late(now)]:
            self._reading.remove(job)
            self._end(job, Late())
        for job in {job: 0 for job, _ in self._candidates.values()}:
            if job.late(now):
                self._give_up(job, Late())

    def _give_up(self, job: Job, error: Exception) -> None:
        """End a request whose replies are growing."""
        for candidate in job.candidates:
            self._stand_up(job, candidate)
        self._end(job, error)

    def _admit(self) -> None:
        """Begin to read what has come, as far as there will be rows for it."""
        free = self._table.free - sum(job.rows for job in self._reading)
        while (job := self._next(free)) is not None:
            self._reading.append(job)
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
            self._took(job, shared=shared)

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
            self._embedded(job, np.asarray(read.pooled)[0])
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

    def _forget(self) -> list[Job]:
        jobs = [*self._reading, *(job for job, _ in self._candidates.values())]
        self._reading, self._candidates, self._pending = [], {}, None
        self._table = self._empty_table()
        return jobs
