"""How the next id of one reply is chosen, as `sample.choose` and `sample.grammar` say, in NumPy.

Greedy choices are the same as there. Draws follow the same distribution, from another generator:
a seed says the same thing again here, but not what it says there.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int

from castor.sample.choose import Sampling
from castor.sample.grammar import ALLOWED, CLOSE, CODES, HEIGHT, ONLY, OVER, TEXT, WIDTH, Rules
from castor.tokens.control import SIDES, Control


class Pen:
    """Where a reply stands in the grammar of texts and pictures."""

    def __init__(self, law: Rules, size: int) -> None:
        self._law, self._size = law, size
        self._ends = sorted({int(i) for i in np.ravel(law.ends)})
        self._height, self._left = 0, 0
        self.mode = TEXT

    def allowed(self, *, room: int, first: bool) -> Bool[np.ndarray, " V"]:
        """Which ids may come next; `room` ids fit, and `first` is true where none was said."""
        law, may = self._law, np.zeros(self._size, np.bool_)
        if self.mode == TEXT:
            only = int(law.pictures) == ONLY
            draws = room >= law.picture_ids and (law.pictures == ALLOWED or (only and first))
            if not only:
                may[int(law.text_start) : int(law.text_stop)] = True
            if draws:
                may[Control.DRAW_BEGIN] = True
            if not (only and draws):
                may[self._ends] = True
        elif self.mode in (HEIGHT, WIDTH):
            high = self.mode == HEIGHT
            wanted = int(law.height if high else law.width)
            fitting = room - 3 if high else (room - 2) // max(self._height, 1)
            most = wanted or min(max(fitting, 1), SIDES)
            may[Control.SIDE + max(wanted, 1) : Control.SIDE + most + 1] = True
        elif self.mode == CODES:
            may[int(law.code_start) : int(law.code_start + law.codes)] = True
        else:
            may[Control.DRAW_END if self.mode == CLOSE else self._ends] = True
        return may

    def follow(self, i: int) -> None:
        """The id that came."""
        side = i - Control.SIDE
        if self.mode == TEXT:
            if i == Control.DRAW_BEGIN and self._law.codes > 0:
                self.mode = HEIGHT
            elif i in self._ends:
                self.mode = OVER
        elif self.mode == HEIGHT:
            self.mode, self._height = WIDTH, side
        elif self.mode == WIDTH:
            self.mode, self._left = CODES, self._height * side
        elif self.mode == CODES:
            self._left -= 1
            self.mode = CODES if self._left > 0 else CLOSE
        elif self.mode == CLOSE:
            self.mode = TEXT


def penalised(
    logits: Float32[np.ndarray, " V"], counts: Int[np.ndarray, " V"], *, sampling: Sampling
) -> Float32[np.ndarray, " V"]:
    """Logits less the penalties for what was said, as `choose.penalise`."""
    said = np.flatnonzero(counts)
    changed, here = logits.copy(), logits[said]
    rate = np.float32(sampling.repetition_penalty)
    here = np.where(here > 0, here / rate, here * rate) - np.float32(sampling.presence_penalty)
    times = counts[said].astype(np.float32)
    changed[said] = here - np.float32(sampling.frequency_penalty) * times
    return changed


def drawn(
    logits: Float32[np.ndarray, " V"], *, sampling: Sampling, random: np.random.Generator
) -> int:
    """One id, the likeliest where the temperature is 0; one at minus infinity never."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    few = np.flatnonzero(logits > -np.inf)
    scaled = logits[few] / np.float32(max(sampling.temperature, 1e-4))
    if 0 < sampling.top_k < len(few):
        least = np.partition(scaled, -sampling.top_k)[-sampling.top_k]
        few, scaled = few[scaled >= least], scaled[scaled >= least]
    if sampling.top_p < 1:
        kept = scaled >= _least_of(scaled, sampling.top_p)
        few, scaled = few[kept], scaled[kept]
    return int(few[(scaled + random.gumbel(size=len(few))).argmax()])


def logprob(logits: Float32[np.ndarray, " V"]) -> float:
    """What to take from a logit for its log-probability in nats."""
    top = logits.max()
    return float(top + np.log(np.exp(logits - top).sum()))


def likeliest(logits: Float32[np.ndarray, " V"], count: int) -> Int[np.ndarray, " count"]:
    """The ids of the largest logits, best first; of those that tie the lowest."""
    if count == 0:
        return np.zeros(0, np.int64)
    least = np.partition(logits, -count)[-count]
    among = np.flatnonzero(logits >= least)
    return among[np.argsort(-logits[among], kind="stable")[:count]]


def _least_of(scaled: Float32[np.ndarray, " n"], share: float) -> np.float32:
    """The smallest of the likeliest that hold this share."""
    order = np.sort(scaled)[::-1]
    shares = np.exp(order - order[0])
    enough = np.cumsum(shares / shares.sum()) >= share
    return order[int(enough.argmax()) if enough.any() else -1]
