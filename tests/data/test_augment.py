"""Variations: within their ranges, the same for all of one medium, nothing where none is asked."""

import numpy as np
import pytest

from castor.core.batch import Signal
from castor.core.media import RATE
from castor.data.augment import EVENTS, MEL_STRIDE, SPEECH, STILL, Augment, Varied


def varied(augment: Augment, seed: int = 0) -> Varied:
    return Varied(augment, np.random.default_rng(seed))


def tone(seconds: float = 1.0, *, hz: float = 440.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return np.sin(2 * np.pi * hz * time).astype(np.float32)


def mel(windows: int = 10, bins: int = 16) -> Signal:
    """Windows that overlap as a front end makes them: 7 frames, 4 apart, their number as value."""
    times = MEL_STRIDE * np.arange(windows)[:, None] + np.arange(7)
    values = np.repeat(times[..., None], bins, -1).astype(np.float16)
    places = np.zeros((windows, 2), np.int32)
    return Signal("audio", values, places)


def test_the_default_changes_nothing() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert (varied(STILL).values("image", pixels) == pixels).all()
    assert (varied(STILL).values("audio", tone()) == tone()).all()
    assert (varied(STILL).signal(mel()).values == mel().values).all()


def test_a_shift_moves_pixels_and_repeats_the_edge() -> None:
    pixels = np.arange(32, dtype=np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    moves = set()
    for seed in range(200):
        out = varied(Augment(shift=3 / 32), seed).values("image", pixels)
        move = int(out[16, 16, 0]) - 16
        wanted = np.clip(np.arange(32) + move, 0, 31)
        assert (out[:, :, 0] == wanted).all()
        moves.add(move)
    assert moves == set(range(-3, 4))


def test_half_of_the_photos_are_flipped() -> None:
    pixels = np.arange(32, dtype=np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    flipped = [
        varied(Augment(flip=True), seed).values("image", pixels)[0, 31, 0] < 16
        for seed in range(200)
    ]
    assert 70 < sum(flipped) < 130


def test_a_scale_changes_both_sides_alike_and_within_its_range() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 80, 3), np.uint8)
    heights = []
    for seed in range(200):
        out = varied(Augment(scale=(0.5, 2.0)), seed).values("image", pixels)
        assert abs(out.shape[1] - 2 * out.shape[0]) <= 1
        heights.append(out.shape[0])
    assert 20 <= min(heights) < 24 and 70 < max(heights) <= 80
    assert 0.4 < np.mean(np.array(heights) < 40) < 0.6  # smaller as often as larger


def test_a_turn_keeps_the_middle_and_the_ground_and_stays_within_its_range() -> None:
    pixels = np.full((65, 65, 3), 200, np.uint8)
    pixels[32, 32:60] = 0  # a hand that points to the right
    angles = []
    for seed in range(100):
        out = varied(Augment(turn=12.0), seed).values("image", pixels)
        dark = np.argwhere(out[..., 0] < 120)
        down, across = (dark - 32).T
        far = np.hypot(down, across) > 20
        angles.append(np.degrees(np.arctan2(down[far], across[far]).mean()))
        assert (out[32, 32] < 120).all() and (out[0, 0] == 200).all() and (out[-1, -1] == 200).all()
    assert -13 < min(angles) < -9 and 9 < max(angles) < 13


def test_a_zoom_shows_a_part_and_no_less_than_it_may() -> None:
    pixels = np.arange(64, dtype=np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2)
    widths, firsts = [], []
    for seed in range(200):
        out = varied(Augment(zoom=0.5), seed).values("image", pixels)
        assert out.shape == pixels.shape
        widths.append(int(out[0, -1, 0]) - int(out[0, 0, 0]) + 1)
        firsts.append(int(out[0, 0, 0]))
    assert 31 <= min(widths) < 36 and 60 < max(widths) <= 64
    assert min(firsts) == 0 and max(firsts) > 20


def test_light_changes_contrast_and_colours_within_its_share() -> None:
    pixels = np.full((8, 8, 3), 100, np.uint8)
    means = [
        varied(Augment(light=0.2), seed).values("image", pixels).mean((0, 1)) for seed in range(200)
    ]
    assert np.min(means) >= 80 and np.max(means) <= 120
    assert np.ptp(means, axis=1).max() > 10  # colours change apart
    stripes = np.tile(np.array([50, 150], np.uint8)[:, None], (4, 8, 3)).reshape(8, 8, 3)
    spread = [
        np.ptp(varied(Augment(light=0.2), seed).values("image", stripes)) for seed in range(200)
    ]
    assert min(spread) < 90 and max(spread) > 110


def test_a_square_is_blotted_out() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    sides = []
    for seed in range(200):
        changed = (varied(Augment(erase=0.5), seed).values("image", pixels) != pixels).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        if len(rows):
            assert abs(len(rows) - len(columns)) <= 1
        sides.append(len(rows))
    assert min(sides) <= 1 and 14 <= max(sides) <= 16


@pytest.mark.parametrize("wrong", [{"zoom": 0.0}, {"zoom": 1.5}, {"light": 1.0}, {"erase": -0.1}])
def test_shares_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="zoom=.*light=.*erase="):
        Augment(**wrong)


