"""What a codec keeps, against the plain definitions."""

import jax
import numpy as np
import pytest

from castor.evals.reconstruction import BATCH, through
from castor.models.image_codec import CodecConfig, init_codec, reconstruct

CONFIG = CodecConfig(width=24, heads=2, encoder_layers=1, decoder_layers=1, side=16)
CODEC = init_codec(CONFIG, jax.random.key(0))
PIXELS = np.random.default_rng(0).integers(0, 256, (BATCH + 3, 16, 16, 3), np.uint8)


@pytest.mark.slow
def test_figures_are_those_of_the_plain_definitions() -> None:
    back = reconstruct(CODEC, PIXELS, config=CONFIG)
    error = (np.clip(back.pixels, 0, 1) - PIXELS / 255) ** 2
    decibels = [10 * np.log10(1 / e.mean()) for e in error]
    codes = np.asarray(back.codes).ravel().tolist()
    shares = np.array([codes.count(code) / len(codes) for code in set(codes)])
    found = through(CODEC, PIXELS, config=CONFIG)
    np.testing.assert_allclose(found.psnr_db, decibels, atol=0.01)
    assert found.used == len(set(codes))
    assert found.perplexity == pytest.approx(np.prod(shares**-shares), rel=1e-6)


def test_one_picture_repeated_uses_no_more_codes_than_once() -> None:
    once, often = (through(CODEC, PIXELS[[0] * n], config=CONFIG) for n in (1, 5))
    assert once.used == often.used <= 4
    assert often.psnr_db == pytest.approx(np.repeat(once.psnr_db, 5), abs=1e-4)


def test_no_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no pictures"):
        through(CODEC, PIXELS[:0], config=CONFIG)
