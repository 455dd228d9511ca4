import math
import time
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Signal, Slots
from castor.models.conformer import cut, encode_conformer, init_conformer, log_mel, slots_of
from castor.models.signals import ConformerConfig

CONFIG = ConformerConfig(
    mels=8, channels=(6, 4), layers=2, width=24, heads=3, output=16, kernel=3, past=3, chunk=3
)
AROUND = replace(CONFIG, future=2, chunk=6)
SINGLE = replace(CONFIG, layers=1)
E2B = ConformerConfig()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    count = int(seconds * 16_000)
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


def two_tones() -> np.ndarray:
    t = np.arange(1000) / 16_000
    waves = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 3000 * t)
    return waves.astype(np.float32)


def slow_log_mel(samples: np.ndarray, mels: int) -> np.ndarray:
    """The definition, with sums written out: no FFT, no matrix of filters."""
    top = 2595 * math.log10(1 + 8000 / 700)
    edges = [700 * (10 ** (i * top / (mels + 1) / 2595) - 1) for i in range(mels + 2)]
    basis = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(320)) / 512)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 320)
    padded = np.concatenate([np.zeros(160), samples])
    rows = []
    for start in range(0, len(padded) - 320, 160):
        size = np.abs(basis @ (padded[start : start + 320] * hann))
        row = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            hz = np.arange(257) * 16_000 / 512
            share = np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre))
            row.append(math.log(float(size @ np.maximum(share, 0)) + 1e-3))
        rows.append(row)
    return np.array(rows)


def row_of(*signals: Signal, length: int) -> Slots:
    """Sounds side by side in one row of this many slots."""
    values = np.zeros((1, length, *signals[0].values.shape[1:]), np.float32)
    places, blocks = np.zeros((1, length, 2), np.int32), np.zeros((1, length), np.int32)
    start = 0
    for number, signal in enumerate(signals, 1):
        at = slice(start, start + len(signal.places))
        values[0, at], places[0, at], blocks[0, at] = signal.values, signal.places, number
        start += len(signal.places)
    return Slots(values, places, np.zeros((1, length), np.int32), blocks)


@cache
def encoder_of(config: ConformerConfig):
    """Weights none of which is as it starts."""
    fresh = init_conformer(config, 20, jax.random.key(0))
    leaves, tree = jax.tree.flatten(fresh)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        jnp.tile(jnp.array([-1.5, 1.5, -2.0, 2.0]), (len(x), 1))
        if jnp.isinf(x).any()
        else x + 0.1 * jax.random.normal(k, x.shape)
        for x, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, moved)


@cache
def forward_of(config: ConformerConfig):
    return jax.jit(partial(encode_conformer, config=config))


def states(config: ConformerConfig, slots: Slots) -> np.ndarray:
    return np.asarray(forward_of(config)(encoder_of(config), slots)[0])


@pytest.mark.parametrize("samples", [noise(0.2), two_tones()])
def test_log_mel_agrees_with_its_definition(samples):
    np.testing.assert_allclose(log_mel(samples, mels=20), slow_log_mel(samples, 20), atol=5e-4)


def test_log_mel_is_that_of_transformers():
    golden = [  # every sixteenth bin of Gemma4AudioFeatureExtractor, transformers 5.23
        [-6.90776, 0.76978, 0.31575, -1.27636, -4.58039, -0.15283, -0.80631, -1.38139],
        [-6.90776, -2.3003, -2.30043, -5.64739, -6.62001, -4.0039, -6.3839, -6.85837],
        [-6.90776, -2.32054, -2.29574, -5.5901, -6.47093, -4.0007, -6.39762, -6.86319],
        [-6.90776, -2.28859, -2.30281, -5.65605, -6.47114, -3.99796, -6.40294, -6.87079],
    ]
    ours = log_mel(two_tones(), mels=128)
    assert ours.shape == (6, 128)
    np.testing.assert_allclose(ours[[0, 1, 3, 5], ::16], golden, atol=2e-5)
    assert abs(ours.sum() + 3117.2346) < 0.01


@pytest.mark.parametrize(("samples", "frames"), [
    (0, 1), (161, 1), (320, 1), (321, 2), (1000, 6), (16_000, 99), (16_001, 100), (33_333, 208)
])  # fmt: skip
def test_a_frame_ends_before_the_last_sample(samples, frames):
    assert len(log_mel(np.ones(samples, np.float32), mels=8)) == frames


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(100, np.float32)])
def test_silence_and_the_shortest_sounds_fill_one_slot(samples):
    signal = cut(samples, config=E2B)
    assert signal.values.shape == (1, 4, 128)
    assert (signal.values[0, 0] < -6).all() and not signal.values[0, 1:].any()


