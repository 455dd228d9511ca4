"""Prompts read into rows chunk by chunk, and replies drawn from them id by id.

Invariant: neither how a prompt is cut nor what of it was kept from before changes what is said.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64

from castor.core.batch import Signal
from castor.device.choose import Pen, drawn, likeliest, logprob, penalised
from castor.device.runtime import Row, Runtime
from castor.models.modality import is_causal
from castor.models.per_layer import MEDIA
from castor.sample.choose import Sampling
from castor.sample.grammar import CODES, OVER, Rules
from castor.sample.reading import Prompt, common

CHUNK = 256  # most ids that are read at once, but for a medium that is longer
KEEP = 4  # rows that are kept for prompts which begin like them
LEAST = 16  # fewer ids in common are as quickly read as found


class Reading:
    """One prompt on its way into a row, of which `shared` positions hold its beginning already.

    `logits` come of its last id; only where it `pools`, `pooled` is the sum of its final states.
    """

    def __init__(
        self,
        runtime: Runtime,
        prompt: Prompt,
        *,
        row: Row,
        shared: int = 0,
        pools: bool = False,
    ) -> None:
        self._runtime, self._prompt, self.row, self._pools = runtime, prompt, row, pools
        row.length = self._at = shared
        self.logits = np.zeros(runtime.config.vocab, np.float32)
        self.pooled = np.zeros(runtime.config.width, np.float32)

    @property
    def left(self) -> int:
        """Ids still to be read."""
        return len(self._prompt) - self._at

    def advance(
        self, most: int = CHUNK, *, wanted: Int[np.ndarray, " w"] | None = None
    ) -> Float32[np.ndarray, "n V"]:
        """Read up to `most` further ids, or one medium that is longer.

        What comes back are the logits after those of them that are `wanted`, by their places in the
        prompt; without it, only logits after the prompt's last id are computed.
        """
        start, stop = self._at, self._stop(self._at + most)
        states, blocks = self._begun(start, stop)
        count, ends = stop - start, stop == len(self._prompt)
        inside = [] if wanted is None else wanted[(wanted >= start) & (wanted < stop)] - start
        asked = [int(i) for i in inside] + [count - 1] * ends
        kept = range(count) if self._pools else asked or [count - 1]
        came = self._runtime.extend(
            self.row,
            states,
            blocks=blocks,
            kept=kept,
            asked=asked if self._pools else range(len(asked)),
        )
        self._at = stop
        self.logits = came.logits[-1] if ends else self.logits
        self.pooled += came.final.sum(0) if self._pools else 0
        return came.logits

    def _begun(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """What is before the first layer, and the blocks of media."""
        runtime, ids = self._runtime, self._prompt.tokens.ids[start:stop].copy()
        blocks, media = np.zeros(stop - start, np.int32), list[tuple[slice, Signal]]()
        for number, (at, signal) in enumerate(self._prompt.tokens.signals, start=1):
            if start <= at < stop:
                here = slice(at - start, at - start + len(signal.values))
                ids[here] = MEDIA
                blocks[here] = 0 if is_causal(signal.kind, runtime.config) else number
                media.append((here, signal))
        states = runtime.embed(ids)
        for here, signal in media:
            encoded = runtime.encode(signal.kind, signal.values, signal.places)
            states[here, : runtime.config.width] = encoded
        return states, blocks

    def _stop(self, most: int) -> int:
        """Where the next chunk ends: before a medium that it would part, or after it."""
        stop = min(most, len(self._prompt))
        for start, end in self._prompt.media:
            if start < stop < end:
                return start if start > self._at else end
        return stop


class Said(NamedTuple):
    """An id, its log-probability, and the likeliest in its place with theirs, best first. The
    model's own, before grammar, penalties, temperature and guidance."""

    id: int
    logprob: float
    likely: Int[np.ndarray, " n"]
    likely_logprobs: Float32[np.ndarray, " n"]


class Voice:
    """One reply as it grows, of at most `most` ids. `shadow` is a row that read a prompt which asks
    nothing, and its logits: guidance compares with it."""

    def __init__(
        self,
        runtime: Runtime,
        read: tuple[Row, Float32[np.ndarray, " V"]],
        *,
        law: Rules,
        sampling: Sampling,
        number: int,
        most: int,
        shadow: tuple[Row, Float32[np.ndarray, " V"]] | None = None,
    ) -> None:
        self._runtime, self._sampling, self._law, self.most = runtime, sampling, law, most
        self.row, self._logits = read
        self._shadow = shadow
        self._pen = Pen(law, runtime.config.vocab)
        self._counts = np.zeros(runtime.config.vocab if sampling.penalises else 0, np.int32)
        self._seed = (sampling.seed + number) % 2**32
        self._ids: list[int] = []
        self._unread: int | None = None  # the last id, where the row does not hold it yet

    @property
    def over(self) -> bool:
        """Whether it ended, or may say no more."""
        return self._pen.mode == OVER or len(self._ids) >= self.most

    def say(self, may: Bool[np.ndarray, " V"] | None = None, *, likely: int = 0) -> Said:
        """The next id: one of those that `may` come or, without it, that the grammar allows."""
        if self._unread is not None:
            self._logits = self._read(self.row, self._unread)
            if self._shadow is not None:
                row = self._shadow[0]
                self._shadow = row, self._read(row, self._unread)
        said = len(self._ids)
        if may is None:
            may = self._pen.allowed(room=self.most - said, first=not said)
        masked = np.where(may, self._mixed(), -np.inf).astype(np.float32)
        random = np.random.default_rng([self._seed, said])
        chosen = drawn(masked, sampling=self._sampling, random=random)
        self._take(chosen)
        total = logprob(self._logits)
        best = likeliest(self._logits, likely)
        return Said(chosen, float(self._logits[chosen]) - total, best, self._logits[best] - total)

    def _take(self, i: int) -> None:
        self._pen.follow(i)
        self._ids.append(i)
        self._unread = i
        if len(self._counts) and self._law.text_start <= i < self._law.text_stop:
            self._counts[i] += 1

    def _read(self, row: Row, i: int) -> Float32[np.ndarray, " V"]:
        return self._runtime.extend(row, self._runtime.embed(np.array([i]))).logits[0]

    def _mixed(self) -> Float32[np.ndarray, " V"]:
        """The logits after guidance and penalties."""
        logits = self._logits
        if self._shadow is not None and self._pen.mode == CODES:
            unasked = self._shadow[1]
            logits = unasked + np.float32(self._sampling.guidance) * (logits - unasked)
        if len(self._counts):
            logits = penalised(logits, self._counts, sampling=self._sampling)
        return logits


class Kept:
    """Rows of what was read and said last, for prompts that begin like one of them."""

    def __init__(self, most: int = KEEP) -> None:
        self._most = most
        self._rows: list[tuple[Int64[np.ndarray, " n"], Row]] = []  # the longest unused ones first

    def taken(self, prompt: Prompt) -> tuple[Row | None, int]:
        """The row that shares most with the prompt, kept no longer, and how many ids that is."""
        shares = [common(prompt, marks) for marks, _ in self._rows]
        if not shares or max(shares) < LEAST:
            return None, 0
        _, row = self._rows.pop(shares.index(max(shares)))
        return row, max(shares)

    def keep(self, marks: Int64[np.ndarray, " n"], row: Row) -> None:
        """Remember a row, which holds these marks or the first of them."""
        self._rows.append((marks[: row.length], row))
        del self._rows[: -self._most]
