import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Slots
from castor.models.image import convolve, cut, encode_image, grid, init_image
from castor.models.sizes import ImageConfig

CONV = ImageConfig(stem=(6, 10), width=24, heads=2)
LINEAR = ImageConfig(stem=(), halo=0, width=24, heads=2)
POOLED = ImageConfig(stem=(), halo=0, pool=2, layers=2, width=24, heads=2)
CONFIGS = pytest.mark.parametrize("config", [CONV, LINEAR, POOLED], ids=["conv", "linear", "vit"])


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def slots_of(*signals, length: int) -> Slots:
    """Pictures side by side in one row of this many slots."""
    window = signals[0].values.shape[1:]
    values = np.zeros((1, length, *window), np.uint8)
    places, blocks = np.zeros((1, length, 2), np.int32), np.zeros((1, length), np.int32)
    start = 0
    for number, signal in enumerate(signals, 1):
        at = slice(start, start + len(signal.places))
        values[0, at], places[0, at], blocks[0, at] = signal.values, signal.places, number
        start += len(signal.places)
    return Slots(values, places, np.zeros((1, length), np.int32), blocks)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (32, 32, (4, 4)),
        (64, 64, (4, 4)),
        (96, 96, (6, 6)),
        (2000, 2000, (8, 8)),
        (200, 800, (4, 16)),
        (1, 4000, (1, 16)),
        (10, 5, (6, 3)),
    ],
)
def test_a_picture_keeps_its_aspect_and_takes_slots_for_its_size(height, width, expected):
    down, across = grid(height, width, config=CONV)
    assert (down, across) == expected


def test_a_budget_bounds_the_slots_of_every_shape_of_picture():
    rng = np.random.default_rng(0)
    for budget in (1, 2, 3, 7, 16, 100):
        for height, width in rng.integers(1, 3000, (50, 2)):
            down, across = grid(int(height), int(width), config=CONV, budget=budget)
            assert 1 <= down * across <= budget and max(down, across) <= CONV.side


def test_a_fine_grained_picture_may_take_more_slots_when_the_budget_allows():
    few, many = (grid(1024, 1024, config=CONV, budget=budget) for budget in (16, 1024))
    assert few == (4, 4) and many == (32, 32)


def test_a_budget_below_one_slot_is_refused():
    with pytest.raises(ValueError, match="at least 1 slot; the budget given is 0"):
        grid(10, 10, config=CONV, budget=0)


def test_a_picture_of_the_right_size_is_cut_without_resampling():
    pixels = picture(32, 32)
    signal = cut(pixels, config=CONV)
    assert signal.values.shape == (16, 1, 16, 16, 3)
    np.testing.assert_array_equal(signal.values[5, 0, 4:12, 4:12], pixels[8:16, 8:16])
    np.testing.assert_array_equal(signal.values[5, 0], pixels[4:20, 4:20])
    np.testing.assert_array_equal(signal.places[5], [1, 1])


def test_the_windows_of_a_pooled_slot_are_its_patches_row_by_row():
    pixels = picture(64, 64)
    signal = cut(pixels, config=POOLED)
    assert signal.values.shape == (16, 4, 8, 8, 3)
    np.testing.assert_array_equal(signal.values[1, 2], pixels[8:16, 16:24])


def test_convolve_is_a_convolution_without_padding():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype(np.float32))
    for size, stride in ((3, 1), (3, 2), (4, 2)):
        key = jax.random.key(size)
        weights = jax.random.normal(key, (size * size * 3, 5))
        expected = jax.lax.conv_general_dilated(
            x, weights.reshape(size, size, 3, 5), (stride, stride), "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        ours = convolve(x, weights, size=size, stride=stride)
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@CONFIGS
def test_pictures_side_by_side_have_the_states_that_they_have_alone(config):
    encoder = init_image(config, 32, jax.random.key(0))
    signals = [cut(picture(32, 32, 1), config=config), cut(picture(40, 80, 2), config=config)]
    length = sum(len(s.places) for s in signals) + 3
    together = encode_image(encoder, slots_of(*signals, length=length), config=config)[0]
    start = 0
    for signal in signals:
        n = len(signal.places)
        alone = encode_image(encoder, slots_of(signal, length=length), config=config)[0]
        np.testing.assert_allclose(together[start : start + n], alone[:n], atol=2e-5)
        start += n


def test_without_layers_a_slot_knows_only_its_own_window():
    encoder = init_image(CONV, 32, jax.random.key(0))
    slots = slots_of(cut(picture(32, 32), config=CONV), length=16)
    before = encode_image(encoder, slots, config=CONV)
    slots.values[0, 15] ^= 255
    after = encode_image(encoder, slots, config=CONV)
    np.testing.assert_array_equal(before[0, :15], after[0, :15])
    assert np.abs(before[0, 15] - after[0, 15]).max() > 1e-3


def test_with_layers_every_slot_sees_the_whole_picture():
    encoder = init_image(POOLED, 32, jax.random.key(0))
    slots = slots_of(cut(picture(64, 64), config=POOLED), length=16)
    before = encode_image(encoder, slots, config=POOLED)
    slots.values[0, 15] ^= 255
    after = encode_image(encoder, slots, config=POOLED)
    assert np.abs(before - after).max(axis=-1).min() > 1e-5


def test_the_same_patch_in_another_place_has_another_state():
    encoder = init_image(CONV, 32, jax.random.key(0))
    signal = cut(np.full((32, 32, 3), 200, np.uint8), config=CONV)
    states = encode_image(encoder, slots_of(signal, length=16), config=CONV)[0]
    assert np.abs(states[0] - states[1]).max() > 1e-3
    assert np.abs(states[0] - states[4]).max() > 1e-3


@CONFIGS
def test_bfloat16_encoders_compute_in_bfloat16(config):
    encoder = init_image(config, 32, jax.random.key(0))
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), encoder)
    slots = slots_of(cut(picture(32, 32), config=config), length=16)
    ours, theirs = (encode_image(e, slots, config=config) for e in (narrow, encoder))
    assert ours.dtype == jnp.bfloat16
    assert np.abs(np.asarray(ours, np.float32) - np.asarray(theirs)).mean() < 0.03
