import numpy as np
import pytest

from castor.core.batch import Signal
from castor.models.video import choose_frames, interleave, stamp


def picture(number: int) -> Signal:
    return Signal("image", np.full((4, 3), number, np.uint8), np.zeros((4, 2), np.int32))


def sound(slots: int) -> Signal:
    places = np.stack([np.zeros(slots, np.int32), np.arange(slots, dtype=np.int32)], 1)
    return Signal("audio", np.arange(slots * 2, dtype=np.float32).reshape(slots, 2), places)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0"), (1.5, "1.5"), (59.94, "59.9"), (59.96, "1:00.0"), (123.5, "2:03.5")],
)
def test_a_time_reads_as_a_person_writes_it(seconds, text):
    assert stamp(seconds) == text


def test_hours_are_written_only_when_there_are_hours():
    assert stamp(3723.5) == "1:02:03.5"


@pytest.mark.parametrize(
    ("frames", "rate_hz", "chosen"), [(3, 2, 3), (60, 30, 8), (300, 30, 11), (3000, 30, 32)]
)
def test_a_clip_is_looked_at_once_a_second_within_bounds(frames, rate_hz, chosen):
    picked = choose_frames(np.arange(frames, dtype=np.float32) / rate_hz)
    assert len(picked) == chosen
    assert (picked[0], picked[-1]) == (0, frames - 1)
    assert picked == sorted(set(picked))


def test_no_frames_are_chosen_from_an_empty_clip():
    assert choose_frames(np.zeros(0, np.float32)) == []


def test_frames_of_a_second_stand_before_its_sound():
    pieces = interleave([(0.0, picture(0)), (0.5, picture(1)), (1.2, picture(2))], sound(40))
    kinds = [p if isinstance(p, str) else p.kind for p in pieces]
    assert kinds == ["0.0", "image", "0.5", "image", "audio", "1.2", "image", "audio"]


def test_the_stretches_of_sound_put_together_are_the_whole_sound():
    whole = sound(60)
    heard = [p for p in interleave([(9.0, picture(0))], whole) if isinstance(p, Signal)]
    heard = [p for p in heard if p.kind == "audio"]
    assert [len(p.places) for p in heard] == [25, 25, 10]
    np.testing.assert_array_equal(np.concatenate([p.values for p in heard]), whole.values)
    np.testing.assert_array_equal(np.concatenate([p.places for p in heard]), whole.places)


def test_frames_after_the_end_of_the_sound_are_kept():
    pieces = interleave([(0.0, picture(0)), (7.0, picture(1))], sound(25))
    assert [p for p in pieces if isinstance(p, str)] == ["0.0", "7.0"]


def test_a_silent_clip_is_times_and_pictures_alone():
    pieces = interleave([(0.0, picture(0)), (2.0, picture(1))], None)
    assert [p if isinstance(p, str) else p.kind for p in pieces] == ["0.0", "image", "2.0", "image"]
