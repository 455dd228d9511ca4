"""A model's graphs under onnxruntime: states into rows of a cache that is never copied.

Invariant: only positions of a row that lie before its length are looked at; so a row may be cut
back, and goes on from there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from jaxtyping import Float32, Int, Int32, Shaped

from castor.core.recipe import from_json
from castor.device.layout import (
    CONFIG,
    DECODER,
    EMBEDDING,
    WEIGHTS,
    encoders_in,
    sights,
    states_width,
)
from castor.device.memory import Pages
from castor.models.sizes import ModelConfig

LEAST_ROOM = 256  # positions of the smallest cache; larger ones are twice or more of the last
HIDDEN = np.float32(-1e30)  # what is added to the score of a key that may not be seen
LOOKED_UP = 64  # rows of the table between two times that its pages are let go
FATAL = 4  # onnxruntime logs nothing below: errors are raised anyway


@dataclass(eq=False)
class Row:
    """The keys and values of what one prompt and its reply hold so far."""

    arrays: dict[str, Float32[np.ndarray, "1 K S H"]]  # by what the graph calls them: "k.0", "v.0"
    length: int = 0
    step: "Step | None" = None  # what further single states go through

    @property
    def room(self) -> int:
        """Positions that there is memory for."""
        return next(iter(self.arrays.values())).shape[2]

    def copy(self) -> "Row":
        """Another row that holds the same."""
        return Row({name: array.copy() for name, array in self.arrays.items()}, self.length)


class Came(NamedTuple):
    """What came of further states. A single state's are overwritten by the next of its row."""

    logits: Float32[np.ndarray, "n V"]  # after those that were asked for
    final: Float32[np.ndarray, "m D"]  # of those that were kept


