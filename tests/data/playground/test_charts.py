"""Charts: what can be measured in the pixels agrees with the answers."""

import random
import re
from collections import Counter

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.media import open_image
from castor.data.playground import charts, ink
from castor.data.playground.lesson import Lesson


def lessons(make, count: int = 150) -> list[tuple[np.ndarray, Lesson]]:
    found = []
    for seed in range(count):
        lesson = make(random.Random(seed))
        (medium,) = lesson.shown
        assert isinstance(medium, Media)
        found.append((open_image(medium.data, medium.mime), lesson))
    return found


def answers(lesson: Lesson) -> dict[str, tuple[str, str]]:
    """The first wording and the answer of each kind of question."""
    return {
        q.kind: (q.asks[0], q.answer[0].text)
        for q in lesson.questions
        if isinstance(q.answer[0], Text)
    }


def areas(picture: np.ndarray) -> dict[str, int]:
    """Pixels of each colour of the palette that has more than a few."""
    counts = {
        name: int((np.abs(picture.astype(int) - colour).max(-1) < 3).sum())
        for name, colour in ink.PALETTE.items()
    }
    return {name: count for name, count in counts.items() if count > 8}


def test_the_tallest_bar_has_the_largest_area() -> None:
    for picture, lesson in lessons(charts._bars):
        bars, asked = areas(picture), answers(lesson)
        if "most" in asked:
            assert asked["most"][1] == max(bars, key=lambda name: bars[name])
        if "least" in asked:
            assert asked["least"][1] == min(bars, key=lambda name: bars[name])


def test_bars_are_counted() -> None:
    for picture, lesson in lessons(charts._bars):
        if "bars" in answers(lesson):
            assert int(answers(lesson)["bars"][1]) == len(areas(picture))


def test_a_bar_is_as_high_as_its_value() -> None:
    for picture, lesson in lessons(charts._bars):
        bars, asked = areas(picture), answers(lesson)
        if "value" in asked and "difference" in asked:
            colour = re.findall(r"the (\w+) bar", asked["value"][0])[0]
            more, less = re.findall(r"the (\w+) bar", asked["difference"][0])
            unit = bars[colour] / int(asked["value"][1])
            assert (bars[more] - bars[less]) / unit == pytest.approx(int(asked["difference"][1]))


def test_comparisons_are_right() -> None:
    for picture, lesson in lessons(charts._bars):
        bars, asked = areas(picture), answers(lesson)
        if "compare" in asked:
            one, other = re.findall(r"the (\w+) bar", asked["compare"][0])
            assert (bars[one] > bars[other]) == (asked["compare"][1] == "yes")


@pytest.mark.parametrize("values", [(1, 9), (3, 5, 2), (9, 1, 4, 4), (2, 3, 4, 5, 9)])
@pytest.mark.parametrize("unit", [4, 5, 6])
def test_a_lying_chart_is_the_upright_one_turned(values: tuple[int, ...], unit: int) -> None:
    colours = ("red", "green", "blue", "pink", "black")[: len(values)]
    upright = ink.pixels(charts.upright(values, colours, unit=unit))
    lying = ink.pixels(charts.lying(values, colours, unit=unit))
    assert lying.shape[:2] == upright.shape[1::-1]
    assert (
        areas(lying)
        == areas(upright)
        == {colour: 10 * unit * value for colour, value in zip(colours, values, strict=True)}
    )


def test_charts_fit_into_64_cells() -> None:
    for make in (charts._bars, charts._pie, charts._line):
        for picture, _ in lessons(make, 60):
            height, width = picture.shape[:2]
            assert height % 8 == width % 8 == 0 and height * width <= 64 * 64


def test_slices_are_ranked_and_counted() -> None:
    for picture, lesson in lessons(charts._pie):
        slices, asked = areas(picture), answers(lesson)
        if "most" in asked:
            assert asked["most"][1] == max(slices, key=lambda name: slices[name])
        if "least" in asked:
            assert asked["least"][1] == min(slices, key=lambda name: slices[name])
        if "slices" in asked:
            assert int(asked["slices"][1]) == len(slices)
        if "half" in asked:
            colour = re.findall(r"the (\w+) slice", asked["half"][0])[0]
            assert (slices[colour] > sum(slices.values()) / 2) == (asked["half"][1] == "yes")


def test_the_line_goes_as_the_answer_says() -> None:
    courses = Counter()
    for picture, lesson in lessons(charts._line):
        asked = answers(lesson)
        colour = np.array(ink.PALETTE[asked["color"][1]])
        near = np.abs(picture.astype(int) - colour).max(-1) < 60
        columns = [np.flatnonzero(column).mean() for column in near.T if column.any()]
        third = max(2, len(columns) // 8)
        start, end = np.mean(columns[:third]), np.mean(columns[-third:])
        top, bottom = min(columns), max(columns)
        said = asked["course"][1]
        courses[said] += 1
        truth = {
            "It goes up.": end < start - 6,
            "It goes down.": end > start + 6,
            "It stays the same.": bottom - top < 6,
            "It goes up, then down.": top < min(start, end) - 3,
            "It goes down, then up.": bottom > max(start, end) + 3,
        }
        assert truth[said], said
    assert len(courses) == 5
