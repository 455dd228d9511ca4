"""Clips: what moves in the frames moves as the answer says."""

import random
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.media import RATE, open_video
from castor.data.playground import ink, motion
from castor.data.playground.motion import Film


def films(make: Callable[[random.Random], Film], count: int = 80) -> list[tuple[np.ndarray, Film]]:
    """The frames in whole numbers, and the film they are of."""
    made = [make(random.Random(seed)) for seed in range(count)]
    return [(np.stack([ink.pixels(frame) for frame in film.frames]), film) for film in made]


def answer(film: Film, kind: str) -> str | None:
    found = [
        q.answer[0].text for q in film.questions if q.kind == kind and isinstance(q.answer[0], Text)
    ]
    return found[0] if found else None


def asked(film: Film, kind: str) -> str:
    return next(q.asks[0] for q in film.questions if q.kind == kind)


def inked(frame: np.ndarray) -> np.ndarray:
    """Where the frame is not paper; the commonest colour is the paper."""
    colours, counts = np.unique(frame.reshape(-1, 3), axis=0, return_counts=True)
    return np.abs(frame.astype(int) - colours[counts.argmax()]).sum(-1) > 60


def of_colour(frame: np.ndarray, name: str) -> np.ndarray:
    return np.abs(frame.astype(int) - ink.PALETTE[name]).max(-1) < 12


def middle(where: np.ndarray) -> np.ndarray:
    return np.argwhere(where).mean(0)[::-1]


def test_things_move_as_said() -> None:
    seen = Counter()
    for frames, film in films(motion._direction):
        way = middle(inked(frames[-1])) - middle(inked(frames[0]))
        said = answer(film, "direction")
        seen[said] += 1
        across = abs(way[0]) > abs(way[1])
        moved = ("right" if way[0] > 0 else "left") if across else ("down" if way[1] > 0 else "up")
        assert said == ("It does not move." if np.abs(way).max() < 1.2 else moved)
    assert len(seen) == 5


def test_a_moving_thing_stays_in_the_picture() -> None:
    for frames, _ in films(motion._direction):
        sizes = [inked(frame).sum() for frame in frames]
        assert max(sizes) < 1.15 * min(sizes)


def test_colours_come_in_the_order_that_is_said() -> None:
    checked = 0
    for frames, film in films(motion._order):
        told = answer(film, "all")
        if told and "colors" in asked(film, "all"):
            for frame, colour in zip(frames, told.split(", "), strict=True):
                assert of_colour(frame, colour).sum() > 60
            checked += 1
    assert checked > 5


def test_first_last_and_after_agree_with_the_whole_order() -> None:
    for _, film in films(motion._order, 150):
        told = answer(film, "all")
        if told is None:
            continue
        names = told.split(", ")
        if (at := answer(film, "order")) is not None:
            assert at == names[0 if "first" in asked(film, "order") else -1]
        if (after := answer(film, "after")) is not None:
            before = re.findall(r"(\w+)\?", asked(film, "after"))[0]
            assert names.index(after) == names.index(before) + 1


def parts(where: np.ndarray) -> int:
    """How many connected parts there are that have at least 10 pixels."""
    left, sizes = where.copy(), []
    while left.any():
        before = left.sum()
        stack = [tuple(np.argwhere(left)[0])]
        while stack:
            y, x = stack.pop()
            if 0 <= y < left.shape[0] and 0 <= x < left.shape[1] and left[y, x]:
                left[y, x] = False
                stack += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        sizes.append(before - left.sum())
    return sum(size >= 10 for size in sizes)


def test_what_is_left_at_the_end_can_be_counted() -> None:
    for frames, film in films(motion._count, 50):
        said = answer(film, "count")
        if said is not None:
            assert parts(inked(frames[-1])) == int(said)
        more = answer(film, "more")
        if more is not None:
            assert (inked(frames[-1]).sum() > inked(frames[0]).sum()) == (more == "more")


def test_the_faster_one_goes_further() -> None:
    for frames, film in films(motion._speed):
        question = asked(film, "speed")
        colours = re.findall(r"the (\w+) one", question)
        ways = [
            np.abs(middle(of_colour(frames[2], c)) - middle(of_colour(frames[1], c))).max()
            for c in colours
        ]
        wins = colours[int(np.argmax(ways) if "faster" in question else np.argmin(ways))]
        assert answer(film, "speed") == wins and max(ways) >= 1.5 * min(ways)


def test_what_changes_changes_as_said() -> None:
    kinds = Counter()
    for frames, film in films(motion._change):
        (question,) = film.questions
        kinds[question.kind] += 1
        said = answer(film, question.kind)
        assert said is not None
        if question.kind == "growth":
            grew = inked(frames[-1]).sum() > 1.5 * inked(frames[0]).sum()
            assert said == ("bigger" if grew else "smaller")
        if question.kind == "new color":
            assert of_colour(frames[-1], said).sum() > 40 > of_colour(frames[0], said).sum()
        if question.kind == "new shape":
            assert not np.array_equal(inked(frames[0]), inked(frames[-1]))
    assert len(kinds) == 3


def test_the_sound_is_heard_in_the_second_of_its_shape() -> None:
    for _, film in films(motion._beep, 30):
        assert film.sound is not None and len(film.sound) == 3 * RATE and film.step == 1.0
        power = [(second**2).sum() for second in film.sound.reshape(3, RATE)]
        assert max(power) > 0.8 * sum(power) > 0


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_lesson_is_a_clip_of_three_to_six_small_frames(split) -> None:
    sounds = 0
    for seed in range(80):
        (medium,) = motion.lesson(random.Random(seed), split).shown
        assert isinstance(medium, Media)
        clip = open_video(medium.data, medium.mime)
        assert 3 <= len(clip.frames) <= 6 and clip.frames.shape[1:] == (32, 32, 3)
        assert clip.times[0] == 0 and (np.diff(clip.times) > 0).all()
        sounds += clip.sound is not None
    assert 1 <= sounds <= 20


def test_sprites_are_symmetric_and_rarely_the_same() -> None:
    sprites = [motion.sprite(random.Random(seed), scale=2) for seed in range(200)]
    assert all(np.array_equal(one, one[:, ::-1]) and one.shape == (14, 14) for one in sprites)
    assert len({one.tobytes() for one in sprites}) == 200