def test_a_second_of_sound_fills_twenty_five_slots():
    signal = cut(noise(1.0), config=E2B)
    assert (signal.kind, signal.values.shape) == ("audio", (25, 4, 128))
    np.testing.assert_array_equal(signal.places, [[0, i] for i in range(25)])
    assert not signal.values[-1, -1].any() and signal.values[:-1].any(-1).all()


def test_thirty_seconds_fill_all_slots_and_what_is_beyond_changes_nothing():
    config = replace(CONFIG, slots=10)
    whole, longer = (cut(noise(s), config=config) for s in (0.4, 0.9))
    np.testing.assert_array_equal(longer.values, whole.values)
    assert whole.values.shape == (10, 4, 8) and not whole.values[-1, -1].any()
    assert len(cut(noise(31.0), config=E2B).values) == 750


@pytest.mark.parametrize("config", [CONFIG, AROUND], ids=["past", "future"])
@pytest.mark.parametrize(
    "frames", [(13, 20, 7), pytest.param((14, 19, 8), marks=pytest.mark.slow), (5, 1, 24)]
)
def test_sounds_side_by_side_have_the_states_that_they_have_alone(config, frames):
    rng = np.random.default_rng(0)
    mels = [rng.normal(size=(n, 8)).astype(np.float32) for n in frames]
    signals = [slots_of(mel, config=config) for mel in mels]
    together = states(config, row_of(*signals, length=14))
    start = 0
    for signal in signals:
        n = len(signal.places)
        alone = states(config, row_of(signal, length=n))
        np.testing.assert_allclose(together[start : start + n], alone, atol=1e-5)
        start += n


