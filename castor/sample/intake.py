"""What every desk has: a queue, one thread that works through it, and news to whoever asked.

Requests come from event loops: `ask` renders the prompt in a worker thread, then puts a job into
the queue under the lock; news of the thread go back through each ticket's loop. Nothing else
crosses.
"""

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from castor.core.content import Document
from castor.sample.ask import Ask, Busy, Constraint, Failed, Late, News
from castor.sample.engine import Engine, next_role
from castor.sample.jobs import Job, Tally, job_for, job_to_embed, resolve
from castor.sample.languages import language
from castor.sample.ticket import Counted, Ticket, counted

IN_TURN = 8  # each so many chunks the oldest prompt is read on, not the shortest

log = logging.getLogger(__name__)


class Intake(ABC):
    """Takes requests until it is closed. `rows` is the most replies that grow at once, `queue` the
    most requests that wait for one. Whoever inherits calls `_open_up` when all is there."""

    def __init__(self, engine: Engine, *, name: str, rows: int, queue: int) -> None:
        assert engine.embedder is None, "a model that embeds has a desk of its own"
        self.name, self.tally = name, Tally()
        self.context, self.draws = engine.config.context, engine.codec is not None
        self.embeds = True
        self._engine, self._rows, self._most = engine, rows, queue
        self._waiting: deque[Job] = deque()
        self._begun: list[Job] = []  # between the queue and what is worked on: one at most
        self._told: list[tuple[Ticket, News | Exception]] = []
        self._open = True
        self._bell = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="castor-desk", daemon=True)

    @abstractmethod
    def _busy(self) -> bool:
        """Whether a job that left the queue is worked on."""

    @abstractmethod
    def _round(self) -> None:
        """Some of the work, on the thread; jobs are taken in with `_next` and `_took`."""

    @abstractmethod
    def _forget(self) -> Iterable[Job]:
        """Let go of all that is worked on, and say what it was."""

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

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
            ValueError: it does not fit into the context or among the rows, or holds what the model
                cannot read.
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

    def _open_up(self) -> None:
        self._thread.start()

    def _prepared(self, ask: Ask) -> Job:
        return job_for(ask, engine=self._engine)

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
                while self._open and not (self._waiting or self._busy()):
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

    def _next(self, free: float) -> Job | None:
        """The job that has waited longest, if it needs no more rows than are free."""
        with self._bell:
            if not self._waiting or self._waiting[0].rows > free:
                return None
            self._begun = [self._waiting.popleft()]
            return self._begun[0]

    def _took(self, job: Job, *, shared: int) -> None:
        """A job is worked on, and so many ids of its prompt were read before."""
        self._begun = []
        if job.ticket is not None:
            job.ticket.reused = shared
        self.tally.requests += 1
        self.tally.prompt_tokens += len(job.prompt)
        self.tally.reused_tokens += shared

    def _sweep_waiting(self, now: float) -> None:
        """Let go of what waits and is late, or nobody waits for."""
        with self._bell:
            for job in [job for job in self._waiting if job.late(now)]:
                self._waiting.remove(job)
                self._end(job, Late())

    def _embedded(self, job: Job, pooled: Float[np.ndarray, " D"]) -> None:
        """Tell a job the sum of its states, at length 1."""
        assert job.embedded is not None
        resolve(job.embedded, pooled / max(float(np.linalg.norm(pooled)), 1e-12))

    def _end(self, job: Job, error: Exception) -> None:
        if job.ticket is not None and not job.ticket.cancelled:
            self._told.append((job.ticket, error))
        if job.embedded is not None:
            resolve(job.embedded, error)

    def _drop_all(self, error: Exception) -> None:
        """Start afresh: nothing that waits or was under way goes on."""
        with self._bell:
            jobs = [*self._waiting, *self._begun]
            self._waiting.clear()
        self._begun = []
        for job in dict.fromkeys([*jobs, *self._forget()]):
            self._end(job, error)

    def _flush(self) -> None:
        told, self._told = self._told, []
        if told:
            Ticket.deliver(told)
