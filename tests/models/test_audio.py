import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Slots
from castor.models.audio import cut, encode_audio, init_audio, log_mel, windows
from castor.models.sizes import AudioConfig

CONFIG = AudioConfig(mels=16, channels=(4, 8), width=24, heads=2, slots=40)
CONFORMERS = AudioConfig(mels=16, channels=(4, 8), layers=2, width=24, heads=2, slots=40)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    count = int(seconds * 16_000)
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


def tone(hz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * 16_000)) / 16_000).astype(np.float32)


def slow_log_mel(samples: np.ndarray, mels: int) -> np.ndarray:
    """The definition, with sums written out: no FFT, no matrix of filters."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (60, 7600))
    steps = [low + i * (high - low) / (mels + 1) for i in range(mels + 2)]
    edges = [700 * (10 ** (mel / 2595) - 1) for mel in steps]
    angles = 2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512
    basis = np.exp(-angles)
    rows = []
    for start in range(0, len(samples) - 399, 160):
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
        power = np.abs(basis @ (samples[start : start + 400] * hann)) ** 2
        row = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for i, p in enumerate(power):
                hz = i * 16_000 / 512
                if left < hz <= centre:
                    total += p * (hz - left) / (centre - left)
                elif centre < hz < right:
                    total += p * (right - hz) / (right - centre)
            row.append(math.log10(max(total, 1e-10)))
        rows.append(row)
    level = np.array(rows)
    top = level.max()
    return (np.maximum(level, top - 6) - top) / 3 + 1


def slots_of(*signals, length: int) -> Slots:
    """Sounds side by side in one row of this many slots."""
    window = signals[0].values.shape[1:]
    values = np.zeros((1, length, *window), np.float16)
    places, blocks = np.zeros((1, length, 2), np.int32), np.zeros((1, length), np.int32)
    start = 0
    for number, signal in enumerate(signals, 1):
        at = slice(start, start + len(signal.places))
        values[0, at], places[0, at], blocks[0, at] = signal.values, signal.places, number
        start += len(signal.places)
    return Slots(values, places, np.zeros((1, length), np.int32), blocks)


@pytest.mark.parametrize("samples", [noise(0.2), tone(440, 0.1), noise(0.1) + tone(3000, 0.1)])
def test_log_mel_agrees_with_its_definition(samples):
    np.testing.assert_allclose(log_mel(samples, mels=20), slow_log_mel(samples, 20), atol=2e-4)


def test_log_mel_runs_from_minus_one_to_one_however_loud_the_sound_is():
    quiet, loud = (log_mel(noise(0.3) * gain, mels=32) for gain in (0.01, 1.0))
    np.testing.assert_allclose(quiet, loud, atol=1e-3)
    assert loud.max() == 1 and loud.min() >= -1


def test_a_higher_tone_lights_a_higher_bin():
    bins = [int(log_mel(tone(hz), mels=64)[10].argmax()) for hz in (200, 800, 3000, 7000)]
    assert bins == sorted(bins) and len(set(bins)) == 4


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(100, np.float32)])
def test_silence_and_the_shortest_sounds_fill_one_slot(samples):
    signal = cut(samples, config=CONFIG)
    assert signal.values.shape == (1, 7, 16) and np.isfinite(signal.values).all()


def test_a_second_of_sound_fills_twenty_five_slots():
    assert len(cut(noise(1.0), config=CONFIG).places) == 25


def test_sound_beyond_the_most_slots_is_left_out():
    signal = cut(noise(3.0), config=CONFIG)
    assert len(signal.places) == 40
    np.testing.assert_array_equal(signal.places[:, 1], np.arange(40))


def test_neighbouring_windows_overlap_by_three_frames():
    values = cut(noise(1.0), config=CONFIG).values
    np.testing.assert_array_equal(values[:-1, 4:], values[1:, :3])


def test_the_windows_give_what_two_convolutions_over_the_whole_sound_give():
    mel = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float16)
    encoder = init_audio(CONFIG, 32, jax.random.key(0))
    signal = windows(mel.astype(np.float32), config=CONFIG)
    ours = encode_audio(encoder, slots_of(signal, length=len(signal.places)), config=CONFIG)
    x = np.pad(mel, ((3, 10), (0, 0)), constant_values=-1.0)[None, ..., None]
    for weights, o in ((encoder.first, 4), (encoder.second, 8)):
        kernel = weights.reshape(3, 3, -1, o)
        x = jax.lax.conv_general_dilated(
            jnp.asarray(x, jnp.float32), kernel, (2, 2), ((0, 0), (1, 0)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        x = jax.nn.gelu(x)
    flat = x[0, : len(signal.places)].reshape(len(signal.places), -1) @ encoder.stem
    flat = flat + encoder.table[: len(signal.places)]
    root = jnp.sqrt(jnp.mean(flat**2, axis=-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(ours[0], flat / root @ encoder.out, atol=2e-4)


@pytest.mark.parametrize("config", [CONFIG, CONFORMERS], ids=["stem", "conformers"])
def test_sounds_side_by_side_have_the_states_that_they_have_alone(config):
    encoder = init_audio(config, 32, jax.random.key(0))
    signals = [cut(noise(0.4, seed), config=config) for seed in (1, 2)]
    together = encode_audio(encoder, slots_of(*signals, length=24), config=config)[0]
    start = 0
    for signal in signals:
        n = len(signal.places)
        alone = encode_audio(encoder, slots_of(signal, length=24), config=config)[0]
        np.testing.assert_allclose(together[start : start + n], alone[:n], atol=2e-5)
        start += n


def test_conformer_slots_hear_the_whole_sound():
    encoder = init_audio(CONFORMERS, 32, jax.random.key(0))
    slots = slots_of(cut(noise(0.4), config=CONFORMERS), length=10)
    before = encode_audio(encoder, slots, config=CONFORMERS)
    slots.values[0, 9] += 1
    after = encode_audio(encoder, slots, config=CONFORMERS)
    assert np.abs(after[0, 0] - before[0, 0]).max() > 1e-4


def test_five_seconds_are_cut_in_a_few_milliseconds():
    samples, spent = noise(5.0), []
    for _ in range(5):
        began = time.process_time()
        cut(samples, config=AudioConfig())
        spent.append(time.process_time() - began)
    assert min(spent) < 0.03
