"""The desk over onnxruntime: requests wait for one CPU, and a few replies grow in turn.

One thread owns the runtime and its rows; how jobs reach it is in `sample.intake`. Between two
turns of the replies that grow, one chunk of one prompt is read, the shortest first.

Invariant: what a request is answered does not depend on the requests beside it.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from castor.device.engine import DeviceEngine
from castor.device.speaking import Kept, Reading, Voice
from castor.sample.ask import Ask, Failed, Late, News
from castor.sample.decode import Drawn
from castor.sample.intake import IN_TURN, Intake
from castor.sample.jobs import Candidate, Job

STRIDE = 4  # ids that a reply says in its turn, if nothing decides each of them
ROWS = 8  # most replies that grow at once: one request may ask for so many


@dataclass(eq=False)
class Work:
    """A request that is worked on: its prompt as it is read, then its replies as they grow."""

    job: Job
    reading: Reading
    replies: list[tuple[Candidate, Voice]] = field(default_factory=list)


class Desk(Intake):
    """Takes requests until it is closed. `rows` is the most replies that grow at once, `queue`
    the most requests that wait for one."""

    def __init__(
        self, engine: DeviceEngine, *, name: str, rows: int = ROWS, queue: int = 128
    ) -> None:
        super().__init__(engine, name=name, rows=rows, queue=queue)
        self._reader, self._runtime = engine, engine.runtime
        self._kept = Kept()
        self._works: list[Work] = []
        self._chunks = 0
        self._open_up()

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of media that the model perceives."""
        kinds = self._runtime.kinds
        return kinds | {"video"} if "image" in kinds else kinds

    @property
    def answering(self) -> int:
        """Replies that are growing."""
        return sum(len(work.replies) for work in self._works)

    def _busy(self) -> bool:
        return bool(self._works)

    def _prepared(self, ask: Ask) -> Job:
        job = super()._prepared(ask)
        if ask.candidates > self._rows:
            raise ValueError(
                f"{ask.candidates} candidates; this server answers {self._rows} at once"
            )
        return job

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
        self._sweep_waiting(now)
        for work in list(self._works):
            if work.job.late(now):
                self._give_up(work, Late())

    def _admit(self) -> None:
        """Begin to read what has come, as far as its replies may grow."""
        while (job := self._next(self._free)) is not None:
            row, shared = (None, 0) if job.ask is None else self._kept.taken(job.prompt)
            row = self._runtime.row(len(job.prompt)) if row is None else row
            pools = job.ask is None
            reading = Reading(self._runtime, job.prompt, row=row, shared=shared, pools=pools)
            self._works.append(Work(job, reading))
            self._took(job, shared=shared)

    @property
    def _free(self) -> float:
        """How many replies may still begin; where none grows, any number of one request."""
        taken = sum(max(work.job.rows, 1) for work in self._works)
        return self._rows - taken if taken else float("inf")

    def _begin(self, work: Work) -> None:
        """A prompt is read: its replies begin, or its states were all that was wanted."""
        job, reading = work.job, work.reading
        if job.embedded is not None:
            self._embedded(job, reading.pooled)
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
        return self._reader.read(self._reader.unasked)

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

    def _forget(self) -> list[Job]:
        jobs = [work.job for work in self._works]
        self._works.clear()
        self._kept = Kept()
        return jobs
