"""Reads colour, shape, place and count out of a drawn picture by plain image processing.

No model is involved, so it can mark one. It is made for flat shapes on a plain, light background,
as `scenes.draw` makes them, and it tolerates the blur, the ringing and the shifted colours of a
picture codec. It does not guard against a picture made to fool it.
"""

from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from castor.data.playground import ink
from castor.data.playground.scenes import COLOURS, SHAPES, Group, Scene

_THRESHOLD = 60.0  # RGB distance from the background; a codec's mottling stays below 35
_SMALLEST = 30  # pixels of a shape; the smallest that is drawn has 130
_GRID = 25  # samples along each side of a shape that is compared
_NEAR = 10.0  # pixels that a middle may be off; the places of one layout are 16 or more apart
Picture = UInt8[np.ndarray, "h w 3"]
Run = tuple[int, int, int]  # row, first column, column after the last


class Found(NamedTuple):
    """One object that is in a picture: `x` and `y` are its middle in pixels."""

    colour: str
    shape: str
    x: float
    y: float
    pixels: float  # its area


class Marks(NamedTuple):
    """Attributes that are as asked, and attributes that were asked."""

    right: int
    asked: int


def read(picture: Picture) -> tuple[Found, ...]:
    """Every object in the picture, largest first."""
    values = picture.astype(np.float32)
    paper = _background(values)
    difference = np.sqrt(((values - paper) ** 2).sum(-1))
    found = []
    for region in _objects(_smoothed(difference)):
        core = _core_colour(values, difference, region)
        cover = _cover(values, paper=paper, core=core) * _grown(region)
        x, y, spread = _moments(cover)
        shape = _nearest_shape(_normalised(cover, x=x, y=y, spread=spread))
        found.append(Found(_nearest_colour(core), shape, x, y, float(cover.sum())))
    return tuple(sorted(found, key=lambda thing: -thing.pixels))


def score_drawing(scene: Scene, picture: Picture) -> Marks:
    """How many of the scene's attributes the picture has: four for each group.

    Each object found belongs to the group whose nearest spot is nearest to it. Of a group's
    objects the count must be exact (an object too many makes it wrong), all must have the colour,
    all the shape, and all must stand on the group's spots, one on each. A group with no object has
    nothing right.
    """
    owned: dict[Group, list[Found]] = {group: [] for group in scene}
    for thing in read(picture):
        owned[min(scene, key=lambda group: _nearest_spot(thing, group)[0])].append(thing)
    right = sum(sum(_group_marks(group, things)) for group, things in owned.items())
    return Marks(right, 4 * len(scene))


def _group_marks(group: Group, things: list[Found]) -> tuple[bool, ...]:
    if not things:
        return (False,) * 4
    nearest = [_nearest_spot(thing, group) for thing in things]
    taken = [spot for distance, spot in nearest if distance <= _NEAR]
    return (
        len(things) == group.count,
        all(thing.colour == group.colour for thing in things),
        all(thing.shape == group.shape for thing in things),
        len(taken) == len(things) and len(set(taken)) == min(len(things), group.count),
    )


def _nearest_spot(thing: Found, group: Group) -> tuple[float, tuple[int, int]]:
    return min((float(np.hypot(thing.x - x, thing.y - y)), (x, y)) for x, y in group.spots)


