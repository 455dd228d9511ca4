"""Which scenes there are, which are held out, and that their pictures are clear."""

import random
from itertools import combinations, pairwise

import numpy as np
import pytest

from castor.data.playground import ink
from castor.data.playground.scenes import (
    COLOURS,
    PLACES,
    SHAPES,
    SIDE,
    SIZES,
    Group,
    allowed,
    draw,
    for_eval,
    gallery,
    imagine,
    in_order,
    one_group,
    places,
)

EVERY = [
    Group(place, count, colour, shape)
    for count in SIZES
    for place in places(count)
    for colour in COLOURS
    for shape in SHAPES
]


def test_one_combination_in_eight_is_held_out() -> None:
    assert len(EVERY) == 960 and sum(map(for_eval, EVERY)) == 120


def test_no_training_scene_holds_a_held_out_combination() -> None:
    assert not any(for_eval(group) for scene in gallery("train", 3000) for group in scene)


def test_every_group_of_an_evaluation_scene_is_held_out() -> None:
    assert all(for_eval(group) for scene in gallery("eval", 500) for group in scene)


def test_every_two_properties_meet_in_training() -> None:
    def pairs(groups: list[Group]) -> set[tuple]:
        fields = [
            ((("p", g.place), ("n", g.count), ("c", g.colour), ("s", g.shape))) for g in groups
        ]
        return {pair for field in fields for pair in combinations(field, 2)}

    assert pairs([g for g in EVERY if allowed(g, "train")]) == pairs(EVERY)


def test_a_longer_gallery_begins_with_the_shorter() -> None:
    assert gallery("train", 400)[:150] == gallery("train", 150)


def test_every_fourth_scene_has_one_group_and_all_others_differ() -> None:
    scenes = gallery("train", 2000)
    assert all(len(scene) == 1 for scene in scenes[::4])
    others = [scene for i, scene in enumerate(scenes) if i % 4]
    assert len(set(others)) == len(others) and all(len(scene) > 1 for scene in others)


def test_the_gallery_shows_every_training_combination_of_one_group() -> None:
    assert set(one_group("train")) <= set(gallery("train", 12_000)[::4])


def test_scenes_are_ordered_and_have_at_most_four_different_groups() -> None:
    for seed in range(300):
        scene = imagine(random.Random(seed), "train")
        assert scene == in_order(reversed(scene)) and 2 <= len(scene) <= 4
        assert sum(group.count for group in scene) <= 4
        assert len({(group.colour, group.shape) for group in scene}) == len(scene)
        assert all(PLACES.index(a.place) < PLACES.index(b.place) for a, b in pairwise(scene))


def test_objects_lie_inside_the_picture_and_apart() -> None:
    for scene in (*one_group("train"), *gallery("train", 300)):
        objects = [(x, y, group.size) for group in scene for x, y in group.spots]
        for x, y, size in objects:
            assert size // 2 <= min(x, y) and max(x, y) <= SIDE - size // 2
        for (x, y, size), (u, v, other) in combinations(objects, 2):
            assert max(abs(x - u), abs(y - v)) >= (size + other) // 2 + 3


def test_single_and_paired_objects_stand_on_the_codec_grid() -> None:
    spots = [spot for group in EVERY if group.count != 3 for spot in group.spots]
    assert all(x % 8 == 0 and y % 8 == 0 for x, y in spots)


def test_a_picture_holds_paper_its_colours_and_nothing_else() -> None:
    picture = ink.pixels(draw((Group("left", 2, "red", "square"),)))
    solid = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    assert solid == {(255, 255, 255), ink.PALETTE["red"]}


def test_two_objects_on_the_left_leave_the_right_half_empty() -> None:
    picture = ink.pixels(draw((Group("left", 2, "green", "heart"),)))
    assert (picture[:, 32:] == 255).all() and (picture[:, :32] != 255).any()
    assert np.array_equal(picture[:32], picture[32:])


@pytest.mark.parametrize(("place", "count"), [("corners", 1), ("top left", 2), ("left", 4)])
def test_an_impossible_place_is_refused(place: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} objects cannot stand at '{place}'; they have"):
        Group(place, count, "red", "circle")