def test_every_frame_of_a_clip_is_shifted_alike() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), np.uint8)
    one = varied(Augment(flip=True, shift=0.25), 5)
    first, again = one.values("image", frames[0]), one.values("image", frames[0])
    assert (first == again).all()
    other = one.values("image", frames[1])
    assert other.shape == first.shape


@pytest.mark.parametrize("seed", range(8))
def test_speed_changes_length_and_pitch_alike(seed: int) -> None:
    out = varied(Augment(speed=(0.73, 1.35)), seed).values("audio", tone())
    factor = RATE / len(out)
    assert 0.73 <= factor <= 1.36
    peak = np.abs(np.fft.rfft(out)).argmax() * RATE / len(out)
    assert peak == pytest.approx(440 * factor, rel=0.01)


def test_a_crop_has_its_length_whatever_the_speed() -> None:
    for seed in range(8):
        out = varied(EVENTS, seed).values("audio", tone(5.0))
        assert len(out) == pytest.approx(2 * RATE, abs=3)
    short = varied(Augment(seconds=2.0)).values("audio", tone(0.5))
    assert len(short) == RATE // 2


def test_noise_is_as_far_below_the_sound_as_asked() -> None:
    loud = Augment(noise_db=(-20.0, -20.0))
    noise = varied(loud).values("audio", tone()) - tone()
    ratio = 20 * np.log10(np.sqrt((noise**2).mean() / (tone() ** 2).mean()))
    assert ratio == pytest.approx(-20, abs=0.5)


def test_gain_is_within_its_range() -> None:
    for seed in range(20):
        out = varied(Augment(gain_db=6.0), seed).values("audio", tone())
        assert abs(20 * np.log10(np.abs(out).max())) <= 6.1


def test_silence_stays_finite() -> None:
    out = varied(SPEECH).values("audio", np.zeros(100, np.float32))
    assert np.isfinite(out).all()


def test_a_blotted_stretch_of_time_is_the_same_in_overlapping_windows() -> None:
    for seed in range(20):
        signal = mel()
        out = varied(Augment(mask_time=0.5), seed).signal(signal).values.astype(np.float32)
        changed = (out != signal.values.astype(np.float32))[..., 0]
        times = MEL_STRIDE * np.arange(10)[:, None] + np.arange(7)
        blotted = set(times[changed].tolist())
        mean = float(signal.values.astype(np.float32).mean())
        blotted |= {int(mean)} if mean.is_integer() else set()
        same = [changed[times == time] for time in blotted if time != mean]
        assert all(part.all() for part in same)
        assert len(blotted) <= 21


def test_blotted_bins_are_next_to_each_other_and_no_more_than_asked() -> None:
    widths = set()
    for seed in range(60):
        signal = mel()
        out = varied(Augment(mask_bins=4), seed).signal(signal).values
        changed = np.flatnonzero((out != signal.values).any((0, 1)))
        widths.add(len(changed))
        assert len(changed) == 0 or np.ptp(changed) == len(changed) - 1
    assert widths == {0, 1, 2, 3, 4}


def test_a_warp_moves_bins_by_little_and_keeps_the_type() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.float16), (3, 7, 64)).copy()
    signal = Signal("audio", ramp, np.zeros((3, 2), np.int32))
    for seed in range(20):
        out = varied(Augment(warp=0.12, slide=2.0), seed).signal(signal).values
        assert out.dtype == np.float16
        assert np.abs(out.astype(np.float32) - ramp).max() <= 0.12 * 31.5 + 2.1
        assert (np.diff(out[0, 0].astype(np.float32)) >= 0).all()


def test_a_tilt_leaves_the_middle_where_it_is() -> None:
    flat = Signal("audio", np.zeros((2, 7, 65), np.float32), np.zeros((2, 2), np.int32))
    out = varied(Augment(tilt=0.3), 3).signal(flat).values
    assert (out[..., 32] == 0).all() and 0 < abs(out[0, 0, 0]) <= 0.15
    np.testing.assert_allclose(out[..., 0], -out[..., -1])


def test_pictures_pass_the_signal_stage_untouched() -> None:
    signal = Signal("image", np.zeros((2, 1, 8, 8, 3), np.uint8), np.zeros((2, 2), np.int32))
    assert varied(SPEECH).signal(signal) is signal


def test_chance_is_a_function_of_the_generator() -> None:
    one, other = (varied(SPEECH, 9).values("audio", tone()) for _ in range(2))
    assert (one == other).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shift": 0.5}, "shift=0.5 is a share"),
        ({"speed": (0.0, 1.0)}, "positive factors"),
        ({"scale": (2.0, 1.0)}, "scale=.* is a range of positive factors"),
    ],
)
def test_ranges_that_cannot_be_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**wrong)