def _background(values: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "3"]:
    """The commonest colour along the edge, as the median of its 16-step bucket."""
    edge = np.concatenate([values[:2].reshape(-1, 3), values[-2:].reshape(-1, 3)])
    sides = [values[:, :2].reshape(-1, 3), values[:, -2:].reshape(-1, 3)]
    edge = np.concatenate([edge, *sides])
    buckets = (edge // 32) @ np.array([64, 8, 1], np.float32)
    names, counts = np.unique(buckets, return_counts=True)
    return np.median(edge[buckets == names[counts.argmax()]], axis=0)


def _smoothed(plane: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """A 1-2-1 blur both ways: single noisy pixels do not make or join objects."""
    wide = np.pad(plane, 1, mode="edge")
    rows = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4


def _grown(region: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The region with two more pixels around it, so that soft edges count in part."""
    wide = np.pad(region, 2)
    height, width = region.shape
    near = [wide[dy : dy + height, dx : dx + width] for dy in range(5) for dx in range(5)]
    return np.any(near, axis=0)


def _regions(inside: Bool[np.ndarray, "h w"]) -> list[Bool[np.ndarray, "h w"]]:
    """The connected parts (by edges) that are large enough to be a shape."""
    steps = np.diff(np.pad(inside, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    runs = list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
    regions = []
    for members in _joined(runs):
        region = np.zeros_like(inside)
        for row, start, end in members:
            region[row, start:end] = True
        if region.sum() >= _SMALLEST:
            regions.append(region)
    return regions


def _joined(runs: list[Run]) -> list[list[Run]]:
    """Runs of pixels, from top to bottom, gathered with those that they touch above or below."""
    parts: list[list[Run]] = []
    for run in runs:
        row, start, end = run
        touching = [
            part
            for part in parts
            if any(r == row - 1 and s < end and start < e for r, s, e in reversed(part))
        ]
        apart = [part for part in parts if all(part is not other for other in touching)]
        parts = [*apart, [*chain.from_iterable(touching), run]]
    return parts


def _objects(difference: Float32[np.ndarray, "h w"]) -> list[Bool[np.ndarray, "h w"]]:
    """The regions, each parted where it is less than half as strong as inside.

    Blur makes bridges between neighbours; the second, relative threshold cuts them.
    """
    objects = []
    for region in _regions(difference > _THRESHOLD):
        strong = np.median(difference[region]) * 0.55
        objects += _regions(region & (difference > max(strong, _THRESHOLD)))
    return objects


def _core_colour(
    values: Float32[np.ndarray, "h w 3"],
    difference: Float32[np.ndarray, "h w"],
    region: Bool[np.ndarray, "h w"],
) -> Float32[np.ndarray, "3"]:
    """The colour of the half of the region that differs most from the paper: not of its edge."""
    limit = np.median(difference[region])
    return np.median(values[region & (difference >= limit)], axis=0)


def _cover(
    values: Float32[np.ndarray, "h w 3"],
    *,
    paper: Float32[np.ndarray, "3"],
    core: Float32[np.ndarray, "3"],
) -> Float32[np.ndarray, "h w"]:
    """How far each pixel is on the way from the paper's colour to the core's, 0 to 1."""
    way = core - paper
    return np.clip((values - paper) @ way / (way @ way), 0, 1)


def _moments(cover: Float32[np.ndarray, "h w"]) -> tuple[float, float, float]:
    """The middle (x, y) and the root mean square distance from it, in pixels."""
    y, x = np.indices(cover.shape) + 0.5
    total = cover.sum()
    middle_x, middle_y = float((cover * x).sum() / total), float((cover * y).sum() / total)
    square = (cover * ((x - middle_x) ** 2 + (y - middle_y) ** 2)).sum() / total
    return middle_x, middle_y, float(np.sqrt(square))


def _normalised(
    cover: Float32[np.ndarray, "h w"], *, x: float, y: float, spread: float
) -> Float[np.ndarray, "g g"]:
    """The shape sampled around its middle at a scale given by its spread, as a unit vector."""
    steps = np.linspace(-2.3, 2.3, _GRID) * spread - 0.5
    padded = np.pad(cover, 1)
    across = np.clip(x + steps + 1, 0, padded.shape[1] - 1.001)
    down = np.clip(y + steps + 1, 0, padded.shape[0] - 1.001)
    left, top = across.astype(int), down.astype(int)
    part_x, part_y = across - left, (down - top)[:, None]
    rows = padded[top][:, left] * (1 - part_x) + padded[top][:, left + 1] * part_x
    below = padded[top + 1][:, left] * (1 - part_x) + padded[top + 1][:, left + 1] * part_x
    sampled = rows * (1 - part_y) + below * part_y
    sampled = sampled - sampled.mean()
    return sampled / np.linalg.norm(sampled)


@cache
def _templates() -> tuple[tuple[str, ...], Float[np.ndarray, "n g g"]]:
    """Every shape at two sizes, sharp and blurred, through the same normalisation."""
    names, planes = [], []
    for shape in SHAPES:
        for size in (16, 24):
            plane = np.pad(ink.mask(shape, size), 8)
            for _ in range(4):
                x, y, spread = _moments(plane)
                planes.append(_normalised(plane, x=x, y=y, spread=spread))
                names.append(shape)
                plane = _smoothed(_smoothed(plane))
    return tuple(names), np.stack(planes)


def _nearest_shape(sampled: Float[np.ndarray, "g g"]) -> str:
    names, planes = _templates()
    return names[int((planes * sampled).sum((1, 2)).argmax())]


def _nearest_colour(core: Float32[np.ndarray, "3"]) -> str:
    """The palette's colour with the nearest hue, saturation counting for the rest."""
    palette = np.array([ink.PALETTE[name] for name in COLOURS], np.float32)
    distance = ((_lab(palette) - _lab(core[None])) ** 2 * (0.5, 1, 1)).sum(-1)
    return COLOURS[int(distance.argmin())]


def _lab(colours: Float32[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """CIE L*a*b* of sRGB values from 0 to 255: equal steps look equally different."""
    linear = np.where(
        colours <= 10.31475, colours / 3294.6, ((colours / 255 + 0.055) / 1.055) ** 2.4
    )
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = linear @ np.array(to_xyz).T / (0.9505, 1.0, 1.089)
    curved = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = curved.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
