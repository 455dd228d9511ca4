"""Drawing primitives: a palette, shape masks with smooth edges, and printed text, as NumPy arrays.

Masks are made once per kind and size, at four times the resolution, and cached; a drawn shape
costs a few microseconds.
"""

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from castor.core.content import Media
from castor.core.media import ppm

Colour = tuple[int, int, int]
Canvas = Float32[np.ndarray, "h w 3"]

PALETTE: dict[str, Colour] = {
    "red": (222, 40, 44),
    "orange": (247, 138, 30),
    "yellow": (250, 212, 38),
    "green": (46, 160, 67),
    "teal": (20, 168, 172),
    "blue": (38, 84, 222),
    "purple": (134, 58, 182),
    "pink": (246, 142, 190),
    "brown": (128, 78, 40),
    "gray": (136, 138, 142),
    "black": (28, 28, 32),
}
PAPERS: tuple[Colour, ...] = (
    (255, 255, 255),
    (255, 255, 255),
    (252, 247, 232),
    (234, 242, 252),
    (238, 248, 236),
    (244, 240, 250),
)

_SMOOTH = 4  # samples along each side of a pixel: 2 left visible steps on stars, 8 showed no gain
Grid = Float[np.ndarray, "n n"]


def _polygon(x: Grid, y: Grid, corners: list[tuple[float, float]]) -> Bool[np.ndarray, "n n"]:
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        if ay != by:
            crosses = (ay > y) != (by > y)
            inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return inside


def _star(x: Grid, y: Grid) -> Bool[np.ndarray, "n n"]:
    turns = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 0.47, 1.06)
    points = zip(radii * np.sin(turns), 0.08 - radii * np.cos(turns), strict=True)
    return _polygon(x, y, [(float(px), float(py)) for px, py in points])


def _heart(x: Grid, y: Grid) -> Bool[np.ndarray, "n n"]:
    u, v = 1.14 * x, 0.12 - 1.13 * y
    return (u * u + v * v - 1) ** 3 - u * u * v**3 <= 0


_INSIDE: dict[str, Callable[[Grid, Grid], Bool[np.ndarray, "n n"]]] = {
    "circle": lambda x, y: x * x + y * y <= 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) <= 11 / 12,
    "triangle": lambda x, y: (abs(x) <= (y + 0.98) * 0.53) & (y <= 0.88),
    "star": _star,
    "heart": _heart,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) <= 1 / 3) & (abs(x) <= 1) & (abs(y) <= 1),
    "diamond": lambda x, y: abs(x) / 0.78 + abs(y) <= 1,
    "ring": lambda x, y: (x * x + y * y <= 1) & (x * x + y * y >= 0.3),
    "rectangle": lambda x, y: (abs(x) <= 1) & (abs(y) <= 0.56),
    "moon": lambda x, y: (x * x + y * y <= 1) & ((x - 0.5) ** 2 + (y + 0.25) ** 2 >= 0.62),
}
SHAPES = tuple(_INSIDE)


@cache
def mask(shape: str, size: int) -> Float32[np.ndarray, "size size"]:
    """How much of each pixel of a size x size box the shape covers, 0 to 1. Do not write to it."""
    steps = (np.arange(size * _SMOOTH) + 0.5) * (2 / (size * _SMOOTH)) - 1
    x, y = np.meshgrid(steps, steps)
    fine = _INSIDE[shape](x, y).reshape(size, _SMOOTH, size, _SMOOTH)
    cover = fine.mean((1, 3), dtype=np.float32)
    cover.flags.writeable = False
    return cover


def blank(width: int, height: int, *, paper: Colour) -> Canvas:
    """An empty canvas of one colour; values are 0 to 255."""
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = paper
    return canvas


def stamp(
    canvas: Canvas, cover: Float32[np.ndarray, "a b"], *, colour: Colour, x: int, y: int
) -> None:
    """Paint `cover` in one colour with its top left pixel at (x, y); what falls outside is cut."""
    height, width = canvas.shape[:2]
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + cover.shape[0], height), min(x + cover.shape[1], width)
    if top >= bottom or left >= right:
        return
    part = cover[top - y : bottom - y, left - x : right - x, None]
    under = canvas[top:bottom, left:right]
    under += part * (np.array(colour, np.float32) - under)


def paint(canvas: Canvas, shape: str, *, colour: Colour, x: int, y: int, size: int) -> None:
    """Paint a shape in a size x size box whose middle is the corner between pixels at (x, y)."""
    stamp(canvas, mask(shape, size), colour=colour, x=x - size // 2, y=y - size // 2)


def box(canvas: Canvas, *, colour: Colour, left: int, top: int, width: int, height: int) -> None:
    """Fill a rectangle of whole pixels."""
    canvas[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = colour


def pixels(canvas: Canvas) -> UInt8[np.ndarray, "h w 3"]:
    """The canvas in whole steps, 0 to 255."""
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def picture(canvas: Canvas) -> Media:
    """The canvas as it stands in a document: PPM, which is read and written in microseconds."""
    return Media("image/x-portable-pixmap", ppm(pixels(canvas)))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default_imagefont() if size == 0 else ImageFont.load_default(size)


@lru_cache(4096)
def printed(text: str, size: int) -> Float32[np.ndarray, "h w"]:
    """Printed text, cut to its ink, 0 to 1. Size 0 is Pillow's bitmap font; others are pixels."""
    left, top, right, bottom = _font(size).getbbox(text)
    page = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(page).text((4 - left, 4 - top), text, fill=255, font=_font(size))
    cover = np.asarray(page, np.float32) / 255
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    cover = cover[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    cover.flags.writeable = False
    return cover
