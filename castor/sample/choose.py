"""How the next id is drawn from the logits; a row's draw never depends on the rows beside it."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from castor.sample.grammar import Pictures


@dataclass(frozen=True)
class Sampling:
    """What a request may set. Temperature 0 is greedy, and then the seed does not matter.

    Raises:
        ValueError: a value is outside its range.
    """

    temperature: float = 0.0  # 0 to 2
    top_k: int = 0  # keep the k likeliest ids; 0 = all
    top_p: float = 1.0  # keep the likeliest ids that hold this much probability
    presence_penalty: float = 0.0  # taken once from the logit of an id already said, -2 to 2
    frequency_penalty: float = 0.0  # taken for each time it was said, -2 to 2
    stop: tuple[str, ...] = ()  # the reply ends before the first of these
    max_tokens: int = 128
    seed: int = 0
    pictures: Pictures = "never"
    grid: tuple[int, int] | None = (8, 8)  # codes of a drawn picture; None = the model decides
    guidance: float = 0.0  # classifier-free guidance of picture codes; 0 or 1 = off

    def __post_init__(self) -> None:
        ranges = {
            "temperature": (0.0, 2.0),
            "top_p": (0.0, 1.0),
            "presence_penalty": (-2.0, 2.0),
            "frequency_penalty": (-2.0, 2.0),
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


class Dials(NamedTuple):
    """The numbers of a Sampling as arrays, so that changing them compiles nothing."""

    temperature: Float[Array, ""]
    top_k: Int[Array, ""]
    top_p: Float[Array, ""]
    presence: Float[Array, ""]
    frequency: Float[Array, ""]
    guidance: Float[Array, ""]


def dials(sampling: Sampling) -> Dials:
    """The numbers that `choose` needs."""
    real = (sampling.temperature, sampling.top_p, sampling.presence_penalty)
    temperature, top_p, presence = (jnp.float32(x) for x in real)
    frequency, guidance = jnp.float32(sampling.frequency_penalty), jnp.float32(sampling.guidance)
    return Dials(temperature, jnp.int32(sampling.top_k), top_p, presence, frequency, guidance)


def choose(
    logits: Float[Array, "B V"], keys: Array, dial: Dials, *, greedy: bool
) -> Int[Array, " B"]:
    """One id per row. Ids at minus infinity are never drawn; ties go to the lowest id."""
    if greedy:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    scaled = logits / jnp.maximum(dial.temperature, 1e-4)
    ordered = -jnp.sort(-scaled, axis=-1)
    V = logits.shape[-1]
    kth = jnp.where(dial.top_k > 0, jnp.minimum(dial.top_k, V), V) - 1
    least = jnp.take(ordered, kth, axis=-1)[:, None]
    shares = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(shares, axis=-1) - shares  # held by the ids that are likelier
    inside = (before < dial.top_p) | (jnp.arange(V, dtype=jnp.int32)[None] == 0)
    nucleus = jnp.where(inside, ordered, jnp.inf).min(axis=-1, keepdims=True)
    kept = jnp.where(scaled >= jnp.maximum(least, nucleus), scaled, -jnp.inf)
    return jax.vmap(jax.random.categorical)(keys, kept).astype(jnp.int32)


def penalise(
    logits: Float[Array, "B V"], counts: Int[Array, "B V"], dial: Dials
) -> Float[Array, "B V"]:
    """Logits less the penalties for what each row has said."""
    said = (counts > 0).astype(jnp.float32)
    return logits - dial.presence * said - dial.frequency * counts.astype(jnp.float32)
