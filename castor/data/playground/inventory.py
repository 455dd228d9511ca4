"""What three boxes hold, asked for directly: the steps from which claims about them follow.

A claim teaches at most one bit, and not before a model sees items, places them and counts; a
number or a colour says more, and each of these steps is learned from the one before it.
"""

import random
from collections.abc import Callable
from functools import partial

from castor.data.playground import boxes
from castor.data.playground.boxes import SIDES, World
from castor.data.playground.lesson import Lesson, Question, ask, said
from castor.data.playground.loose_claims import box_trait, items_of
from castor.data.playground.sentences import Trait, any_kind, stated
from castor.data.playground.tower_claims import blocks_of, tower_trait
from castor.data.source import Split

QUESTIONS = 6  # about one picture
KEPT = {"0": 0.2, "false": 0.3}  # share that stays of what most questions would be answered with
LEVELS = ("base", "second", "third", "fourth")
Asks = Callable[[random.Random, World], Question]


def lesson(dice: random.Random, split: Split) -> Lesson:
    """A picture and several questions about it, of which no two are the same."""
    imagine, asks = dice.choice(_FAMILIES)
    world = imagine(dice, split)
    questions: dict[str, Question] = {}
    while len(questions) < QUESTIONS:
        question = dice.choice(asks)(dice, world)
        if dice.random() < KEPT.get(said(question), 1.0):
            questions[question.asks[0]] = question
    return Lesson((boxes.picture(world),), tuple(questions.values()))


def _count(words: str, number: int) -> Question:
    return ask("count", f"How many {words}?", f"Count: how many {words}?", answer=number)


def _side(dice: random.Random, world: World) -> tuple[str, boxes.Box]:
    number = dice.randrange(len(SIDES))
    return SIDES[number], world[number]


def _level(dice: random.Random, world: World) -> Question:
    """The colour of one block of a tower."""
    side, tower = _side(dice, world)
    level = dice.randrange(len(tower))
    name = "top" if level == len(tower) - 1 and dice.random() < 0.5 else LEVELS[level]
    asks = (
        f"Which color is the {name} block of the {side} tower?",
        f"Name the color of the {side} tower's {name} block.",
    )
    return ask("color", *asks, answer=tower[level].colour)


def _in_one(dice: random.Random, world: World, *, noun: str, whole: str) -> Question:
    """How many items of a kind one box or tower holds."""
    side, box = _side(dice, world)
    kind = any_kind(dice, noun=noun)
    return _count(f"{kind.many} are in the {side} {whole}", kind.among(box))


def _in_all(dice: random.Random, world: World, *, noun: str) -> Question:
    kind = any_kind(dice, noun=noun)
    return _count(f"{kind.many} are there", sum(map(kind.among, world)))


def _with_trait(
    dice: random.Random, world: World, *, traits: Callable[[random.Random], Trait], many: str
) -> Question:
    trait = traits(dice)
    return _count(f"{many} have {trait.words}", sum(map(trait.of, world)))


def _stated(
    dice: random.Random, world: World, *, traits: Callable[[random.Random], Trait], whole: str
) -> Question:
    """A statement about one box or tower."""
    side, box = _side(dice, world)
    trait = traits(dice)
    return stated(f"The {side} {whole} has {trait.words}.", trait.of(box))


def _listed(dice: random.Random, world: World) -> Question:
    return items_of(*_side(dice, world))


def _read_out(dice: random.Random, world: World) -> Question:
    return blocks_of(*_side(dice, world))


_TOWER = (
    _level,
    _level,
    partial(_in_one, noun="block", whole="tower"),
    partial(_in_one, noun="block", whole="tower"),
    partial(_in_all, noun="block"),
    partial(_with_trait, traits=tower_trait, many="towers"),
    partial(_with_trait, traits=tower_trait, many="towers"),
    partial(_stated, traits=tower_trait, whole="tower"),
    partial(_stated, traits=tower_trait, whole="tower"),
    _read_out,
)
_LOOSE = (
    partial(_in_one, noun="", whole="box"),
    partial(_in_one, noun="", whole="box"),
    partial(_in_all, noun=""),
    partial(_with_trait, traits=box_trait, many="boxes"),
    partial(_with_trait, traits=box_trait, many="boxes"),
    partial(_stated, traits=box_trait, whole="box"),
    partial(_stated, traits=box_trait, whole="box"),
    _listed,
)
_FAMILIES: tuple[tuple[Callable[[random.Random, Split], World], tuple[Asks, ...]], ...] = (
    (boxes.loose, _LOOSE),
    (boxes.towers, _TOWER),
)
