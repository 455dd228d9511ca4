"""The engine over onnxruntime: the same documents in, the same replies out, on a CPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from castor.device.choose import logprob
from castor.device.encoders import readable
from castor.device.runtime import Row, Runtime
from castor.device.speaking import CHUNK, Reading, Voice
from castor.models.image_codec import Codec, CodecConfig
from castor.sample.choose import Sampling
from castor.sample.engine import Engine, Score, Talk
from castor.sample.grammar import Rules
from castor.sample.reading import prompt_of
from castor.sample.session import said_most
from castor.sample.transcript import Transcript
from castor.tokens.render import Piece, Tokens
from castor.tokens.vocab import Vocab

HELD = 2**24  # numbers in the logits that are held at once while a document is judged


class DeviceEngine(Engine):
    """A folder of graphs, as `stored.keep` writes them, ready to answer.

    Greedy replies are those of `Engine` with the same weights; draws are not, but a seed says the
    same thing again. Media whose encoders have no graph are refused like those of which a model has
    none. Drawn pictures are painted by JAX.

    Raises:
        ValueError: graphs, vocabulary and codec do not belong together.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vocab: Vocab,
        codec: tuple[Codec, CodecConfig] | None = None,
        threads: int = 0,
    ) -> None:
        self.runtime = Runtime(folder, threads=threads)
        self._furnish(readable(self.runtime.config), vocab, codec)

    def read(self, tokens: Tokens) -> tuple[Row, np.ndarray]:
        """A row that holds these tokens, and the logits after them."""
        row = self.runtime.row(len(tokens.ids))
        reading = Reading(self.runtime, prompt_of(tokens), row=row)
        while reading.left:
            reading.advance()
        return reading.row, reading.logits

    def _session(
        self, prompts: Sequence[Tokens], sampling: Sampling, law: Rules, *, numbers: Sequence[int]
    ) -> Talk:
        return Session(self, prompts, sampling=sampling, law=law, numbers=numbers)

    def _judge(self, documents: Sequence[Tokens], sizes: Sequence[int]) -> list[Score]:
        return [self._judged(tokens, size) for tokens, size in zip(documents, sizes, strict=True)]

    def _judged(self, tokens: Tokens, size: int) -> Score:
        """Logits are held of few positions at once: of a large vocabulary they are many numbers."""
        learned = np.flatnonzero(tokens.weights > 0)
        learned = learned[learned > 0]
        prompt, most = prompt_of(tokens), max(1, min(CHUNK, HELD // self.config.vocab))
        reading = Reading(self.runtime, prompt, row=self.runtime.row(len(prompt)))
        nats, right = 0.0, 0
        while reading.left:
            start = reading.row.length
            logits = reading.advance(most, wanted=learned - 1)
            here = learned[(learned > start) & (learned <= reading.row.length)]
            for scores, i in zip(logits, tokens.ids[here], strict=False):
                nats += logprob(scores) - float(scores[i])
                right += bool(scores[i] >= scores.max())
        return Score(nats, len(learned), size, right)


class Session:
    """Prompts and their replies, one after another: on a CPU no reply is quicker beside others."""

    def __init__(
        self,
        engine: DeviceEngine,
        prompts: Sequence[Tokens],
        *,
        sampling: Sampling,
        law: Rules,
        numbers: Sequence[int],
    ) -> None:
        self._engine, self._prompts, self._sampling, self._law = engine, prompts, sampling, law
        self._numbers = numbers
        self._most = [
            said_most(sampling, law, len(prompt.ids), context=engine.config.context)
            for prompt in prompts
        ]
        self._scripts = [Transcript(engine.vocab, stop=sampling.stop) for _ in prompts]
        self._logprobs: list[list[float]] = [[] for _ in prompts]
        self._at = 0  # whose turn it is
        self._voice: Voice | None = None

    @property
    def over(self) -> bool:
        """Whether no reply will say more."""
        return self._at == len(self._prompts)

    def advance(self, steps: int) -> list[list[Piece]]:
        """Draw up to this many more ids of the reply that is under way; what it now shows."""
        shown: list[list[Piece]] = [[] for _ in self._prompts]
        at, script = self._at, self._scripts[self._at]
        voice = self._voice = self._voice or self._begun(at)
        for _ in range(steps):
            said = voice.say()
            shown[at] += script.feed(said.id)
            self._logprobs[at].append(said.logprob)
            if script.ended or voice.over:
                shown[at] += script.close()
                self._at, self._voice = at + 1, None
                break
        return shown

    def heard(self, row: int) -> tuple[tuple[int, ...], tuple[float, ...], bool, int]:
        """A reply's ids, their log-probabilities, whether it ended, and its prompt's length."""
        script, prompt = self._scripts[row], self._prompts[row]
        return tuple(script.ids), tuple(self._logprobs[row]), script.ended, len(prompt.ids)

    def _begun(self, at: int) -> Voice:
        return Voice(
            self._engine.runtime,
            self._engine.read(self._prompts[at]),
            law=self._law,
            sampling=self._sampling,
            number=self._numbers[at],
            most=self._most[at],
            shadow=self._engine.read(self._engine.unasked) if self._sampling.guided else None,
        )
