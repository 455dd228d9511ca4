"""Pixels made smaller, square, turned or drawn as strokes: what sources need of Pillow."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

Pixels = UInt8[np.ndarray, "h w 3"]
Sprite = UInt8[np.ndarray, "s s 4"]  # with alpha


def fit(pixels: Pixels, side: int | None) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture at most `side` pixels high and wide, its aspect kept; never made larger."""
    height, width = pixels.shape[:2]
    if side is None or max(height, width) <= side:
        return pixels
    return resized(pixels, side / max(height, width))


def resized(pixels: Pixels, scale: float) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture with its sides times `scale`."""
    if scale == 1:
        return pixels
    height, width = pixels.shape[:2]
    return stretched(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


def stretched(pixels: Pixels, height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """The picture at another size, whatever that does to its aspect."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def rotated(pixels: Pixels, degrees: float) -> Pixels:
    """The picture turned around its middle; what comes into its corners has its first pixel's
    colour."""
    ground = tuple(pixels[0, 0].tolist())
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=ground))


def squared(pixels: Pixels, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """The picture in the middle of a white square of that side."""
    pixels = fit(pixels, side)
    page = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - pixels.shape[0]) // 2, (side - pixels.shape[1]) // 2
    page[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return page


def open_sprite(data: bytes, side: int) -> Sprite:
    """A square picture with its transparency, reduced to `side` pixels.

    Raises:
        ValueError: the bytes are no picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            full = picture.convert("RGBA")
    except OSError as error:
        raise ValueError(f"a sprite cannot be opened: {error}") from None
    return np.asarray(full.resize((side, side), Image.Resampling.BOX))


def turned(sprite: Sprite, degrees: float) -> Sprite:
    """The sprite turned clockwise around its middle."""
    picture = Image.fromarray(sprite).rotate(-degrees, Image.Resampling.BILINEAR)
    return np.asarray(picture)


def scaled(sprite: Sprite, side: int) -> UInt8[np.ndarray, "t t 4"]:
    """The sprite at another size."""
    return np.asarray(Image.fromarray(sprite).resize((side, side), Image.Resampling.BILINEAR))


def put(canvas: Pixels, sprite: UInt8[np.ndarray, "s s 4"], *, x: int, y: int) -> None:
    """Lay a sprite over a canvas, its top left pixel at (x, y); it must lie within."""
    side = sprite.shape[0]
    under = canvas[y : y + side, x : x + side]
    alpha = sprite[..., 3:].astype(np.uint16)
    mixed = sprite[..., :3] * alpha + under * (255 - alpha)
    canvas[y : y + side, x : x + side] = (mixed // 255).astype(np.uint8)


def strokes_drawn(
    strokes: Sequence[Sequence[Sequence[float]]], *, points: int, extent: float, side: int
) -> UInt8[np.ndarray, "side side 3"]:
    """The first `points` points of pen strokes [[[x, y, ...], ...], ...], black on white.

    Coordinates go from 0 to `extent`. Drawn at twice the size and reduced, so lines are smooth.
    """
    page = Image.new("L", (2 * side, 2 * side), 255)
    pen = ImageDraw.Draw(page)
    scale = 2 * side / extent
    for stroke in strokes:
        line = [(point[0] * scale, point[1] * scale) for point in stroke[:points]]
        points -= len(line)
        if len(line) > 1:
            pen.line(line, fill=0, width=max(2, round(3 * scale)), joint="curve")
        elif line:
            (x, y), r = line[0], 1.5 * scale
            pen.ellipse((x - r, y - r, x + r, y + r), fill=0)
        if points <= 0:
            break
    return np.asarray(page.resize((side, side), Image.Resampling.BOX).convert("RGB"))