@jax.jit
def stem_of(encoder, mel: jax.Array) -> jax.Array:
    """Two padded convolutions over all frames of one sound."""
    x = mel.reshape(1, -1, 8, 1)
    pairs = (encoder.first, encoder.first_norm), (encoder.second, encoder.second_norm)
    for kernel, scale in pairs:
        x = jax.lax.conv_general_dilated(
            x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
        x = jax.nn.relu(x * scale[None, None, None])
    return x[0].reshape(x.shape[1], -1) @ encoder.stem


def attention_of(config: ConformerConfig, block, x: np.ndarray) -> np.ndarray:
    """Attention of one layer over one sound, query by query and key by key."""
    N, H = config.heads, config.width // config.heads
    q, k, v = (
        np.clip(np.clip(x, -1.5, 1.5) @ w.weight, -2, 2).reshape(-1, N, H)
        for w in (block.wq, block.wk, block.wv)
    )
    q = q * np.log1p(np.exp(block.scale)) * H**-0.5 / math.log(2)
    k = k * math.log(1 + math.e) / math.log(2)
    half, span = config.width // 2, (config.chunk + config.past + config.future) // 2 + 1
    rates = np.exp(-np.arange(half) * math.log(1e4) / (half - 1))
    turns = np.arange(span - 1, -1, -1)[:, None] * rates
    table = np.concatenate([np.sin(turns), np.cos(turns)], -1) @ block.distances
    table, out = table.reshape(span, N, H), np.zeros_like(q)
    for t in range(len(x)):
        keys = [s for s in range(len(x)) if 0 <= t - s < config.past or 0 < s - t < config.future]
        for n in range(N):
            scores = []
            for s in keys:
                row = s - t + config.past
                bias = q[t, n] @ table[row, n] if row < span else 0.0
                scores.append(math.tanh((q[t, n] @ k[s, n] + bias) / config.cap) * config.cap)
            shares = np.exp(scores) / np.exp(scores).sum()
            out[t, n] = shares @ v[keys, n]
    return np.clip(np.clip(out.reshape(len(x), -1), -1.5, 1.5) @ block.wo.weight, -2, 2)


@pytest.mark.parametrize(("frames", "change"), [
    (40, {}), (41, {"past": 5}), (42, {"chunk": 7}), (43, {"chunk": 2, "past": 6}),
    (44, {"future": 3, "chunk": 4}), (7, {"cap": 0.5}), (1, {}),
])  # fmt: skip
def test_a_layer_is_its_definition_written_out(frames, change):
    config = replace(SINGLE, **change)
    encoder = jax.tree.map(np.asarray, encoder_of(config))
    mel = np.random.default_rng(3).normal(size=(frames, 8)).astype(np.float32)
    block = jax.tree.map(lambda leaf: np.asarray(leaf[0]), encoder.blocks)

    def norm(x, scale):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * scale

    def times(x, w):
        return np.clip(np.clip(x, -1.5, 1.5) @ w.weight, -2, 2)

    def half_step(x, step):
        opened = times(norm(x, step.norm), step.up)
        return x + 0.5 * norm(times(opened / (1 + np.exp(-opened)), step.down), step.post_norm)

    x = np.asarray(stem_of(encoder, mel))
    x = half_step(x, block.first)
    attended = attention_of(config, block, norm(x, block.attention_norm))
    x = x + norm(attended, block.attention_post_norm)
    left, right = np.split(times(norm(x, block.mix_norm), block.mix_in), 2, -1)
    gated = np.pad(left / (1 + np.exp(-right)), ((config.kernel - 1, 0), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(gated, config.kernel, 0)
    mixed = norm(np.einsum("mwk,kw->mw", views, block.kernel), block.kernel_norm)
    x = x + times(mixed / (1 + np.exp(-mixed)), block.mix_out)
    x = norm(half_step(x, block.last), block.norm) @ encoder.out.weight + encoder.out.bias
    wanted = norm(x, 1.0) @ encoder.projection
    ours = states(config, row_of(slots_of(mel, config=config), length=len(x)))
    np.testing.assert_allclose(ours, wanted, atol=2e-5)


def test_a_slot_hears_the_near_past_alone():
    mel = np.random.default_rng(0).normal(size=(48, 8)).astype(np.float32)
    slots = row_of(slots_of(mel, config=SINGLE), length=12)
    changed = slots._replace(values=slots.values.copy())
    changed.values[0, 4] += 1
    moved = np.abs(states(SINGLE, changed) - states(SINGLE, slots)).max(-1) > 1e-6
    # the slot itself and the next through convolution, then as far as attention and the kernel go
    assert not moved[:4].any() and moved[4:6].all()
    assert not moved[5 + (SINGLE.past - 1) + (SINGLE.kernel - 1) + 1 :].any()


def test_unused_slots_hold_finite_states():
    signal = slots_of(np.ones((8, 8), np.float32), config=CONFIG)
    assert np.isfinite(states(CONFIG, row_of(signal, length=6))).all()


def test_bounds_hold_what_goes_in_and_out_and_are_not_learned():
    encoder = encoder_of(SINGLE)
    slots = row_of(slots_of(np.ones((8, 8), np.float32), config=SINGLE), length=2)

    @jax.jit
    @jax.value_and_grad
    def total(encoder):
        return encode_conformer(encoder, slots, config=SINGLE).sum()

    whole, slopes = total(encoder)
    assert not np.any(slopes.blocks.wo.bounds) and np.any(slopes.blocks.wo.weight)
    tight = replace(encoder.blocks.wo, bounds=jnp.zeros((1, 4)))
    held = replace(encoder, blocks=replace(encoder.blocks, wo=tight))
    assert np.abs(total(held)[0] - whole) > 1e-4


def test_states_have_the_type_of_the_weights():
    encoder = jax.tree.map(lambda x: x.astype(jnp.bfloat16), encoder_of(CONFIG))
    slots = row_of(slots_of(np.ones((8, 8), np.float32), config=CONFIG), length=2)
    assert encode_conformer(encoder, slots, config=CONFIG).dtype == jnp.bfloat16


def test_the_tower_of_e2b_has_as_many_weights_as_published():
    shapes = jax.eval_shape(partial(init_conformer, E2B, 1536), jax.random.key(0))
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert abs(total - 0.307e9) < 0.5e6
    bounds = 12 * 10 * 4  # of the layers' clipped matrices
    projected = 1536 * 1536
    assert total - projected - bounds == 304_824_608


@pytest.mark.parametrize(("change", "message"), [
    ({"mels": 6}, "ConformerConfig.mels=6 is not a multiple of 4: two convolutions halve them"),
    ({"mels": 0}, "ConformerConfig.mels=0 is not a multiple of 4"),
    ({"width": 9, "heads": 3}, "ConformerConfig.width=9 must be even, for distances"),
    ({"heads": 5}, "ConformerConfig.width=1024 is not a multiple of heads=5"),
    ({"channels": (8, 0)}, r"ConformerConfig.channels=\(8, 0\) must each be 1 or more"),
    ({"layers": 0}, "ConformerConfig.layers=0 must be 1 or more"),
    ({"past": 0}, "ConformerConfig.past=0 must be 1 or more"),
    ({"future": -1}, "ConformerConfig.future=-1 must be 0 or more"),
    ({"cap": 0.0}, "ConformerConfig.cap=0.0 must be above 0"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(E2B, **change)


def test_five_seconds_are_cut_in_a_few_milliseconds():
    samples, spent = noise(5.0), []
    for _ in range(5):
        began = time.process_time()
        cut(samples, config=E2B)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.03
