"""True or false: sentences about what three boxes hold.

Many worlds are imagined. Each sentence splits those that are left into the worlds in which it is
true and those in which it is false, and a coin says which go on: no wording gives an answer away.
"""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial

from castor.core.content import Media
from castor.core.media import ppm
from castor.data.playground import boxes, tower_claims
from castor.data.playground.boxes import SIDES, Box, World
from castor.data.playground.lesson import Lesson, Question, ask
from castor.data.playground.sentences import (
    TOUCHING,
    Claim,
    Kind,
    Trait,
    an_amount,
    any_kind,
    grouped,
    one_side,
    stated,
)
from castor.data.source import Split

WORLDS = 96  # imagined for each picture
SPARSE = 16  # a sentence that fewer than one in so many worlds make true, or false, is not asked
SENTENCES = 2  # about one picture, while
ENOUGH = 8  # worlds are left


def lesson(dice: random.Random, split: Split) -> Lesson:
    """A picture, up to two sentences about it, and what one of its boxes holds.

    A claim teaches at most one bit, and 25,000 of them alone taught none; a list of what is there
    teaches to see every item.
    """
    imagine, makers, contents = dice.choice(_FAMILIES)
    worlds = [imagine(dice, split) for _ in range(WORLDS)]
    questions: list[Question] = []
    while not questions or (len(questions) < SENTENCES and len(worlds) >= ENOUGH):
        claim = dice.choice(makers)(dice)
        sides: dict[bool, list[World]] = {True: [], False: []}
        for world in filter(claim.fits, worlds):
            sides[claim.holds(world)].append(world)
        if min(map(len, sides.values())) * SPARSE < len(worlds):
            continue
        truth = dice.random() < 0.5
        worlds = sides[truth]
        questions.append(stated(claim.sentence, truth))
    picture = Media("image/x-portable-pixmap", ppm(boxes.draw(worlds[0])))
    number = dice.randrange(len(SIDES))
    return Lesson((picture,), (*questions, contents(SIDES[number], worlds[0][number])))


def items_of(side: str, box: Box) -> Question:
    """What a box holds, by kind."""
    kinds = Counter((item.colour, item.shape, item.size) for item in box)
    said = [
        " ".join(filter(None, (str(count), boxes.SIZES[size], colour, shape)))
        for (colour, shape, size), count in sorted(kinds.items())
    ]
    return ask("contents", f"What is in the {side} box?", answer=", ".join(said))


def _items(dice: random.Random) -> Claim:
    """How many items of a kind there are in all."""
    place = dice.choice(tuple(TOUCHING)) if dice.random() < 0.5 else ""
    kind, amount = any_kind(dice, place=place), an_amount(dice, most=4)
    if dice.random() < 0.12:
        return Claim(f"There is no {kind.one}.", lambda world: not kind.among(world))
    sentence = amount.there(kind.one, kind.many)
    return Claim(f"{sentence}.", lambda world: amount.allows(kind.among(world)))


def _all_items(dice: random.Random) -> Claim:
    """Where all the items of a kind are; there has to be one."""
    kind, place = any_kind(dice), dice.choice(tuple(TOUCHING))
    inside = kind._replace(place=place)
    return Claim(
        f"{dice.choice(('All the', 'All'))} {kind.many} are {place}.",
        lambda world: inside.among(world) == kind.among(world),
        fits=lambda world: kind.among(world) > 0,
    )


def _boxes(dice: random.Random) -> Claim:
    return grouped(dice, box_trait(dice), noun=dice.choice(("box", "grey box")))


def box_trait(dice: random.Random) -> Trait:
    """What a box of loose items may have."""
    return dice.choice((_box_count, _box_pair, _box_colours))(dice)


def _box_count(dice: random.Random) -> Trait:
    place = dice.choice(tuple(TOUCHING)) if dice.random() < 0.2 else ""
    kind, amount = any_kind(dice, place=place), an_amount(dice, most=3)
    words = amount.of(kind.one, kind.many)
    return Trait(words, lambda box: amount.allows(kind.among((box,))))


def _box_pair(dice: random.Random) -> Trait:
    kinds = [
        Kind(dice.choice(("item", "object")), colour, "", 0, "")
        for colour in dice.sample(tuple(boxes.COLOURS), 2)
    ]
    pairs = [(an_amount(dice, most=2), kind) for kind in kinds]
    return Trait(
        " and ".join(amount.of(kind.one, kind.many) for amount, kind in pairs),
        lambda box: all(amount.allows(kind.among((box,))) for amount, kind in pairs),
    )


def _box_colours(dice: random.Random) -> Trait:
    first, second = dice.sample(tuple(boxes.COLOURS), 2)
    options: list[tuple[str, Callable[[set[str]], bool]]] = [
        ("items of only one color", lambda colours: len(colours) == 1),
        ("items of all three colors", lambda colours: len(colours) == 3),
        ("items of exactly two different colors", lambda colours: len(colours) == 2),
        (f"only {first} items", lambda colours: colours == {first}),
        (f"only {first} and {second} items", lambda colours: colours == {first, second}),
    ]
    words, of = dice.choice(options)
    return Trait(words, lambda box: of({item.colour for item in box}))


_LOOSE = (partial(one_side, whole="box", part="item"), _items, _all_items, _boxes, _boxes)
_FAMILIES = (
    (boxes.loose, _LOOSE, items_of),
    (boxes.towers, tower_claims.MAKERS, tower_claims.blocks_of),
)
