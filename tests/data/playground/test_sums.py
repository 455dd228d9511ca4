"""Arithmetic and counting: every answer is worked out again from the words of the question."""

import random
import re
from functools import cache

import pytest

from castor.core.content import Text
from castor.data.playground import sums
from castor.data.playground.languages import TONGUES
from castor.data.playground.lesson import Question
from castor.data.source import Split


@cache
def questions(language: str, split: Split) -> list[Question]:
    lessons = [
        sums.lesson(random.Random(f"{split} {seed}"), split, language=language)
        for seed in range(900)
    ]
    assert all(len(lesson.questions) == 1 and not lesson.shown for lesson in lessons)
    return [lesson.questions[0] for lesson in lessons]


def asked(kind: str, *, language: str = "en", split: Split = "train") -> list[tuple[str, str]]:
    """Every wording of every question of that kind, and its answer."""
    found = []
    for question in questions(language, split):
        assert isinstance(question.answer[0], Text)
        if question.kind == kind:
            found += [(words, question.answer[0].text) for words in question.asks]
    assert len(found) >= 20
    return found


def numbers(words: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", words)]


WORK = {"plus": lambda a, b: a + b, "minus": lambda a, b: a - b, "times": lambda a, b: a * b}


@pytest.mark.parametrize("language", TONGUES)
@pytest.mark.parametrize("kind", WORK)
def test_results_are_right_in_every_language(kind: str, language: str) -> None:
    for words, answer in asked(kind, language=language):
        a, b = numbers(words)
        assert WORK[kind](a, b) == int(answer) >= 0


def test_stories_are_right() -> None:
    for words, answer in asked("story"):
        a, b = numbers(words)
        kind = "times" if "boxes" in words else "minus" if "gives away" in words else "plus"
        assert WORK[kind](a, b) == int(answer) >= 0


def test_comparisons_are_right() -> None:
    for words, answer in asked("compare"):
        a, b = numbers(words)
        if words.startswith("Which"):
            assert int(answer) == (max(a, b) if "bigger" in words else min(a, b))
        else:
            assert (answer == "yes") == (a > b if "bigger" in words else a < b)


def test_series_go_on() -> None:
    for words, answer in asked("next"):
        series = numbers(words)
        step = series[1] - series[0]
        assert [b - a for a, b in zip(series, series[1:], strict=False)] == [step] * 3
        assert int(answer) == series[-1] + step


def test_lists_are_counted() -> None:
    for words, answer in asked("list"):
        listed = re.findall(r"\w+", words.split(":")[1])
        sort = next((sort for sort in sums._SORTS if sort in words.split(":")[0]), None)
        kept = listed if sort is None else [w for w in listed if w in sums._SORTS[sort]]
        assert len(kept) == int(answer) and len(set(listed)) == len(listed)


def test_letters_are_counted() -> None:
    for words, answer in asked("letters"):
        (word,) = re.findall('"(.*)"', words)
        letter = re.findall(r"the letter (\w) ", words)
        assert int(answer) == (word.count(letter[0]) if letter else len(word))


def test_numbers_are_sorted() -> None:
    for words, answer in asked("sort"):
        assert numbers(answer) == sorted(numbers(words), reverse="large to small" in words)


def test_long_sums_are_right() -> None:
    for words, answer in asked("long sum"):
        assert sum(numbers(words)) == int(answer)


@pytest.mark.parametrize("language", [code for code in TONGUES if code != "en"])
def test_number_words_are_right(language: str) -> None:
    for words, answer in asked("word", language=language):
        assert TONGUES[language].numbers[numbers(words)[0]] == answer


def test_no_sum_is_asked_in_both_splits_in_whatever_words() -> None:
    def pairs(split: Split) -> set[str]:
        found = set()
        for kind in WORK:
            for language in ("en", "de"):
                for words, _ in asked(kind, language=language, split=split):
                    found.add(sums.key(kind, *numbers(words)))
        return found

    assert not pairs("train") & pairs("eval")


def test_the_order_of_terms_does_not_part_sums() -> None:
    assert sums.key("plus", 3, 4) == sums.key("plus", 4, 3)
    assert sums.key("times", 3, 4) == sums.key("times", 4, 3)
    assert sums.key("minus", 4, 3) == "4 minus 3"
