"""What a picture codec keeps: how close pictures come back, and how much of its codes they use."""

from itertools import batched
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32, UInt8

from castor.models.image_codec import Codec, CodecConfig, reconstruct

BATCH = 32  # pictures at a time


class Through(NamedTuple):
    """Pictures that went through a codec and back."""

    psnr_db: Float[np.ndarray, " n"]  # of each; the peak is white
    codes: Int32[np.ndarray, "n h w"]

    @property
    def used(self) -> int:
        """How many different codes occur."""
        return len(np.unique(self.codes))

    @property
    def perplexity(self) -> float:
        """How many codes there would be if all that occur were equally common."""
        counts = np.unique(self.codes, return_counts=True)[1]
        shares = counts / counts.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))


def through(codec: Codec, pixels: UInt8[np.ndarray, "n s t 3"], *, config: CodecConfig) -> Through:
    """Send pictures through the codec and back.

    Raises:
        ValueError: there are no pictures.
    """
    if not len(pixels):
        raise ValueError("there are no pictures to send through the codec")
    decibels: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    for group in batched(pixels, BATCH):
        full = np.stack([*group, *[group[-1]] * (BATCH - len(group))])  # one shape for all
        back = reconstruct(codec, full, config=config)
        error = np.clip(np.asarray(back.pixels), 0, 1) - full.astype(np.float32) / 255
        squares = (error**2).mean(axis=(1, 2, 3))[: len(group)]
        decibels.append(-10 * np.log10(np.maximum(squares, 1e-10)))
        codes.append(np.asarray(back.codes)[: len(group)])
    return Through(np.concatenate(decibels), np.concatenate(codes))
