"""The picture codec: exact ids, any size of picture, straight-through gradients, refusals."""

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castor.models.image_codec import (
    Codec,
    CodecConfig,
    codes_of,
    convolve_around,
    decode_pictures,
    encode_pictures,
    init_codec,
    levels_of,
    reconstruct,
)

SMALL = CodecConfig(
    fine=16, width=32, heads=2, blocks=(1, 1, 1, 1), encoder_layers=1, decoder_layers=1
)
BARE = replace(SMALL, blocks=(0, 0, 0, 0), encoder_layers=0, decoder_layers=0)
remade = jax.jit(reconstruct, static_argnames="config")


@pytest.fixture(scope="module")
def codec() -> Codec:
    return init_codec(SMALL, jax.random.key(0))


def pictures(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2, 2), (7,), (3, 4, 2), (8, 8, 8, 5, 5, 5)])
def test_every_code_decodes_to_the_levels_that_it_encodes_from(levels: tuple[int, ...]) -> None:
    codes = jnp.arange(CodecConfig(levels=levels).codes, dtype=jnp.int32)
    vectors = levels_of(codes, levels=levels)
    assert (codes_of(vectors, levels=levels) == codes).all()
    assert len(np.unique(np.asarray(vectors), axis=0)) == len(codes)


def test_codes_are_numbers_in_mixed_radix_with_the_first_digit_lowest() -> None:
    levels = (3, 4, 2)
    backwards = itertools.product(*(range(L) for L in reversed(levels)))
    digits = np.array([word[::-1] for word in backwards], np.float32)  # first digit fastest
    centred = jnp.asarray(digits - np.array([L // 2 for L in levels], np.float32))
    assert codes_of(centred, levels=levels).tolist() == list(range(24))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=4).map(tuple), st.integers(0, 2**31 - 1))
def test_levels_survive_the_way_through_ids(levels: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = np.array(levels)
    vectors = (rng.integers(0, sides, (5, 3, len(levels))) - sides // 2).astype(np.float32)
    codes = codes_of(jnp.asarray(vectors), levels=levels)
    assert (np.asarray(levels_of(codes, levels=levels)) == vectors).all()


@pytest.mark.parametrize("levels", [(2, 2), (3, 3), (4, 7), (8, 5, 5, 5)])
def test_whatever_the_encoder_says_its_ids_are_in_range(levels: tuple[int, ...]) -> None:
    config = replace(BARE, levels=levels)
    codec = init_codec(config, jax.random.key(1))
    wild = jax.tree.map(lambda x: x * 300, codec)
    codes = np.asarray(encode_pictures(wild, pictures(9, 32, 32), config=config))
    assert codes.min() >= 0 and codes.max() < config.codes
    assert len(np.unique(codes)) > 1


def test_an_even_and_an_odd_number_of_levels_both_start_at_the_middle() -> None:
    config = replace(BARE, levels=(8, 5))
    blank = jax.tree.map(jnp.zeros_like, init_codec(config, jax.random.key(0)))
    codes = encode_pictures(blank, pictures(1, 16, 16), config=config)
    assert (levels_of(codes, levels=(8, 5)) == 0).all()


def test_a_picture_of_any_aspect_becomes_one_code_per_patch(codec: Codec) -> None:
    for height, width in ((8, 8), (24, 80)):
        codes = encode_pictures(codec, pictures(2, height, width), config=SMALL)
        assert codes.shape == (2, height // 8, width // 8) and codes.dtype == jnp.int32
        back = decode_pictures(codec, codes, config=SMALL)
        assert back.shape == (2, height, width, 3) and back.dtype == jnp.uint8


def test_patches_of_sixteen_pixels_make_a_quarter_of_the_codes() -> None:
    config = replace(SMALL, patch=16)
    codec = init_codec(config, jax.random.key(0))
    codes = encode_pictures(codec, pictures(1, 64, 96), config=config)
    assert codes.shape == (1, 4, 6)
    assert decode_pictures(codec, codes, config=config).shape == (1, 64, 96, 3)


def test_reconstruct_is_encode_then_decode(codec: Codec) -> None:
    pixels = pictures(3, 32, 48)
    back = remade(codec, pixels, config=SMALL)
    codes = encode_pictures(codec, pixels, config=SMALL)
    assert (back.codes == codes).all()
    shown = np.round(np.clip(np.asarray(back.pixels), 0, 1) * 255)
    decoded = np.asarray(decode_pictures(codec, codes, config=SMALL)).astype(np.float32)
    assert np.abs(shown - decoded).max() <= 1


def test_pictures_of_a_batch_do_not_see_each_other(codec: Codec) -> None:
    pixels = pictures(3, 32, 32)
    together = encode_pictures(codec, pixels, config=SMALL)
    others = np.concatenate([pixels[:1], pictures(2, 32, 32, seed=1)])
    assert (together[0] == encode_pictures(codec, others, config=SMALL)[0]).all()


def test_gradients_pass_the_rounding_to_every_weight(codec: Codec) -> None:
    pixels = pictures(2, 32, 32)

    def error(codec: Codec) -> jax.Array:
        back = reconstruct(codec, pixels, config=SMALL).pixels
        return jnp.mean((back - jnp.asarray(pixels).astype(jnp.float32) / 255) ** 2)

    slopes = jax.tree.leaves(jax.jit(jax.grad(error))(codec))
    assert all(float(jnp.abs(slope).max()) > 0 for slope in slopes)


def test_half_precision_weights_give_the_same_kind_of_answers(codec: Codec) -> None:
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), codec)
    pixels = pictures(2, 32, 32)
    whole = remade(codec, pixels, config=SMALL)
    small = remade(half, pixels, config=SMALL)
    assert small.pixels.dtype == jnp.float32 and small.codes.dtype == jnp.int32
    assert float((small.codes == whole.codes).mean()) > 0.7


def test_a_few_steps_learn_a_few_pictures() -> None:
    """Flat squares of a few colours: the error falls to a tenth, through the quantisation."""
    rng = np.random.default_rng(0)
    flat = rng.integers(0, 256, (8, 2, 2, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    codec = init_codec(SMALL, jax.random.key(0))

    def error(codec: Codec) -> jax.Array:
        back = reconstruct(codec, flat, config=SMALL).pixels
        return jnp.mean((back - jnp.asarray(flat).astype(jnp.float32) / 255) ** 2)

    @jax.jit
    def step(codec: Codec, first: Codec, second: Codec, t: jax.Array) -> tuple:
        loss, slopes = jax.value_and_grad(error)(codec)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
        second = jax.tree.map(lambda v, g: 0.98 * v + 0.02 * g * g, second, slopes)
        fixed, fixed2 = 1 - 0.9**t, 1 - 0.98**t
        new = jax.tree.map(
            lambda w, m, v: w - 3e-3 * (m / fixed) / (jnp.sqrt(v / fixed2) + 1e-8),
            codec,
            first,
            second,
        )
        return new, first, second, loss

    zeros = jax.tree.map(jnp.zeros_like, codec)
    first, second, losses = zeros, zeros, []
    for t in range(1, 121):
        codec, first, second, loss = step(codec, first, second, jnp.float32(t))
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 10


def test_weights_have_the_shapes_that_the_configuration_says() -> None:
    tree = jax.eval_shape(partial(init_codec, CodecConfig()), jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(tree))
    assert 0.5e6 < count < 4e6  # a codec of a few megabytes, shipped with the demo


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": (8, 1)}, "at least 2 levels"),
        ({"levels": ()}, "at least 2 levels"),
        ({"width": 30, "heads": 4}, "not a multiple of"),
        ({"patch": 7}, "patch=7 must be even"),
        ({"side": 60}, "side=60 is not a multiple of patch=8"),
        ({"levels": (1000,) * 4}, "make 1,000,000,000,000 codes; ids have 32 bits"),
        ({"heads": 0}, "CodecConfig.heads=0 must be 1 or more"),
        ({"fine": 0}, "CodecConfig.fine=0 must be 1 or more"),
        ({"side": 0}, "CodecConfig.side=0 must be 1 or more"),
        ({"blocks": (1, 2, -2, 2)}, r"CodecConfig.blocks=\(1, 2, -2, 2\) must each be 0 or more"),
        ({"encoder_layers": -1}, "CodecConfig.encoder_layers=-1 must be 0 or more"),
    ],
)
def test_impossible_shapes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodecConfig(**change)


def test_a_side_that_is_no_multiple_of_the_patch_is_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match="20 x 64 picture has no whole number of 8 pixel patches"):
        encode_pictures(codec, pictures(1, 64, 20), config=SMALL)


def test_convolutions_are_those_of_xla() -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 5, 7, 4)), jnp.float32)
    weights = jnp.asarray(rng.standard_normal((3 * 3 * 4, 3)), jnp.float32)
    reference = jax.lax.conv_general_dilated(
        x,
        weights.reshape(3, 3, 4, 3),
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(convolve_around(x, weights), reference, atol=1e-5)
