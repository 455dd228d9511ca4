"""One batch of prompts on its way to replies: what the host keeps beside the compiled loop."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt32

from castor.models.cache import fitted
from castor.models.sizes import ModelConfig
from castor.sample.choose import Sampling, dials
from castor.sample.decode import CALL, How, Running, Seats, read, run
from castor.sample.grammar import Rules, for_rows
from castor.sample.rows import LEAST_LENGTH, bucket, rows_of
from castor.sample.transcript import Transcript
from castor.tokens.render import Piece, Tokens
from castor.tokens.vocab import Vocab

AMPLE = 512  # a cache of up to this many positions is made at once; a larger one grows


class Session:
    """Prompts read, replies growing. `unasked` is the prompt of guidance: one that asks nothing."""

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Tokens],
        *,
        config: ModelConfig,
        vocab: Vocab,
        sampling: Sampling,
        law: Rules,
        numbers: Sequence[int],
        unasked: Tokens,
    ) -> None:
        self._model, self._config, self._sampling = model, config, sampling
        self._law_of_all = law
        self._guided = sampling.guided
        B = bucket(len(prompts))
        self._most = np.zeros(B, np.int32)  # the rows that fill up the batch say nothing
        self._lengths = [len(prompt.ids) for prompt in prompts]
        self._most[: len(prompts)] = [self._budget(length) for length in self._lengths]
        length = bucket(max(self._lengths), least=LEAST_LENGTH)
        empty = Tokens(np.zeros(1, np.int32), np.zeros(1, np.float32), (), ())
        seconds = [*[empty] * (B - len(prompts)), *[unasked] * B] if self._guided else []
        rows = rows_of([*prompts, *seconds], length=length)
        R = len(rows.tokens)
        self._dial, self._law = dials([sampling] * R), for_rows([law] * R)
        self._leader = np.arange(R, dtype=np.int32) % B
        self._shadow = np.arange(R, dtype=np.int32) if R == B else self._leader + np.int32(B)
        self._how = How(sampling.temperature == 0, sampling.penalises, self._guided)
        self._running: Running = read(
            model,
            rows.tokens,
            rows.valid,
            rows.blocks,
            rows.media,
            keys(sampling.seed, [*numbers, *[0] * (R - len(numbers))]),
            config=config,
            penalties=sampling.penalises,
        )
        self._transcripts = [Transcript(vocab, stop=sampling.stop) for _ in prompts]
        self._logprobs: list[list[float]] = [[] for _ in prompts]
        self._said = 0

    @property
    def over(self) -> bool:
        """Whether no row will say more."""
        return not self._live()

    def advance(self, steps: int) -> list[list[Piece]]:
        """Draw up to this many more ids in every row; what each row now shows that is new."""
        steps = min(steps, CALL, int(self._most.max()) - self._said)
        self._make_room(steps)
        live = self._live()
        most = np.zeros_like(self._most)
        most[live] = self._most[live]  # a stop string ends a row that the model would go on with
        self._running, drawn = run(
            self._model,
            self._running,
            self._dial,
            self._law,
            Seats(most[self._leader], self._leader, self._shadow),
            jnp.int32(steps),
            config=self._config,
            how=self._how,
        )
        ids, logprobs = np.asarray(drawn.ids), np.asarray(drawn.logprobs)
        count, shown = int(drawn.steps), [[] for _ in self._transcripts]
        for row in live:
            mine = min(count, int(self._most[row]) - self._said)
            shown[row] = self._hear(row, ids[row, :mine].tolist(), logprobs[row, :mine].tolist())
        self._said += count
        return shown

    def heard(self, row: int) -> tuple[tuple[int, ...], tuple[float, ...], bool, int]:
        """A row's ids, their log-probabilities, whether it ended, and its prompt's length."""
        script = self._transcripts[row]
        logprobs = tuple(self._logprobs[row])
        return tuple(script.ids), logprobs, script.ended, self._lengths[row]

    def _hear(self, row: int, ids: list[int], logprobs: list[float]) -> list[Piece]:
        script = self._transcripts[row]
        shown = [piece for i in ids for piece in script.feed(i)]
        self._logprobs[row] += logprobs[: len(script.ids) - len(self._logprobs[row])]
        if len(script.ids) == self._most[row]:
            shown += script.close()
        return shown

    def _live(self) -> list[int]:
        return [
            row
            for row, script in enumerate(self._transcripts)
            if not script.ended and self._said < self._most[row]
        ]

    def _budget(self, length: int) -> int:
        return said_most(self._sampling, self._law_of_all, length, context=self._config.context)

    def _make_room(self, steps: int) -> None:
        cache, longest = self._running.cache, max(self._lengths)
        whole = _room(longest + int(self._most.max()))
        room = max(min(whole, AMPLE), _room(longest + self._said + steps))
        if cache.room >= room:  # made at once where it is small: each size compiles `run` anew
            return
        self._running = self._running._replace(cache=fitted(cache, room=room))


def _room(positions: int) -> int:
    """The next power of two, or three quarters of it: attention reads what is empty too."""
    whole = bucket(positions, least=2 * LEAST_LENGTH)
    return whole * 3 // 4 if positions <= whole * 3 // 4 else whole


def said_most(sampling: Sampling, law: Rules, length: int, *, context: int) -> int:
    """How many ids a reply to a prompt of this length may have.

    Raises:
        ValueError: there is no room for one, or not for the picture that it must be.
    """
    wanted, left = sampling.max_tokens, context - length
    if sampling.pictures == "only":
        picture = int(law.picture_ids)
        wanted = wanted if sampling.grid == "free" else picture + 1
        if min(wanted, left) < picture:
            raise ValueError(
                f"a picture takes {picture} tokens or more; there are {min(wanted, left)} "
                "left for it"
            )
    if left < 1:
        raise ValueError(
            f"the document takes {length} tokens; this model's context holds {context} and a "
            "reply needs some of them"
        )
    return min(wanted, left)


def keys(seed: int, numbers: Sequence[int]) -> jax.Array:
    """What the rows of these numbers draw with."""
    return _folded(np.array([(seed + n) % 2**32 for n in numbers], np.uint32))


@jax.jit
def _folded(seeds: UInt32[np.ndarray | jax.Array, " B"]) -> jax.Array:
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), seeds)
