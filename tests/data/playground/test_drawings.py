"""Sentences to draw, pictures to describe, and replies of text and pictures."""

import random

import pytest

from castor.core.content import Document, Media, Text
from castor.data.playground import drawings
from castor.data.playground.languages import TONGUES
from castor.data.playground.lesson import Lesson, Question, ask, roll, to_document, yes_no
from castor.data.playground.scenes import Group, allowed, gallery, one_group

SCENE = (Group("left", 2, "red", "circle"),)


def test_a_drawing_is_asked_for_in_words_and_answered_with_a_picture() -> None:
    lesson = drawings.draw_lesson(SCENE, language="en")
    (question,) = lesson.questions
    assert not lesson.shown and question.asks[0] == "Draw two red circles on the left."
    assert question.answer == (drawings.drawing(SCENE),)


def test_an_unasked_drawing_is_the_same_picture() -> None:
    lesson = drawings.draw_lesson(SCENE, language="en")
    (question,) = drawings.unasked(lesson).questions
    assert question.asks == ("",) and question.answer == lesson.questions[0].answer


@pytest.mark.parametrize("language", TONGUES)
def test_a_description_is_the_sentence_that_was_drawn(language: str) -> None:
    for seed in range(10):
        lesson = drawings.describe_lesson(random.Random(seed), "train", language=language)
        (question,) = lesson.questions
        (said,) = question.answer
        (shown,) = lesson.shown
        assert isinstance(said, Text) and isinstance(shown, Media)
        assert said.text[-1] in ".。" and said.text[0] == said.text[0].upper()


@pytest.mark.parametrize("split", ["train", "eval"])
def test_described_scenes_belong_to_the_split(split) -> None:
    known = {drawings.drawing(scene): scene for scene in one_group(split)}
    found = 0
    for seed in range(80):
        (shown,) = drawings.describe_lesson(random.Random(seed), split, language="en").shown
        assert isinstance(shown, Media)
        if shown in known:
            found += 1
            assert all(allowed(group, split) for group in known[shown])
    assert found > 8


def test_a_story_alternates_text_and_pictures() -> None:
    known = gallery("train", 200)
    pictures = {drawings.drawing(scene) for scene in known}
    for seed in range(20):
        lesson = drawings.story_lesson(random.Random(seed), known, language="en")
        parts = lesson.questions[0].answer
        assert len(parts) in (4, 6)
        assert all(isinstance(part, Text) for part in parts[::2])
        assert set(parts[1::2]) <= pictures


def test_a_story_asks_for_what_it_tells() -> None:
    lesson = drawings.story_lesson(random.Random(1), gallery("train", 200), language="en")
    (question,) = lesson.questions
    for part in question.answer[::2]:
        assert isinstance(part, Text)
        assert part.text[1:].rstrip(".") in question.asks[0]


def test_a_lesson_becomes_turns_and_what_is_shown_comes_first() -> None:
    shown = drawings.drawing(SCENE)
    lesson = Lesson(
        (shown,), (ask("count", "How many?", "Count.", answer=2), ask("x", "And?", answer="so"))
    )
    document = to_document(lesson, questions=2, wording=lambda count: count - 1, origin="here")
    expected = Document.of(shown, "Count.", origin="here").then("2")
    assert document.turns[:2] == expected.turns
    assert document.turns[2:] == Document.of("And?").then("so").turns
    assert document.tags == {"count", "x"}


def test_a_question_keeps_its_wordings() -> None:
    assert ask("sum", "a", "b", answer=3) == Question("sum", ("a", "b"), (Text("3"),))


def test_dice_depend_on_task_split_and_number() -> None:
    rolls = {
        roll(task, split, i).random()
        for task in "ab"
        for split in ("train", "eval")
        for i in (1, 2)
    }
    assert len(rolls) == 8
    assert roll("a", "train", 1).random() == roll("a", "train", 1).random()


def test_truth_in_words() -> None:
    assert (yes_no(True), yes_no(False)) == ("yes", "no")
