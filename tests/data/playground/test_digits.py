"""Printed things: they say what the answer says, and those for evaluation are kept apart."""

import random
from collections import Counter
from functools import cache

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.media import open_image
from castor.data.playground import digits
from castor.data.playground.lesson import belongs
from castor.data.source import Split


@cache
def made(split: Split, count: int = 400) -> list[tuple[str, str, np.ndarray]]:
    """Kind, answer and picture of each lesson."""
    found = []
    for seed in range(count):
        lesson = digits.lesson(random.Random(f"{split} {seed}"), split)
        (medium,), question = lesson.shown, lesson.questions[0]
        assert isinstance(medium, Media) and isinstance(question.answer[0], Text)
        picture = open_image(medium.data, medium.mime)
        found.append((question.kind, question.answer[0].text, picture))
    return found


def test_no_number_or_word_is_in_both_splits() -> None:
    train, evaluation = (
        {(kind, answer) for kind, answer, _ in made(split) if kind in ("number", "word")}
        for split in ("train", "eval")
    )
    assert train and evaluation and not train & evaluation


def test_about_one_word_in_eight_is_held_out() -> None:
    held = [word for word in digits.WORDS if digits.for_split(word, "eval")]
    assert len(digits.WORDS) == len(set(digits.WORDS)) > 200
    assert 0.08 < len(held) / len(digits.WORDS) < 0.18


def test_every_word_belongs_to_exactly_one_split() -> None:
    for word in digits.WORDS:
        assert digits.for_split(word, "train") != digits.for_split(word, "eval")


@pytest.mark.parametrize("split", ["train", "eval"])
def test_every_digit_and_letter_is_met_in_both_splits(split: Split) -> None:
    dice = random.Random(0)
    seen = {make(dice, split)[1] for make in (digits._digit, digits._letter) for _ in range(400)}
    assert len(seen) == 36


def test_all_kinds_are_met() -> None:
    kinds = Counter(kind for kind, *_ in made("train"))
    assert set(kinds) == {"number", "digit", "letter", "word", "sum"}
    assert min(kinds.values()) > 20


def test_pages_are_whole_cells_and_not_too_large() -> None:
    for _, answer, picture in made("train"):
        height, width = picture.shape[:2]
        assert height % 8 == width % 8 == 0
        assert height <= 48 and width <= 136, answer


def test_ink_stands_out_from_paper() -> None:
    for _, answer, picture in made("train"):
        paper = picture[0, 0].astype(float)
        assert np.abs(picture - paper).sum(-1).max() > 150, answer
        edge = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
        assert (edge == paper).all(), answer


def test_longer_text_is_wider() -> None:
    widths: dict[int, list[int]] = {}
    for kind, answer, picture in made("train"):
        if kind == "number":
            widths.setdefault(len(answer), []).append(picture.shape[1])
    means = [np.mean(widths[length]) for length in sorted(widths)]
    assert means == sorted(means)


def test_printed_sums_have_the_right_result() -> None:
    for seed in range(200):
        _, printed, answer, _ = digits._sum(random.Random(seed), "train")
        assert eval(printed) == int(answer) >= 0


@pytest.mark.parametrize("number", range(50))
def test_a_number_belongs_to_one_split(number: int) -> None:
    assert belongs(number, "train") != belongs(number, "eval")


def test_one_number_in_eight_is_for_evaluation() -> None:
    share = np.mean([belongs(number, "eval") for number in range(10_000)])
    assert share == pytest.approx(1 / 8, abs=0.01)
