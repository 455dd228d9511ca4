"""Work whose answer is known to the last bit, and how a result differs from it.

Invariant: one turned bit in any result is found, of products and functions in any step of their
chains too. Products are of whole numbers whose sums are exact in any order, so that every device
must give the same bits, whatever it adds up first.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Int, Shaped, UInt32

PRIME, MOST = 127, 63  # values -63..63; 63 * 63 * 4096 < 2**24, so float32 holds every sum
WIDEST = 4096
GROWTH = np.uint32(0x9E3779B1)  # odd: multiplying by it loses no bit
SIGN = np.uint32(1 << 31)
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}  # by bytes a word

Generator = Int[np.ndarray, " n"]  # the first column of a circulant matrix
Words = Shaped[Array | np.ndarray, "..."]


class Wrong(NamedTuple):
    """Words that are not what they should be; the first one's place, and its bits."""

    words: int
    first: int  # its place among the words that were compared
    got: int
    wanted: int
    bytes_per_word: int

    @property
    def address(self) -> int:
        """Bytes from the first word compared to the first wrong one."""
        return self.first * self.bytes_per_word

    @property
    def bits(self) -> tuple[int, ...]:
        """Which bits of the first wrong word differ, 0 = the lowest."""
        apart = self.got ^ self.wanted
        return tuple(bit for bit in range(8 * self.bytes_per_word) if apart >> bit & 1)


def differing(got: Words, wanted: Words) -> Wrong | None:
    """How a result differs from the answer, bit by bit; None = not at all."""
    one, other = _as_bits(got), _as_bits(wanted)
    assert one.dtype == other.dtype and one.size == other.size
    places = np.flatnonzero(one != other)
    if not places.size:
        return None
    first = int(places[0])
    return Wrong(len(places), first, int(one[first]), int(other[first]), one.itemsize)


def outvoted(results: Sequence[Words]) -> list[Wrong | None]:
    """How each device's result differs from what most devices gave, word by word.

    Where no word has most of the votes, as between two devices, all of them are wrong.
    """
    held = np.stack([_as_bits(result) for result in results])
    votes = np.stack([(held == one).sum(axis=0) for one in held])
    most = votes.max(axis=0)
    lost = (votes < most) | (2 * most <= len(held)) & (len(held) > 1)
    found: list[Wrong | None] = []
    for mine, wrong in zip(held, lost, strict=True):
        places = np.flatnonzero(wrong)
        if not places.size:
            found.append(None)
            continue
        first = int(places[0])
        rivals = held[np.argsort(-votes[:, first], kind="stable"), first]
        rival = next(word for word in rivals if word != mine[first])
        found.append(Wrong(len(places), first, int(mine[first]), int(rival), mine.itemsize))
    return found


def circulant(column: Shaped[np.ndarray, " n"], dtype: Any) -> Shaped[np.ndarray, "n n"]:
    """The matrix with this first column, each further one turned down by a row."""
    n = len(column)
    twice = np.concatenate([column[::-1], column[::-1]])
    rows = np.lib.stride_tricks.sliding_window_view(twice, n)[n - 1 :: -1]
    return np.ascontiguousarray(rows, dtype)


def product_answer(
    a: Generator, x: Generator, *, steps: int, sums: Any
) -> UInt32[np.ndarray, " n"]:
    """The first column of what `product_chain` gives for the circulant matrices of `a` and `x`.

    Products of circulant matrices are circulant, so this costs n * n operations a step, not n**3.
    """
    tally = np.zeros(len(a), np.uint32)
    for _ in range(steps):
        total = _convolved(a, x)
        tally = tally * GROWTH + total.astype(sums).view(np.uint32)
        x = (total + MOST) % PRIME - MOST
    return tally


