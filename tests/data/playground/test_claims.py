"""Sentences about boxes: true when they should be, and no wording that gives the answer away."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.media import open_image
from castor.data.playground import boxes, claims, loose_claims, sentences, tower_claims
from castor.data.playground.boxes import SIDE, Item, World
from castor.data.playground.lesson import Question, said

GREY, LIGHT = 128, 211
Maker = Callable[[random.Random], sentences.Claim]


def tower(*colours: str) -> tuple[Item, ...]:
    return tuple(Item(c, "square", 40, 80 - 21 * level, 20) for level, c in enumerate(colours))


TOWERS: World = (tower("black", "blue"), tower("yellow"), tower("black", "yellow", "yellow"))
LOOSE: World = (
    (Item("yellow", "circle", 0, 30, 20), Item("black", "square", 40, 40, 30)),
    (Item("blue", "triangle", 50, 80, 20),),
    (Item("black", "circle", 20, 20, 10), Item("black", "square", 60, 60, 20)),
)


@cache
def sayings(*makers: Maker) -> tuple[Iterator[sentences.Claim], dict[str, sentences.Claim]]:
    """Many sentences of these makers, and what was heard of them so far, by its words."""
    dice = random.Random(0)
    return (make(dice) for _ in range(20_000) for make in makers), {}


@cache
def traits(make: Callable[[random.Random], sentences.Trait]) -> dict[str, sentences.Trait]:
    """Many traits, by their words."""
    dice = random.Random(0)
    return {trait.words: trait for trait in (make(dice) for _ in range(60_000))}


@cache
def claimed(seed: int) -> list[Question]:
    """Bare claims about one world."""
    about = claims.imagined(random.Random(seed), "train")
    return [about.plain(claim) for claim in about.claims]


def truth(sentence: str, world: World, *makers: Maker) -> bool:
    said, heard = sayings(*makers)
    while sentence not in heard:
        claim = next(said)
        heard.setdefault(claim.sentence, claim)
    return heard[sentence].holds(world)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("There is a tower with a yellow block at the top.", True),
        ("There is no tower with a black block at the top.", True),
        ("There is exactly one tower with a black block at the base.", False),
        ("There are exactly two towers with a black block at the base.", True),
        ("There is a tower with exactly three blocks.", True),
        ("There is a tower with exactly four blocks.", False),
        ("There is a tower with a blue block on a black block.", True),
        ("There is a tower with a black block on a blue block.", False),
        ("There is a tower with a yellow block on a yellow block.", True),
        ("There is a tower with only yellow blocks.", True),
        ("All the towers have different heights.", True),
        ("All the towers have the same height.", False),
        ("There are exactly three yellow blocks.", True),
        ("There are at least three black blocks.", False),
        ("There is one tower with a black block at the base.", False),
        ("There are two towers that have a black block at the bottom.", True),
        ("There is a tower having a yellow block above a black block.", True),
        ("There is a tower with blocks of all three colors.", False),
        ("There is a black block as the base of a tower with exactly two blocks.", True),
        ("There are two black blocks as the base of a tower with exactly two blocks.", False),
        ("The tower with three blocks has a yellow block at the top.", True),
        ("The tower with one block has a black block at the base.", False),
        ("There is a yellow tower.", True),
        ("There is a yellow tower with at least two blocks.", False),
        ("The left tower has a blue block.", True),
        ("The middle tower has a blue block.", False),
    ],
)
def test_sentences_about_towers(sentence: str, expected: bool) -> None:
    assert truth(sentence, TOWERS, *tower_claims.MAKERS) == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("There is a yellow circle.", True),
        ("There is a black circle touching the wall.", False),
        ("There are exactly two black squares.", True),
        ("There are at least two black objects.", True),
        ("All the black items are not touching any edge.", True),
        ("All the circles are touching the wall.", False),
        ("There is no blue square.", True),
        ("None of the black items are touching the wall.", True),
        ("None of the circles are touching an edge.", False),
        ("There is no item touching an edge.", False),
        ("All squares are in the same box.", False),
        ("All circles are in the same box.", False),
        ("All triangles are in the same box.", True),
    ],
)
def test_sentences_about_loose_items(sentence: str, expected: bool) -> None:
    assert truth(sentence, LOOSE, *loose_claims.MAKERS) == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("There is no box with a square.", False),
        ("Each box has a square.", False),
        ("Every box contains a square.", False),
        ("There is a box having a square.", True),
        ("There is one box that has a square.", False),
        ("There are 2 boxes with a square.", True),
        ("There are at least two boxes that have a square.", True),
        ("One of the boxes has a square.", False),
        ("Two of the boxes contain a square.", True),
    ],
)
def test_how_many_boxes_have_a_trait(sentence: str, expected: bool) -> None:
    square = sentences.Trait("a square", lambda box: any(item.shape == "square" for item in box))
    dice = random.Random(0)
    said = (sentences.grouped(dice, square, noun="box") for _ in range(3_000))
    assert next(claim for claim in said if claim.sentence == sentence).holds(LOOSE) == expected


@pytest.mark.parametrize(
    ("words", "true_in"),
    [
        ("items of only one color", {1, 2}),
        ("items of exactly two different colors", {0}),
        ("items of all three colors", set()),
        ("only black items", {2}),
        ("only blue items", {1}),
        ("only yellow and black items", {0}),
        ("two items of only one color", {2}),
        ("2 items of only black and yellow color", {0}),
        ("three items of only one color", set()),
        ("at least two items", {0, 2}),
        ("one item and a triangle", {1}),
        ("two items and a yellow circle", {0}),
        ("a yellow circle and a black square", {0}),
        ("a black square and a black circle", None),
        ("a black item and no yellow item", {2}),
        ("a blue item and a black item", set()),
        ("one yellow item and one black item", {0}),
        ("a yellow item on top", {0}),
        ("a square on top", set()),
        ("two items and a circle on top", {0, 2}),
        ("an item", None),
    ],
)
def test_traits_of_a_box(words: str, true_in: set[int] | None) -> None:
    """None: nobody says so."""
    trait = traits(loose_claims.box_trait).get(words)
    assert (trait and {i for i, box in enumerate(LOOSE) if trait.of(box)}) == true_in


@pytest.mark.parametrize(
    ("words", "true_in"),
    [
        ("a black block and exactly two yellow blocks", {2}),
        ("1 black block at the base", {0, 2}),
        ("one yellow block over a black block", {2}),
        ("blocks of all three colors", set()),
    ],
)
def test_traits_of_a_tower(words: str, true_in: set[int]) -> None:
    trait = traits(tower_claims.tower_trait)[words]
    assert {i for i, box in enumerate(TOWERS) if trait.of(box)} == true_in


@pytest.mark.parametrize(
    ("item", "walls"),
    [
        (Item("blue", "circle", 0, 0, 10), {"left", "top"}),
        (Item("blue", "circle", 80, 30, 20), {"right"}),
        (Item("blue", "circle", 35, 70, 30), {"bottom"}),
        (Item("blue", "circle", 3, 3, 30), set()),
    ],
)
def test_walls_are_touched_without_a_gap(item: Item, walls: set[str]) -> None:
    assert item.walls == walls


@pytest.mark.slow
def test_true_and_false_are_equally_common() -> None:
    answers = Counter()
    for seed in range(400):
        for place, question in enumerate(claimed(seed)):
            assert isinstance(question.answer[0], Text)
            answers[place, question.answer[0].text] += 1
    assert len(answers) == 2 * claims.SENTENCES
    for place in range(claims.SENTENCES):
        true, false = answers[place, "true"], answers[place, "false"]
        assert 0.4 < true / (true + false) < 0.6
    assert sum(answers.values()) > 1.8 * 400


def test_a_picture_is_told_before_its_first_sentence_is_judged() -> None:
    for seed in range(40):
        about = claims.imagined(random.Random(seed), "train")
        (medium,), (first, *others) = claims.lesson(random.Random(seed), "train")
        assert medium == boxes.picture(about.world)
        assert said(first).startswith(about.tell())
        assert first.asks[0].endswith(" True or false? Look first.")
        assert {question.kind for question in others} <= {"claim", "reasoned"}
        for claim, question in zip(about.claims, (first, *others), strict=True):
            assert claim.fits(about.world)
            assert question.asks[0].startswith(claim.sentence)
            truth = str(claim.holds(about.world)).lower()
            assert said(question).strip(".").rsplit(" ", 1)[-1] == truth


def test_what_is_counted_is_said_before_the_verdict() -> None:
    claim = loose_claims.MAKERS[0](random.Random(0))
    about = claims.Stated(LOOSE, [claim], loose_claims.told)
    assert claim.sentence == "The middle box has a black item."
    assert claim.counts(LOOSE) == (1, 0, 1)
    assert said(about.reasoned(claim)) == "Left 1, middle 0, right 1: 2 in all. So false."


def test_in_words_alone_the_same_is_told_and_asked() -> None:
    about = claims.imagined(random.Random(1), "train")
    (told,), questions = claims.told_lesson(random.Random(1), "train")
    assert told == Text(f"{about.tell()} ")
    assert questions == tuple(map(about.reasoned, about.claims))


@pytest.mark.slow
def test_a_word_in_the_sentence_does_not_tell_the_answer() -> None:
    counts: dict[str, list[int]] = {}
    for question in (question for seed in range(900) for question in claimed(seed)):
        assert isinstance(question.answer[0], Text)
        for word in set(re.findall(r"\w+", question.asks[1])):
            counts.setdefault(word, [0, 0])[question.answer[0].text == "true"] += 1
    for word, (false, true) in counts.items():
        if false + true >= 120:
            assert 0.35 < true / (false + true) < 0.65, word


def test_all_that_is_there_is_told() -> None:
    assert claims.Stated(TOWERS, [], tower_claims.told).tell() == (
        "Left: black, blue. Middle: yellow. Right: black, yellow, yellow."
    )
    assert claims.Stated(LOOSE, [], loose_claims.told).tell() == (
        "Left: yellow circle left, big black square. Middle: blue triangle bottom. "
        "Right: small black circle, black square."
    )
    ask, answer = loose_claims.items_of("left", LOOSE[2])[1:]
    assert ask[0] == "What is in the left box?"
    assert answer == (Text("1 small black circle, 1 black square"),)
    ask, answer = tower_claims.blocks_of("right", TOWERS[2])[1:]
    assert ask[0] == "Name the blocks of the right tower from the base up."
    assert answer == (Text("black, yellow, yellow"),)


def test_the_picture_looks_like_nlvr() -> None:
    picture = boxes.draw(LOOSE)
    assert picture.shape == (100, 400, 3)
    assert (picture[:, 100:150] == GREY).all() and (picture[:, 250:300] == GREY).all()
    assert (picture[99, 0] == LIGHT).all()
    assert picture[40, 10].tolist() == [255, 255, 0]  # the yellow circle's middle
    assert picture[95, 210].tolist() == [0, 153, 255]  # the blue triangle, above its base
    assert (picture[81, 201] == LIGHT).all()  # beside its tip


def test_a_lesson_shows_a_picture_of_that_kind() -> None:
    (medium,) = claims.lesson(random.Random(3), "eval").shown
    assert isinstance(medium, Media)
    assert open_image(medium.data, medium.mime).shape == (100, 400, 3)


@pytest.mark.parametrize("imagine", [boxes.loose, boxes.towers])
def test_items_lie_in_their_box_and_do_not_overlap(imagine) -> None:
    for seed in range(200):
        for box in imagine(random.Random(seed), "train"):
            ground = np.zeros((SIDE, SIDE), int)
            for item in box:
                assert min(item.x, item.y) >= 0 and max(item.x, item.y) + item.size <= SIDE
                ground[item.y : item.y + item.size, item.x : item.x + item.size] += 1
            assert box and ground.max() == 1


def test_no_world_of_towers_is_in_both_splits() -> None:
    def worlds(split) -> set[tuple]:
        return {
            tuple(tuple(item.colour for item in box) for box in boxes.towers(dice, split))
            for dice in map(random.Random, range(3000))
        }

    assert not worlds("train") & worlds("eval")
