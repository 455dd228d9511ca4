"""Pixels made smaller, square, turned, laid over one another and drawn."""

import io

import numpy as np
import pytest
from PIL import Image

from castor.data.pixels import fit, open_sprite, put, scaled, squared, strokes_drawn, turned


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


def arrow(side: int = 32) -> np.ndarray:
    """A sprite whose upper right quarter alone is there."""
    sprite = np.zeros((side, side, 4), np.uint8)
    sprite[: side // 2, side // 2 :] = 255
    return sprite


@pytest.mark.parametrize(
    ("size", "side", "wanted"),
    [
        ((40, 80), 20, (10, 20)),
        ((80, 40), 20, (20, 10)),
        ((9, 9), 20, (9, 9)),
        ((1, 99), 9, (1, 9)),
    ],
)
def test_a_picture_fits_and_keeps_its_aspect(
    size: tuple[int, int], side: int, wanted: tuple[int, int]
) -> None:
    assert fit(noise(*size, 3), side).shape == (*wanted, 3)


def test_without_a_limit_nothing_is_made_smaller() -> None:
    pixels = noise(30, 30, 3)
    assert fit(pixels, None) is pixels


def test_a_square_has_the_picture_in_its_middle_on_white() -> None:
    page = squared(np.zeros((4, 8, 3), np.uint8), 16)
    assert page.shape == (16, 16, 3)
    assert (page[6:10, 4:12] == 0).all()
    assert page.sum() == 255 * 3 * (256 - 32)


def test_a_sprite_keeps_its_transparency() -> None:
    out = io.BytesIO()
    Image.fromarray(arrow()).save(out, "PNG")
    sprite = open_sprite(out.getvalue(), 16)
    assert sprite.shape == (16, 16, 4)
    assert (sprite[:8, 8:, 3] == 255).all() and (sprite[8:, :, 3] == 0).all()


def test_what_is_no_picture_is_no_sprite() -> None:
    with pytest.raises(ValueError, match="a sprite cannot be opened"):
        open_sprite(b"no picture", 16)


def test_a_turn_of_90_degrees_is_clockwise() -> None:
    around = turned(arrow(), 90)
    assert (around[18:30, 18:30, 3] > 250).all()  # upper right goes to lower right
    assert (around[2:14, 18:30, 3] < 5).all()


def test_a_sprite_is_laid_over_where_it_is_there() -> None:
    canvas = np.full((40, 40, 3), 10, np.uint8)
    put(canvas, arrow(), x=4, y=6)
    assert (canvas[6:22, 20:36] == 255).all()
    assert (canvas == 10).sum() == 3 * (1600 - 256)


def test_a_half_transparent_sprite_mixes_with_what_is_below() -> None:
    canvas = np.full((2, 2, 3), 100, np.uint8)
    sprite = np.full((2, 2, 4), 200, np.uint8)
    sprite[..., 3] = 128
    put(canvas, sprite, x=0, y=0)
    assert (canvas == 150).all()


def test_a_scaled_sprite_has_its_new_side() -> None:
    assert scaled(arrow(), 7).shape == (7, 7, 4)


def test_strokes_are_drawn_up_to_a_point() -> None:
    strokes = [[[10, 50], [90, 50]], [[50, 10], [50, 90]]]
    first = strokes_drawn(strokes, points=2, extent=100, side=50)
    both = strokes_drawn(strokes, points=4, extent=100, side=50)
    assert (first[25, 8:42] < 128).all() and (first[5:20, 25] > 200).all()
    assert (both[25, 8:42] < 128).all() and (both[8:42, 25] < 128).all()


def test_a_stroke_of_one_point_is_a_dot() -> None:
    page = strokes_drawn([[[50, 50]]], points=1, extent=100, side=50)
    assert page[25, 25].max() < 128 and page[10, 10].min() > 250
