"""The desk over onnxruntime: requests wait for one CPU, and a few replies grow in turn.

One thread owns the runtime and its rows. Between two turns of the replies that grow, one chunk of
one prompt is read, the shortest first. Requests come from event loops: `ask` renders the prompt in
a worker thread, then queues a job under the desk's lock; news go back through each ticket's loop.

Invariant: what a request is answered does not depend on the requests beside it.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32

from castor.core.content import Document
from castor.device.engine import DeviceEngine
from castor.device.speaking import Kept, Reading, Voice
from castor.sample.ask import Ask, Busy, Constraint, Failed, Late, News
from castor.sample.decode import Drawn
from castor.sample.engine import next_role
from castor.sample.jobs import Candidate, Job, Tally, job_for, job_to_embed, resolve
from castor.sample.languages import language
from castor.sample.ticket import Counted, Ticket, counted

STRIDE = 4  # ids that a reply says in its turn, if nothing decides each of them
IN_TURN = 8  # each so many chunks the oldest prompt is read on, not the shortest
ROWS = 8  # most replies that grow at once: one request may ask for so many

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Work:
    """A request that is worked on: its prompt as it is read, then its replies as they grow."""

    job: Job
    reading: Reading
    replies: list[tuple[Candidate, Voice]] = field(default_factory=list)


class Desk:
    """Takes requests until it is closed. `rows` is the most replies that grow at once, `queue`
    the most requests that wait for one."""

    def __init__(
        self, engine: DeviceEngine, *, name: str, rows: int = ROWS, queue: int = 128
    ) -> None:
        self.name, self.tally = name, Tally()
        self.context, self.draws, self.embeds = (
            engine.config.context,
            engine.codec is not None,
            True,
        )
        self._engine, self._runtime = engine, engine.runtime
        self._rows, self._most = rows, queue
        self._kept = Kept()
        self._waiting: deque[Job] = deque()
        self._works: list[Work] = []
        self._told: list[tuple[Ticket, News | Exception]] = []
        self._chunks = 0
        self._open = True
        self._bell = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="castor-device", daemon=True)
        self._thread.start()

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of media that the model perceives."""
        kinds = self._runtime.kinds
        return kinds | {"video"} if "image" in kinds else kinds

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def answering(self) -> int:
        """Replies that are growing."""
        return sum(len(work.replies) for work in self._works)

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
        job = await asyncio.to_thread(job_for, ask, engine=self._engine)
        if ask.candidates > self._rows:
            raise ValueError(
                f"{ask.candidates} candidates; this server answers {self._rows} at once"
            )
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
                while self._open and not (self._waiting or self._works):
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
        """A chunk of a prompt that is not read, and a turn of every reply."""
        self._sweep()
        self._admit()
        unread = [work for work in self._works if work.reading.left]
        if unread:
            self._chunks += 1
            shortest = min(unread, key=lambda work: work.reading.left)
            work = unread[0] if self._chunks % IN_TURN == 0 else shortest
            work.reading.advance()
            self.tally.calls += 1
            if not work.reading.left:
                self._begin(work)
        for work in list(self._works):
            for candidate, voice in list(work.replies):
                try:
                    self._turn(work, candidate, voice)
                except Failed as error:  # of its constraint, which is nobody else's
                    self._give_up(work, error)
                    break
            if not work.reading.left and not work.replies and work in self._works:
                self._works.remove(work)
            self._flush()

    def _sweep(self) -> None:
        """Let go of what nobody waits for, and of what is late."""
        now = time.monotonic()
        with self._bell:
            for job in [job for job in self._waiting if job.dropped or job.deadline < now]:
                self._waiting.remove(job)
                self._end(job, Late())
        for work in list(self._works):
            if work.job.dropped or work.job.deadline < now:
                self._give_up(work, Late())

    def _admit(self) -> None:
        """Begin to read what has come, as far as its replies may grow."""
        while True:
            taken = sum(max(work.job.rows, 1) for work in self._works)
            with self._bell:
                if not self._waiting or (taken and taken + self._waiting[0].rows > self._rows):
                    return
                job = self._waiting.popleft()
            row, shared = (None, 0) if job.ask is None else self._kept.taken(job.prompt)
            row = self._runtime.row(len(job.prompt)) if row is None else row
            pools = job.ask is None
            reading = Reading(self._runtime, job.prompt, row=row, shared=shared, pools=pools)
            self._works.append(Work(job, reading))
            if job.ticket is not None:
                job.ticket.reused = shared
            self.tally.requests += 1
            self.tally.prompt_tokens += len(job.prompt)
            self.tally.reused_tokens += shared

    def _begin(self, work: Work) -> None:
        """A prompt is read: its replies begin, or its states were all that was wanted."""
        job, reading = work.job, work.reading
        if job.embedded is not None:
            pooled = reading.pooled
            resolve(job.embedded, pooled / max(float(np.linalg.norm(pooled)), 1e-12))
        elif job.ask is not None and job.law is not None:
            for number in range(job.ask.candidates):
                last = number == job.ask.candidates - 1
                row = reading.row if last else reading.row.copy()
                voice = Voice(
                    self._runtime,
                    (row, reading.logits),
                    law=job.law,
                    sampling=job.ask.sampling,
                    number=number,
                    most=job.most,
                    shadow=self._shadow() if job.ask.sampling.guided else None,
                )
                work.replies.append((job.candidate(number, vocab=self._engine.vocab), voice))

    def _shadow(self) -> tuple[Any, np.ndarray]:
        """A row of a prompt that asks nothing, which guidance compares with."""
        return self._engine.read(self._engine.unasked)

    def _turn(self, work: Work, candidate: Candidate, voice: Voice) -> None:
        """A few more ids of one reply."""
        likely = candidate.alternatives
        guided = candidate.guide is not None
        said = [voice.say(candidate.sitter.may, likely=likely)]
        while not guided and not voice.over and len(said) < STRIDE:
            said.append(voice.say(likely=likely))
        columns: list[Any] = [np.array([column]) for column in zip(*said, strict=True)]
        columns += [np.array(len(said)), np.array([voice.over])]
        drawn = Drawn(*columns)
        tokens, pieces = candidate.listen(drawn, row=0, steps=len(said))
        self.tally.drawn_tokens += len(tokens)
        (parts,) = self._engine.parts([pieces])
        finish = None
        if candidate.over:
            finish = "stop" if candidate.script.ended else "length"
            work.replies.remove((candidate, voice))
            self._keep(work, candidate, voice)
        if work.job.ticket is not None:
            news = News(candidate.number, tuple(parts), tuple(tokens), finish)
            self._told.append((work.job.ticket, news))

    def _keep(self, work: Work, candidate: Candidate, voice: Voice) -> None:
        """What a reply's row holds is of use to the talk's next turn."""
        marks = np.concatenate([work.job.prompt.marks, np.array(candidate.script.ids, np.int64)])
        self._kept.keep(marks, voice.row)

    def _give_up(self, work: Work, error: Exception) -> None:
        """End a request that is worked on."""
        self._works.remove(work)
        for candidate, voice in work.replies:
            self._keep(work, candidate, voice)
        work.replies.clear()
        self._end(work.job, error)

    def _end(self, job: Job, error: Exception) -> None:
        if job.ticket is not None and not job.ticket.cancelled:
            self._told.append((job.ticket, error))
        if job.embedded is not None:
            resolve(job.embedded, error)

    def _drop_all(self, error: Exception) -> None:
        """Start afresh: nothing that was under way goes on."""
        with self._bell:
            jobs = [*self._waiting, *(work.job for work in self._works)]
            self._waiting.clear()
        self._works.clear()
        self._kept = Kept()
        for job in jobs:
            self._end(job, error)

    def _flush(self) -> None:
        told, self._told = self._told, []
        if told:
            Ticket.deliver(told)
