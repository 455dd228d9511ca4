"""Where speech begins and ends, and what is recorded of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.media import open_sound
from castor.serve.live_audio import (
    FRAME_MS,
    LEAD_MS,
    MARGINS_DB,
    QUIET_DB,
    SPOKEN_S,
    Chunk,
    Detection,
    Microphone,
    chunk_of,
    level_db,
    recording_of,
)

from .live_driver import RATE, quiet, tone


def chunk(sound: np.ndarray, rate: int = RATE) -> Chunk:
    return Chunk(rate, (sound * 32767).astype("<i2").tobytes())


def heard(
    sound: np.ndarray, detection: Detection, *, rate: int = RATE, pieces: int = 1
) -> tuple[list[str], list[float]]:
    """What was signed, and the lengths of recordings in seconds."""
    microphone = Microphone(detection)
    data = chunk(sound, rate).data
    signs, lengths = [], []
    for piece in np.array_split(np.frombuffer(data, np.uint8), pieces):
        for sign, recording in microphone.hear(Chunk(rate, piece.tobytes())):
            signs.append(sign)
            if recording is not None:
                lengths.append(len(recording.data) / 2 / rate)
    return signs, lengths


SPEECH = np.concatenate([quiet(1.0), tone(0.8), quiet(1.0)])
DETECTION = Detection()


def test_speech_between_silences_is_one_recording_with_a_lead_and_a_tail() -> None:
    signs, (length,) = heard(SPEECH, DETECTION)
    assert signs == ["start", "end"]
    assert length == pytest.approx((LEAD_MS + DETECTION.silence_ms) / 1000 + 0.8, abs=0.05)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
def test_every_rate_is_heard_alike(rate: int) -> None:
    sound = np.concatenate([quiet(1.0, rate=rate), tone(0.8, rate=rate), quiet(1.0, rate=rate)])
    signs, (length,) = heard(sound, DETECTION, rate=rate)
    assert signs == ["start", "end"]
    assert length == pytest.approx(1.6, abs=0.06)


@given(st.integers(1, 400))
def test_how_the_samples_are_cut_into_pieces_changes_nothing(pieces: int) -> None:
    assert heard(SPEECH, DETECTION, pieces=pieces) == heard(SPEECH, DETECTION)


@pytest.mark.parametrize(
    "sound",
    [
        quiet(3.0),
        np.zeros(3 * RATE),
        np.concatenate([quiet(1.0), tone(0.06), quiet(1.0)]),  # a click
        tone(3.0, loudness=0.002),  # a hum, 57 dB below full
    ],
)
def test_silence_clicks_and_hums_are_no_speech(sound: np.ndarray) -> None:
    assert heard(sound, DETECTION) == ([], [])


def test_the_noise_of_a_room_is_learned_at_once_when_it_is_there_from_the_begin() -> None:
    room = 0.007 * np.random.default_rng(0).standard_normal(4 * RATE)  # 43 dB below full
    assert heard(room, DETECTION) == ([], [])
    room[2 * RATE : 3 * RATE] += tone(1.0)
    assert heard(room, DETECTION)[0] == ["start", "end"]


def test_noise_that_begins_later_is_taken_for_noise_after_a_while() -> None:
    fan = 0.03 * np.random.default_rng(0).standard_normal(20 * RATE)
    signs, (length,) = heard(np.concatenate([quiet(1.0), fan]), DETECTION)
    assert signs == ["start", "end"] and 5 < length < 15


def test_a_pause_that_is_short_enough_is_part_of_the_speech() -> None:
    sound = np.concatenate([quiet(0.5), tone(0.3), quiet(0.4), tone(0.3), quiet(1.5)])
    assert heard(sound, DETECTION)[0] == ["start", "end"]
    assert heard(sound, Detection(silence_ms=200))[0] == ["start", "end"] * 2
    assert heard(sound, Detection(silence_ms=1000))[0] == ["start", "end"]


def test_speech_must_last_as_long_as_is_asked() -> None:
    assert heard(SPEECH, Detection(prefix_ms=700))[0] == ["start", "end"]
    assert heard(SPEECH, Detection(prefix_ms=900))[0] == []


def test_a_low_sensitivity_needs_louder_speech() -> None:
    between = 10 ** ((sum(MARGINS_DB.values()) / 2 - 50 + 3) / 20)
    noise = 0.00316 * np.random.default_rng(0).standard_normal(RATE)  # 50 dB below full
    sound = np.concatenate([np.tile(noise, 6), noise + tone(1.0, loudness=between), noise, noise])
    assert heard(sound, Detection(start="HIGH"))[0][-2:] == ["start", "end"]
    assert heard(sound, Detection(start="LOW"))[0] == []


def test_a_low_sensitivity_of_the_end_goes_on_where_the_voice_falls() -> None:
    soft = tone(1.0, loudness=0.0035)  # 52 dB below full
    sound = np.concatenate([quiet(0.5), tone(0.4), soft, tone(0.4), quiet(1.5)])
    assert heard(sound, Detection(end="HIGH"))[0] == ["start", "end"] * 2
    assert heard(sound, Detection(end="LOW"))[0] == ["start", "end"]


def test_speech_without_an_end_is_cut() -> None:
    swelling = np.concatenate([tone(1.0, loudness=a) for a in (0.3, 0.004) * (SPOKEN_S // 2 + 2)])
    signs, lengths = heard(swelling, Detection(silence_ms=5000))
    assert signs[:2] == ["start", "end"]
    assert lengths[0] == pytest.approx(SPOKEN_S, abs=FRAME_MS / 1000)


def test_the_end_of_a_stream_ends_its_speech() -> None:
    microphone = Microphone(DETECTION)
    microphone.hear(chunk(np.concatenate([quiet(1.0), tone(0.5)])))
    recording = microphone.end()
    assert recording is not None
    assert len(recording.data) / 2 / RATE == pytest.approx(0.5 + LEAD_MS / 1000, abs=0.05)
    assert not microphone.active and microphone.end() is None


def test_without_a_detector_all_between_the_marks_is_recorded_and_nothing_else() -> None:
    microphone = Microphone(None)
    assert microphone.hear(chunk(tone(1.0))) == []
    assert microphone.end() is None
    microphone.start()
    microphone.hear(chunk(tone(0.5)))
    microphone.hear(chunk(quiet(0.5)))
    recording = microphone.end()
    assert recording == chunk(np.concatenate([tone(0.5), quiet(0.5)]))
    microphone.start()
    assert microphone.end() is None


def test_a_recording_at_16_khz_is_kept_sample_for_sample() -> None:
    samples = chunk(tone(0.1))
    found = open_sound(recording_of(samples).data, "audio/wav")
    assert np.array_equal((found * 32768).astype("<i2"), np.frombuffer(samples.data, "<i2"))


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_a_recording_at_another_rate_sounds_the_same_at_16_khz(rate: int) -> None:
    media = recording_of(chunk(tone(1.0, rate=rate), rate))
    found = open_sound(media.data, "audio/wav")
    assert media.mime == "audio/wav" and len(found) == RATE
    spectrum = np.abs(np.fft.rfft(found))
    assert np.argmax(spectrum) == 440


@pytest.mark.parametrize(("loudness", "level"), [(1.0, -3.01), (0.1, -23.01), (0.0, QUIET_DB)])
def test_loudness_is_in_decibels_of_a_full_square_wave(loudness: float, level: float) -> None:
    assert level_db(chunk(tone(1.0, loudness=loudness)).data) == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize(
    ("mime", "rate"),
    [
        ("audio/pcm", 16_000),
        ("audio/pcm;rate=24000", 24_000),
        ("audio/PCM; Rate=8000", 8_000),
        ("audio/l16;codec=pcm;rate=48000;channels=1", 48_000),
    ],
)
def test_the_mime_says_the_rate(mime: str, rate: int) -> None:
    assert chunk_of(mime, b"ab", at="x") == Chunk(rate, b"ab")


@pytest.mark.parametrize(
    ("mime", "message"),
    [
        ("audio/webm", "x: sound is read as audio/pcm;rate=16000 .*, not as 'audio/webm'"),
        ("text/plain", "not as 'text/plain'"),
        ("audio/pcm;rate=1", "x: rate=1 is outside 8000 to 192000"),
        ("audio/pcm;rate=fast", "x: rate=fast is outside"),
        ("audio/pcm;channels=2", "x: one channel is read; got channels=2"),
    ],
)
def test_other_sound_is_refused(mime: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chunk_of(mime, b"", at="x")


def test_a_rate_may_change_between_activities_alone() -> None:
    microphone = Microphone(None)
    microphone.start()
    microphone.hear(chunk(tone(0.1)))
    with pytest.raises(ValueError, match="the rate of a sound changed from 16000 to 8000"):
        microphone.hear(chunk(tone(0.1, rate=8_000), 8_000))
    free = Microphone(DETECTION)
    free.hear(chunk(quiet(1.0)))
    assert free.hear(chunk(quiet(1.0, rate=8_000), 8_000)) == []


def test_a_marked_activity_may_not_last_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("castor.serve.live_audio.MARKED_S", 1)
    microphone = Microphone(None)
    microphone.start()
    with pytest.raises(ValueError, match="an activity lasts more than 1 s; send activityEnd"):
        microphone.hear(chunk(tone(1.1)))
