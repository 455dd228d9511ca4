"""True or false: sentences about what three boxes hold.

Many worlds are imagined. Each sentence splits those that are left into the worlds in which it is
true and those in which it is false, and a coin says which go on: no wording gives an answer away.
"""

import random

from castor.core.content import Media
from castor.core.media import ppm
from castor.data.playground import boxes, loose_claims, tower_claims
from castor.data.playground.boxes import SIDES, World
from castor.data.playground.lesson import Lesson, Question
from castor.data.playground.sentences import stated
from castor.data.source import Split

WORLDS = 256  # imagined for each picture
SPARSE = 16  # a sentence that fewer than one in so many worlds make true, or false, is not asked
SENTENCES = 4  # about one picture, while
ENOUGH = 8  # worlds are left


def lesson(dice: random.Random, split: Split) -> Lesson:
    """A picture, up to four sentences about it, and what one of its boxes holds.

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


_FAMILIES = (
    (boxes.loose, loose_claims.MAKERS, loose_claims.items_of),
    (boxes.towers, tower_claims.MAKERS, tower_claims.blocks_of),
)
