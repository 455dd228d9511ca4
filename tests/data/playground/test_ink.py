"""Masks, stamps and printed text."""

import numpy as np
import pytest

from castor.core.media import open_image
from castor.data.playground import ink

WHITE = (255, 255, 255)


@pytest.mark.parametrize("shape", ink.SHAPES)
@pytest.mark.parametrize("size", [10, 16, 24, 41])
def test_a_mask_covers_a_sensible_part_of_its_box(shape: str, size: int) -> None:
    cover = ink.mask(shape, size)
    assert cover.shape == (size, size) and cover.min() < 0.3 and cover.max() == 1
    assert 0.2 < cover.mean() < 0.9


@pytest.mark.parametrize("shape", [shape for shape in ink.SHAPES if shape != "moon"])
def test_shapes_are_the_same_in_a_mirror(shape: str) -> None:
    cover = ink.mask(shape, 24)
    assert np.abs(cover - cover[:, ::-1]).max() < 0.13


def test_no_two_shapes_look_alike() -> None:
    covers = [ink.mask(shape, 24) for shape in ink.SHAPES]
    for i, one in enumerate(covers):
        for other in covers[:i]:
            assert np.minimum(one, other).sum() / np.maximum(one, other).sum() < 0.87


def test_a_circle_covers_pi_quarters_of_its_box() -> None:
    assert ink.mask("circle", 64).mean() == pytest.approx(np.pi / 4, abs=1e-3)


def test_a_ring_has_a_hole() -> None:
    assert ink.mask("ring", 32)[14:18, 14:18].max() == 0
    assert ink.mask("circle", 32)[14:18, 14:18].min() == 1


def test_masks_are_kept_and_cannot_be_written_to() -> None:
    assert ink.mask("star", 20) is ink.mask("star", 20)
    with pytest.raises(ValueError, match="read-only"):
        ink.mask("star", 20)[0, 0] = 1


def test_a_stamp_lands_where_it_is_put() -> None:
    canvas = ink.blank(8, 6, paper=WHITE)
    ink.stamp(canvas, np.ones((2, 3), np.float32), colour=(0, 0, 0), x=4, y=1)
    dark = np.argwhere(ink.pixels(canvas)[..., 0] == 0)
    assert dark.min(0).tolist() == [1, 4] and dark.max(0).tolist() == [2, 6]


@pytest.mark.parametrize(
    ("x", "y", "left"), [(-2, -1, 2), (6, 5, 2), (-3, 0, 0), (8, 0, 0), (0, 6, 0), (0, -2, 0)]
)
def test_what_falls_outside_is_cut(x: int, y: int, left: int) -> None:
    canvas = ink.blank(8, 6, paper=WHITE)
    ink.stamp(canvas, np.ones((2, 3), np.float32), colour=(0, 0, 0), x=x, y=y)
    expected = max(0, min(x + 3, 8) - max(x, 0)) * max(0, min(y + 2, 6) - max(y, 0))
    assert (ink.pixels(canvas)[..., 0] == 0).sum() == expected
    assert bool(expected) == bool(left)


def test_half_a_cover_is_half_the_colour() -> None:
    canvas = ink.blank(2, 2, paper=(200, 100, 0))
    ink.stamp(canvas, np.full((2, 2), 0.5, np.float32), colour=(0, 200, 100), x=0, y=0)
    assert ink.pixels(canvas)[0, 0].tolist() == [100, 150, 50]


def test_a_painted_shape_is_centred() -> None:
    canvas = ink.blank(40, 40, paper=WHITE)
    ink.paint(canvas, "circle", colour=(0, 0, 0), x=12, y=25, size=14)
    y, x = np.argwhere(ink.pixels(canvas)[..., 0] < 128).mean(0) + 0.5
    assert (x, y) == pytest.approx((12, 25), abs=0.1)


def test_a_box_is_filled_exactly() -> None:
    canvas = ink.blank(10, 10, paper=WHITE)
    ink.box(canvas, colour=(1, 2, 3), left=2, top=3, width=4, height=5)
    assert (ink.pixels(canvas)[3:8, 2:6] == (1, 2, 3)).all()
    assert (ink.pixels(canvas) == (1, 2, 3)).all(-1).sum() == 20


def test_a_picture_opens_to_the_same_pixels() -> None:
    canvas = ink.blank(12, 5, paper=(10, 20, 30))
    medium = ink.picture(canvas)
    assert np.array_equal(open_image(medium.data, medium.mime), ink.pixels(canvas))


@pytest.mark.parametrize("size", [0, 13, 17, 22])
@pytest.mark.parametrize("text", ["1", "8", "gy", "WATCH", "7+6"])
def test_printed_text_is_cut_to_its_ink(text: str, size: int) -> None:
    cover = ink.printed(text, size)
    assert cover.max() > 0.5 and cover.min() >= 0
    assert all(edge.any() for edge in (cover[0], cover[-1], cover[:, 0], cover[:, -1]))


@pytest.mark.parametrize("size", [0, 13, 22])
def test_every_digit_and_letter_is_printed_differently(size: int) -> None:
    signs = "0123456789abcdefghijklmnopqrstuvwxyz"
    assert len({(ink.printed(s, size).shape, ink.printed(s, size).tobytes()) for s in signs}) == 36


def test_larger_type_is_larger() -> None:
    assert ink.printed("word", 22).shape[1] > 1.4 * ink.printed("word", 13).shape[1]


def test_named_colours_are_far_apart() -> None:
    colours = np.array(list(ink.PALETTE.values()), float)
    gaps = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 1e9 * np.eye(len(colours))
    assert gaps.min() > 70
