"""From sums to numbers that people read: what each source costs, in nats, bits or decibels.

Invariant: `metrics.jsonl` tells one story. A run that resumes removes the lines of the steps that
it will take again.
"""

import json
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from castor.core.batch import Batch
from castor.core.files import FULL
from castor.fleet.team import Team
from castor.tokens.control import Control
from castor.tokens.vocab import Vocab
from castor.train.objectives import SOURCES, Loss


class Tally(NamedTuple):
    """What a batch tells without the model."""

    tokens: int  # that are not padding; pictures, where those are what is learned
    learned: int  # positions with a weight above 0
    source_bytes: Float32[np.ndarray, " sources"]  # of UTF-8 that the learned ids stand for
    modalities: dict[int, str]  # source: what its documents hold; absent = text alone


def tally(batch: Batch, *, vocab: Vocab) -> Tally:
    """Counts of one batch of a model."""
    learned = batch.weights > 0
    sources = batch.sources[learned]
    lengths = vocab.byte_lengths[batch.targets[learned]]
    found: dict[int, str] = {}
    for name, marks in _marks(vocab).items():
        for source in np.unique(batch.sources[np.isin(batch.tokens, marks)]).tolist():
            found.setdefault(source, name)
    size = np.bincount(sources, lengths, minlength=SOURCES).astype(np.float32)
    return Tally(int((batch.segments > 0).sum()), int(learned.sum()), size, found)


def _marks(vocab: Vocab) -> dict[str, list[int]]:
    """Ids by which media are known; a source is called by the first that its documents hold."""
    dialogue = vocab.dialogue
    frame = [] if dialogue.clip is None else [*dialogue.clip.before, dialogue.clip.frame.slot]
    slots = {kind: slots.slot for kind, slots in dialogue.slots.items()}
    video = [i for i in frame if isinstance(i, int) and i not in slots.values()]
    drawing = {"drawing": [int(Control.DRAW_BEGIN)]} if dialogue.draws else {}
    return drawing | {"video": video} | {kind: [slot] for kind, slot in slots.items()}


@dataclass
class Sums:
    """Running totals over some steps."""

    steps: int = 0
    tokens: int = 0
    learned: int = 0
    nats: float = 0.0
    count: float = 0.0
    source_nats: Any = field(default_factory=lambda: np.zeros(SOURCES))
    source_right: Any = field(default_factory=lambda: np.zeros(SOURCES))
    source_count: Any = field(default_factory=lambda: np.zeros(SOURCES))
    source_bytes: Any = field(default_factory=lambda: np.zeros(SOURCES))
    modalities: dict[int, str] = field(default_factory=dict)

    def add(self, loss: Loss, told: Tally) -> None:
        """One more step's sums."""
        self.steps += 1
        self.tokens += told.tokens
        self.learned += told.learned
        self.nats += float(loss.nats)
        self.count += float(loss.count)
        self.source_nats += np.asarray(loss.source_nats)
        self.source_right += np.asarray(loss.source_right)
        self.source_count += np.asarray(loss.source_count)
        self.source_bytes += told.source_bytes
        self.modalities |= told.modalities

    @property
    def loss(self) -> float:
        """What is minimised, per unit of weight."""
        return self.nats / max(self.count, 1e-9)


NOTHING = Tally(0, 0, np.zeros(SOURCES, np.float32), {})  # of rows that another process tells of


def shared(sums: Sums, team: Team) -> Sums:
    """The sums, with what the batches told every process of the run."""
    if team.processes == 1:
        return sums
    mine = [sums.tokens, sums.learned, sums.source_bytes.tolist(), list(sums.modalities.items())]
    told = [json.loads(text) for text in team.everyones("tally", json.dumps(mine))]
    tokens, learned, size, modalities = zip(*told, strict=True)
    return replace(
        sums,
        tokens=sum(tokens),
        learned=sum(learned),
        source_bytes=np.sum(size, axis=0),
        modalities=dict(item for items in modalities for item in items),
    )


def next_token_numbers(sums: Sums, names: tuple[str, ...]) -> dict[str, Any]:
    """Nats and accuracy per learned token and, where those are text, bits per byte of it.

    Bits per byte include the bits that end a turn, which stands for no byte.
    """
    modality = [sums.modalities.get(i, "text") for i in range(len(names))]
    seen = [i for i in range(len(names)) if sums.source_count[i] > 0]
    kinds = {kind: [i for i in seen if modality[i] == kind] for kind in sorted(set(modality))}
    return {
        "sources": {names[i]: _costs(sums, [i], modality[i]) for i in seen},
        "modalities": {kind: _costs(sums, those, kind) for kind, those in kinds.items() if those},
    }


def reconstruction_numbers(sums: Sums, names: tuple[str, ...]) -> dict[str, Any]:
    """Peak signal-to-noise ratio of each source's pictures, in decibels."""
    seen = [i for i in range(len(names)) if sums.source_count[i] > 0]
    errors = {names[i]: float(sums.source_nats[i] / sums.source_count[i]) for i in seen}
    return {"sources": {n: {"psnr": -10 * math.log10(max(e, 1e-9))} for n, e in errors.items()}}


class Log:
    """The JSONL file of a run, from a step on; only the first process of a run writes it.

    On a full disk lines wait for the next one; those that still wait at the end are lost.
    """

    def __init__(self, path: Path, *, start: int, team: Team) -> None:
        self._path = path if team.first else None
        self._waiting: list[dict[str, Any]] = []
        self._last: dict[str, Any] | None = None  # the line that it goes on after
        self.back(start)

    def back(self, step: int) -> None:
        """Forget what comes after a step: it will be taken again. That needs no room."""
        self._waiting = [line for line in self._waiting if line["step"] <= step]
        if self._path is None:
            return
        self._path.touch()
        size, self._last = 0, None
        for line in self._path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n") or (record := json.loads(line))["step"] > step:
                break
            size, self._last = size + len(line), record
        os.truncate(self._path, size)

    def add(self, record: dict[str, Any]) -> None:
        """One line more; numbers have six digits, and what is not finite is null."""
        if self._path is None or _short(record) == self._last:  # measured again
            return
        self._waiting.append(_short(record))
        size = self._path.stat().st_size
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write("".join(json.dumps(line) + "\n" for line in self._waiting))
            self._waiting = []
        except OSError as error:
            if error.errno not in FULL:
                raise
            os.truncate(self._path, size)


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file; a last one that was cut off in mid-word is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def _costs(sums: Sums, members: list[int], modality: str) -> dict[str, float]:
    nats, right, count, size = (
        float(values[members].sum())
        for values in (sums.source_nats, sums.source_right, sums.source_count, sums.source_bytes)
    )
    text = size > 0 and modality != "drawing"  # a picture's codes stand for no bytes
    per_byte = {"bits_per_byte": nats / math.log(2) / size} if text else {}
    return {"nats": nats / count, "accuracy": right / count, **per_byte, "targets": count}


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