class Runtime:
    """A folder that `stored.keep` wrote, loaded. Not for several threads at once.

    `threads` is how many work on one product; 0 = as many as there are cores.
    """

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        self.config = from_json(ModelConfig, json.loads((folder / CONFIG).read_text()))
        self._sights = sights(self.config)
        self._folder, self._threads = folder, threads
        self._decoder = self._open(DECODER)
        self._embedding = self._open(EMBEDDING)
        self._encoders = {kind: self._open(name) for kind, name in encoders_in(folder).items()}
        self._pages, self._looked_up = Pages(folder / WEIGHTS), 0
        self._pages.let_go()

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of signals that it reads."""
        return frozenset(self._encoders)

    def row(self, room: int) -> Row:
        """An empty row of at least so many positions."""
        arrays = {}
        for i, layer in enumerate(self.config.every_layer):
            if layer.keys_of is not None:
                continue
            heads, width = self.config.kv_heads_of(layer), self.config.head_width_of(layer)
            shape = (1, heads, max(room, LEAST_ROOM), width)
            arrays |= {f"{name}.{i}": np.zeros(shape, np.float32) for name in "kv"}
        return Row(arrays)

    def embed(self, ids: Int[np.ndarray, " T"]) -> Float32[np.ndarray, "T W"]:
        """What the tokens of these ids are before the first layer; W is `layout.states_width`, of
        which the first D are states that media may stand in for."""
        states = _only(self._embedding, {"ids": ids.astype(np.int64)})
        self._looked_up += len(ids)
        if self._looked_up >= LOOKED_UP:
            self._pages.let_go()
            self._looked_up = 0
        return states

    def encode(
        self, kind: str, values: Shaped[np.ndarray, " M *window"], places: Int32[np.ndarray, "M 2"]
    ) -> Float32[np.ndarray, "M D"]:
        """The states of one medium's slots."""
        feed = {"values": values.astype(np.float32), "places": places.astype(np.int64)}
        return _only(self._encoders[kind], feed)

    def extend(
        self,
        row: Row,
        states: Float32[np.ndarray, "T W"],
        *,
        blocks: Int32[np.ndarray, " T"] | None = None,
        asked: Sequence[int] | None = None,
        kept: Sequence[int] | None = None,
    ) -> Came:
        """Put further states into a row, which grows as it must.

        Slots of one medium, equal `blocks` above 0, must come in one call. Of the states of this
        call, counted from 0, those that are `kept` are computed to the end (None = the last), and
        of those, counted anew, logits are given where they are `asked` for (None = of all).
        """
        (T, _), length = states.shape, row.length
        if row.room < length + T:
            _grow(row, max(2 * row.room, length + T), most=self.config.context)
        plain = asked is None and kept is None
        kept = [T - 1] if kept is None else kept
        asked = range(len(kept)) if asked is None else asked
        if T == 1 and plain:
            step = row.step = row.step or Step(self._decoder, row, self.config, 1, kept, asked)
        else:
            step = Step(self._decoder, row, self.config, T, kept, asked)
        blocks = np.zeros(T, np.int32) if blocks is None else blocks
        biases = [bias_of(blocks, length, window=sight.window) for sight in self._sights]
        row.length = length + T
        return step(states, total=row.length, biases=biases)

    def _open(self, name: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = FATAL
        options.enable_cpu_mem_arena = False  # it would keep what the longest chunk once took
        return onnxruntime.InferenceSession(
            self._folder / name, options, providers=["CPUExecutionProvider"]
        )


def _only(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> np.ndarray:
    """A graph's one output."""
    (found,) = session.run(None, feed)
    assert isinstance(found, np.ndarray)
    return found


def bias_of(
    blocks: Int32[np.ndarray, " T"], length: int, *, window: int | None
) -> Float32[np.ndarray, "1 1 T S"]:
    """What is added to the scores of T further states in a row that holds `length`: 0 for keys
    that may be seen, as in `cache.written`."""
    T = len(blocks)
    places, columns = np.arange(length, length + T)[:, None], np.arange(length + T)[None]
    seen = columns <= places
    if blocks.any():
        of_column = np.concatenate([np.zeros(length, np.int32), blocks])[None]
        seen = seen | ((of_column == blocks[:, None]) & (blocks[:, None] > 0))
    if window is not None:
        seen = seen & (columns > places - window)
    return np.where(seen, np.float32(0), HIDDEN)[None, None]


class Step:
    """So many states at once through one row, its memory bound to the graph."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        row: Row,
        config: ModelConfig,
        count: int,
        kept: Sequence[int],
        asked: Sequence[int],
    ) -> None:
        self._session, self._binding = session, session.io_binding()
        D = config.width
        self._states = np.zeros((1, count, states_width(config)), np.float32)
        self._last, self._total = np.zeros(1, np.int32), np.zeros((), np.int32)
        self._kept, self._asked = (np.array(places, np.int64) for places in (kept, asked))
        shapes = (len(asked), config.vocab), (len(kept), D)
        self._came = Came(*(np.zeros(shape, np.float32) for shape in shapes))
        self._in("states", self._states)
        self._in("last", self._last)
        self._in("total", self._total)
        self._in("kept", self._kept)
        self._in("asked", self._asked)
        self._out("logits", self._came.logits)
        self._out("final", self._came.final)
        for name, array in row.arrays.items():
            self._in(f"past.{name}", array)
        for i, layer in enumerate(config.every_layer):
            for name in "kv":
                holder = i if layer.keys_of is None else layer.keys_of
                self._out(f"present.{name}.{i}", row.arrays[f"{name}.{holder}"])

    def __call__(
        self, states: Float32[np.ndarray, "T W"], *, total: int, biases: Sequence[np.ndarray]
    ) -> Came:
        """The row holds `total` states with these."""
        self._states[0] = states
        self._last[0], self._total[...] = total - 1, total
        for n, bias in enumerate(biases):
            self._in(f"bias.{n}", bias)
        self._session.run_with_iobinding(self._binding)
        return self._came

    def _in(self, name: str, array: np.ndarray) -> None:
        self._binding.bind_input(name, *_memory(array))

    def _out(self, name: str, array: np.ndarray) -> None:
        self._binding.bind_output(name, *_memory(array))


def _memory(array: np.ndarray) -> tuple[Any, ...]:
    assert array.flags.c_contiguous
    return "cpu", 0, array.dtype.type, array.shape, array.ctypes.data


def _grow(row: Row, room: int, *, most: int) -> None:
    """Give a row more positions, up to a model's most."""
    assert row.length < room, "a row is only grown"
    room = max(min(room, most), row.length + 1)
    for name, array in row.arrays.items():
        longer = np.zeros((*array.shape[:2], room, array.shape[3]), np.float32)
        longer[:, :, : row.length] = array[:, :, : row.length]
        row.arrays[name] = longer
    row.step = None
