"""Scores of one answer and intervals of many: every figure carries its 95 % interval."""

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Z95 = 1.959964  # two-sided 95 % point of the normal distribution


class Estimate(NamedTuple):
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def normalise(text: str) -> str:
    """Case, width, punctuation at the ends and runs of white space do not count in an answer."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"\s+", " ", folded).strip(" .,;:!?\"'")


def exact_match(reply: str, answer: str) -> float:
    """1 if both read the same after `normalise`, else 0."""
    return float(normalise(reply) == normalise(answer))


def word_errors(reply: str, answer: str) -> int:
    """Substitutions, deletions and insertions that turn `answer` into `reply`, in words."""
    said, meant = normalise(reply).split(), normalise(answer).split()
    costs = list(range(len(said) + 1))
    for i, word in enumerate(meant, start=1):
        diagonal, costs[0] = costs[0], i
        for j, other in enumerate(said, start=1):
            change = diagonal + (word != other)
            diagonal, costs[j] = costs[j], min(change, costs[j] + 1, costs[j - 1] + 1)
    return costs[-1]


def proportion(successes: float, trials: int) -> Estimate:
    """A share of `trials` with its Wilson interval.

    Raises:
        ValueError: there are no trials.
    Paper: Wilson 1927, J. Am. Stat. Assoc. 22(158).
    """
    if trials < 1:
        raise ValueError("a proportion needs at least one trial; got none")
    share = successes / trials
    spread = Z95 * math.sqrt(share * (1 - share) / trials + Z95**2 / (4 * trials**2))
    centre, scale = share + Z95**2 / (2 * trials), 1 + Z95**2 / trials
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return Estimate(share, min(max(0.0, low), share), max(min(1.0, high), share))


def ratio(parts: Sequence[float], wholes: Sequence[float], *, seed: int = 0) -> Estimate:
    """Sum of parts over sum of wholes, with a percentile bootstrap over the examples.

    Raises:
        ValueError: nothing was measured, or the wholes sum to zero.
    Paper: Efron 1979, Ann. Statist. 7(1).
    """
    over, under = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    if len(over) == 0 or under.sum() <= 0:
        raise ValueError("a ratio needs examples whose wholes sum to more than zero")
    draws = np.random.default_rng(seed).integers(0, len(over), (1000, len(over)))
    sums = under[draws].sum(1)
    samples = over[draws].sum(1) / np.where(sums > 0, sums, 1)
    low, high = np.quantile(samples, [0.025, 0.975])
    return Estimate(float(over.sum() / under.sum()), float(low), float(high))
