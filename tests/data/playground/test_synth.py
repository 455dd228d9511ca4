"""The sound of tables, noise and instruments, measured."""

import numpy as np
import pytest

from castor.core.media import RATE, open_sound
from castor.data.playground import synth


def strongest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE / len(samples))


def share_above(samples: np.ndarray, hz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(power[int(hz * len(samples) / RATE) :].sum() / power.sum())


def steady(pitch_hz: float, seconds: float = 0.5) -> np.ndarray:
    return np.full(synth.count(seconds), pitch_hz, np.float32)


@pytest.mark.parametrize("pitch", [110.0, 440.0, 1760.0])
def test_a_table_is_heard_at_its_pitch(pitch: float) -> None:
    table = synth.period(np.ones(1, np.float32))
    assert strongest_hz(synth.play(table, steady(pitch))) == pytest.approx(pitch, abs=3)


def test_a_period_has_its_harmonics_and_a_peak_of_one() -> None:
    table = synth.period(np.array([1, 0, 0.5, 0.25], np.float32))
    strengths = np.abs(np.fft.rfft(table))[1:7]
    assert np.abs(table).max() == pytest.approx(1)
    assert strengths / strengths[0] == pytest.approx([1, 0, 0.5, 0.25, 0, 0], abs=1e-5)


def test_a_glide_goes_from_one_pitch_to_another_by_equal_ratios() -> None:
    pitch = synth.glide(200, 800, seconds=0.1)
    assert (pitch[0], pitch[-1]) == pytest.approx((200, 800), rel=1e-3)
    assert pitch[len(pitch) // 2] == pytest.approx(400, rel=1e-2)


def test_a_gliding_tone_rises() -> None:
    tone = synth.play(synth.period(np.ones(1, np.float32)), synth.glide(300, 900, seconds=0.6))
    thirds = np.array_split(tone, 3)
    pitches = [strongest_hz(third) for third in thirds]
    assert pitches == sorted(pitches) and pitches[2] > 1.7 * pitches[0]


def test_a_fade_begins_and_ends_in_silence() -> None:
    samples = synth.fade(np.ones(1000, np.float32), attack=0.01, release=0.02)
    assert samples[0] == samples[-1] == 0 and samples[500] == 1


def test_a_fade_longer_than_the_sound_is_cut_to_it() -> None:
    samples = synth.fade(np.ones(10, np.float32), attack=1, release=1)
    assert samples.max() < 0.3


def test_a_decay_halves_in_its_half_life() -> None:
    curve = synth.decay(RATE, 0.25)
    assert curve[0] == 1 and curve[RATE // 4] == pytest.approx(0.5)


@pytest.mark.parametrize(("low", "high"), [(200, 900), (1200, 2400), (4200, 7500)])
def test_noise_stays_in_its_band(low: int, high: int) -> None:
    noise = synth.hiss(low, high, seconds=0.5, start=0.3)
    assert share_above(noise, max(low - 220, 0)) > 0.99 and share_above(noise, high + 220) < 0.01


def test_noise_differs_by_where_it_is_cut() -> None:
    one, other = (synth.hiss(200, 900, seconds=0.1, start=start) for start in (0.1, 0.7))
    assert len(one) == len(other) == RATE // 10 and not np.array_equal(one, other)


@pytest.mark.parametrize("instrument", synth.INSTRUMENTS)
@pytest.mark.parametrize("pitch", [200.0, 700.0])
def test_a_note_lasts_as_long_as_asked_and_is_not_too_loud(instrument: str, pitch: float) -> None:
    samples = synth.note(instrument, pitch, seconds=0.3)
    assert len(samples) == synth.count(0.3)
    assert 0.3 < np.abs(samples).max() < 2.5 and abs(samples[-1]) < 0.02


@pytest.mark.parametrize("instrument", [i for i in synth.INSTRUMENTS if i != "drum"])
def test_a_note_has_a_harmonic_at_its_pitch(instrument: str) -> None:
    samples = synth.note(instrument, 400.0, seconds=0.5)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    near = spectrum[195:206].max()  # 2 Hz for each bin
    assert near > 0.25 * spectrum.max()


def test_nothing_folds_back_from_above_half_the_rate() -> None:
    samples = synth.note("buzzer", 1900.0, seconds=0.5)
    tones = np.flatnonzero(np.abs(np.fft.rfft(samples)) > 200) * 2.0
    assert all(min(tone % 1900, -tone % 1900) < 30 for tone in tones)


def test_instruments_sound_different() -> None:
    def colour(instrument: str) -> np.ndarray:
        samples = synth.note(instrument, 300.0, seconds=0.4)
        bands = [band.sum() for band in np.array_split(np.abs(np.fft.rfft(samples)) ** 2, 40)]
        shape = np.log10(np.array(bands) / sum(bands) + 1e-5)
        ends = [(half**2).mean() for half in np.array_split(samples, 2)]
        return np.append(shape, 3 * np.log10(ends[1] / ends[0] + 1e-3))

    colours = [colour(instrument) for instrument in synth.INSTRUMENTS]
    for i, one in enumerate(colours):
        for other in colours[:i]:
            assert np.linalg.norm(one - other) > 2


@pytest.mark.parametrize("gain", [0.1, 0.9])
def test_a_finished_sound_has_its_gain_and_opens_again(gain: float) -> None:
    tone = synth.note("organ", 300.0, seconds=0.4)
    medium = synth.finish(tone, gain=gain, noise=0.0, start=0.5)
    samples = open_sound(medium.data, medium.mime)
    assert len(samples) == len(tone) and np.abs(samples).max() == pytest.approx(gain, abs=1e-3)


def test_a_finished_silence_is_its_noise() -> None:
    medium = synth.finish(synth.silence(0.5), gain=0.5, noise=0.01, start=0.2)
    samples = open_sound(medium.data, medium.mime)
    assert samples.std() == pytest.approx(0.003, rel=0.1)