@partial(jax.jit, static_argnames="sums")
def product_chain(
    a: Shaped[Array, "n n"], x: Shaped[Array, "n n"], steps: Int[Array, ""], *, sums: Any
) -> UInt32[Array, "n n"]:
    """a times x, reduced to -63..63 by multiples of 127, times a again and so on, `steps` times.

    What comes back is a tally of the bits of all products. `sums` is the dtype of what is added up,
    float32 or int32.
    """

    def step(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        x, tally = carry
        total = jnp.dot(a, x, precision=jax.lax.Precision.HIGHEST, preferred_element_type=sums)
        reduced = (total.astype(jnp.int32) + MOST) % PRIME - MOST
        return reduced.astype(x.dtype), tallied(tally, total)

    begun = (x, jnp.zeros(x.shape, jnp.uint32))
    return jax.lax.fori_loop(0, steps, step, begun)[1]


def tallied(tally: UInt32[Array, "*n"], values: Shaped[Array, "*n"]) -> UInt32[Array, "*n"]:
    """The tally with the bits of one more value (32 of them) for each word.

    Every value counts by an odd factor modulo 2**32, so one turned bit of any of them
    changes the tally for good. A zero of floats has no sign.
    """
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    if jnp.issubdtype(values.dtype, jnp.floating):
        bits = jnp.where(bits == SIGN, jnp.uint32(0), bits)
    return tally * GROWTH + bits


@jax.jit
def elementwise_chain(
    places: UInt32[Array, " n"], steps: Int[Array, ""], salt: UInt32[Array, ""]
) -> UInt32[Array, " n"]:
    """A tally of the bits of many functions' values at many points, for every place."""

    def step(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        drawn, tally = carry
        for function in FUNCTIONS:
            drawn = _mixed(drawn)
            one = jnp.uint32(0x3F800000)  # the bits of 1.0: x is in [1, 2)
            x = jax.lax.bitcast_convert_type(drawn >> jnp.uint32(9) | one, jnp.float32)
            tally = tallied(tally, function(x))
        return drawn, tally

    begun = (_mixed(places * GROWTH + salt), jnp.zeros_like(places))
    return jax.lax.fori_loop(0, steps, step, begun)[1]


FUNCTIONS: tuple[Callable[[Array], Array], ...] = (
    jnp.exp,
    jnp.log,
    lambda x: jnp.sin(x * jnp.float32(50)),
    lambda x: jnp.tanh(x - jnp.float32(1)),
    jax.lax.rsqrt,
    lambda x: jnp.float32(3) / x,
    jax.lax.erf,
    lambda x: x * x - x * jnp.float32(0.3),
)


@partial(jax.jit, static_argnames="words")
def filled(block: UInt32[Array, ""], salt: UInt32[Array, ""], *, words: int) -> UInt32[Array, " n"]:
    """A block of memory whose every word follows from the block, its place in it and the salt."""
    return _pattern(block, salt, words)


@partial(jax.jit, donate_argnums=0)
def inverted(held: UInt32[Array, " n"]) -> UInt32[Array, " n"]:
    """The same block with every bit turned, in the same memory."""
    return ~held


def misheld(
    held: UInt32[Array, " n"],
    block: UInt32[Array, ""],
    salt: UInt32[Array, ""],
    turned: Bool[Array, ""],
) -> Wrong | None:
    """How a block differs from what it was filled with, every bit `turned` or none."""
    words, first, got, wanted = np.asarray(_compared(held, block, salt, turned)).tolist()
    return Wrong(words, first, got, wanted, 4) if words else None


@jax.jit
def _compared(held: Array, block: Array, salt: Array, turned: Array) -> UInt32[Array, "4"]:
    ones = jnp.where(turned, jnp.uint32(0xFFFFFFFF), jnp.uint32(0))
    wanted = _pattern(block, salt, held.size) ^ ones
    wrong = held != wanted
    first = jnp.argmax(wrong)
    words = jnp.sum(wrong, dtype=jnp.uint32)
    return jnp.stack([words, first.astype(jnp.uint32), held[first], wanted[first]])


def _pattern(block: Array, salt: Array, words: int) -> UInt32[Array, " n"]:
    begun = _mixed(block * GROWTH + salt)
    return _mixed(jnp.arange(words, dtype=jnp.uint32) * GROWTH + begun)


def _mixed(x: UInt32[Array, "*n"]) -> UInt32[Array, "*n"]:
    """Different words for different words, with no bit like its neighbour's."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ x >> jnp.uint32(shift)) * jnp.uint32(factor)
    return x ^ x >> jnp.uint32(16)


def _convolved(a: Generator, x: Generator) -> Generator:
    """Their circular convolution, in whole numbers of 64 bits."""
    whole, n = np.convolve(a, x), len(a)
    whole[: n - 1] += whole[n:]
    return whole[:n]


def _as_bits(x: Words) -> np.ndarray:
    flat = np.ascontiguousarray(x).reshape(-1)
    return flat.view(UNSIGNED[flat.itemsize])
