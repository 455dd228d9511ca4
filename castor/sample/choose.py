"""How the next id is drawn from the logits; a row's draw never depends on the rows beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, UInt32

from castor.sample.grammar import Pictures


@dataclass(frozen=True)
class Sampling:
    """What a request may set. Temperature 0 is greedy, and then the seed does not matter.

    Penalties look at the text that the reply has so far; picture codes may repeat freely.

    Raises:
        ValueError: a value is outside its range.
    """

    temperature: float = 0.0  # 0 to 2
    top_k: int = 0  # keep the k likeliest ids and all that tie with them; 0 = all
    top_p: float = 1.0  # keep the likeliest ids that hold this much probability
    presence_penalty: float = 0.0  # taken once from the logit of an id already said, -2 to 2
    frequency_penalty: float = 0.0  # taken for each time it was said, -2 to 2
    repetition_penalty: float = 1.0  # divides a positive logit of it, multiplies a negative one
    stop: tuple[str, ...] = ()  # the reply ends before the first of these
    max_tokens: int = 128  # with pictures="only", a picture is whole unless its grid is free
    seed: int = 0
    pictures: Pictures = "never"
    # Codes of a drawn picture. None = as the codec was trained, "free" = the model decides.
    grid: tuple[int, int] | Literal["free"] | None = None
    guidance: float = 0.0  # classifier-free guidance of picture codes; 0 or 1 = off

    def __post_init__(self) -> None:
        ranges = {
            "temperature": (0.0, 2.0),
            "top_p": (0.0, 1.0),
            "presence_penalty": (-2.0, 2.0),
            "frequency_penalty": (-2.0, 2.0),
            "repetition_penalty": (0.1, 10.0),
            "guidance": (0.0, 20.0),
            "top_k": (0, 1_000_000),
            "max_tokens": (1, 1_000_000),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}={value} is outside {low:g} to {high:g}")
        if "" in self.stop:
            raise ValueError("a stop string may not be empty")

    @property
    def penalises(self) -> bool:
        """Whether what was said changes what comes next."""
        off = (0.0, 0.0, 1.0)
        return off != (self.presence_penalty, self.frequency_penalty, self.repetition_penalty)

    @property
    def guided(self) -> bool:
        """Whether pictures are compared with those of a prompt that asks nothing."""
        return self.guidance not in (0.0, 1.0) and self.pictures != "never"


class Dials(NamedTuple):
    """The numbers of each row's Sampling as arrays, so that changing them compiles nothing."""

    temperature: Float[np.ndarray | Array, " B"]
    top_k: Int[np.ndarray | Array, " B"]
    top_p: Float[np.ndarray | Array, " B"]
    presence: Float[np.ndarray | Array, " B"]
    frequency: Float[np.ndarray | Array, " B"]
    repetition: Float[np.ndarray | Array, " B"]
    guidance: Float[np.ndarray | Array, " B"]


def dials(samplings: Sequence[Sampling]) -> Dials:
    """The numbers that `draw` and `penalise` need, a row for each."""

    def column(name: str, kind: type = np.float32) -> np.ndarray:
        return np.array([getattr(sampling, name) for sampling in samplings], kind)

    return Dials(
        temperature=column("temperature"),
        top_k=column("top_k", np.int32),
        top_p=column("top_p"),
        presence=column("presence_penalty"),
        frequency=column("frequency_penalty"),
        repetition=column("repetition_penalty"),
        guidance=column("guidance"),
    )


def likeliest(logits: Float[Array, "B V"]) -> Int[Array, " B"]:
    """The id of each row's largest logit, the lowest of those that tie.

    As two plain reductions: XLA's argmax is not vectorised on a CPU.
    """
    V = logits.shape[-1]
    ids = jnp.arange(V, dtype=jnp.int32)[None]
    best = logits >= logits.max(axis=-1, keepdims=True)
    return jnp.minimum(jnp.where(best, ids, V).min(axis=-1), V - 1).astype(jnp.int32)


def draw(logits: Float[Array, "B V"], keys: Array, dial: Dials) -> Int[Array, " B"]:
    """One id per row, the likeliest where the temperature is 0. Ids at minus infinity are never
    drawn.

    Top-k comes before top-p, which shares out what top-k left.
    """
    dial = Dials(*map(jnp.asarray, dial))
    scaled = logits / jnp.maximum(dial.temperature, 1e-4)[:, None]
    few = jax.lax.cond(jnp.any(dial.top_k > 0), _top_k, lambda x, dial: x, scaled, dial)
    few = jax.lax.cond(jnp.any(dial.top_p < 1), _top_p, lambda x, dial: x, few, dial)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, few.shape[1:], few.dtype))(keys)
    return jnp.where(dial.temperature == 0, likeliest(logits), likeliest(few + noise))


def penalise(
    logits: Float[Array, "B V"], counts: Int[Array, "B V"], dial: Dials
) -> Float[Array, "B V"]:
    """Logits less the penalties for what each row has said.

    Paper: Keskar et al. 2019, arXiv:1909.05858, section 4.1 (repetition).
    """
    times, said = counts.astype(jnp.float32), counts > 0
    presence, frequency, repetition = (
        jnp.asarray(x)[:, None] for x in (dial.presence, dial.frequency, dial.repetition)
    )
    softer = jnp.where(logits > 0, logits / repetition, logits * repetition)
    logits = jnp.where(said, softer - presence, logits)
    return logits - frequency * times


def _top_k(logits: Float[Array, "B V"], dial: Dials) -> Float[Array, "B V"]:
    ranks = _ranks(logits)
    few = jnp.where(dial.top_k > 0, dial.top_k, logits.shape[1])
    least = _largest(lambda t: (ranks >= t[:, None]).sum(1) >= few, ranks)
    return jnp.where(ranks >= least[:, None], logits, -jnp.inf)


def _top_p(logits: Float[Array, "B V"], dial: Dials) -> Float[Array, "B V"]:
    """Paper: Holtzman et al. 2019, arXiv:1904.09751."""
    ranks, shares = _ranks(logits), jax.nn.softmax(logits, axis=-1)

    def enough(t: UInt32[Array, " B"]) -> Bool[Array, " B"]:
        return jnp.where(ranks >= t[:, None], shares, 0.0).sum(1) >= dial.top_p

    least = jnp.minimum(_largest(enough, ranks), ranks.max(axis=1))
    unlikely = (ranks < least[:, None]) & (jnp.asarray(dial.top_p) < 1)[:, None]
    return jnp.where(unlikely, -jnp.inf, logits)


def _ranks(logits: Float[Array, "B V"]) -> UInt32[Array, "B V"]:
    """Whole numbers in the order of the logits."""
    bits = jax.lax.bitcast_convert_type(logits.astype(jnp.float32), jnp.uint32)
    top = jnp.uint32(1 << 31)
    return jnp.where(bits >= top, ~bits, bits | top)


def _largest(
    keep: Callable[[UInt32[Array, " B"]], Bool[Array, " B"]], ranks: UInt32[Array, "B V"]
) -> UInt32[Array, " B"]:
    """The largest threshold of each row that `keep` still accepts, found bit by bit.

    On a CPU 32 passes are several times faster than sorting the row.
    """

    def bit(i: Int[Array, ""], t: UInt32[Array, " B"]) -> UInt32[Array, " B"]:
        higher = t | (jnp.uint32(1) << (jnp.uint32(31) - i.astype(jnp.uint32)))
        return jnp.where(keep(higher), higher, t)

    return jax.lax.fori_loop(0, 32, bit, jnp.zeros(ranks.shape[0], jnp.uint32))
