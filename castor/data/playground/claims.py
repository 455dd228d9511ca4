"""True or false: sentences about what three boxes hold.

Many worlds are imagined. Each sentence splits those that are left into the worlds in which it is
true and those in which it is false, and a coin says which go on: no wording gives an answer away.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from castor.core.content import Text
from castor.data.playground import boxes, loose_claims, tower_claims
from castor.data.playground.boxes import SIDES, Box, World
from castor.data.playground.lesson import Lesson, Question, ask, said
from castor.data.playground.sentences import Claim, stated
from castor.data.source import Split

WORLDS = 256  # imagined for each picture
SPARSE = 16  # a sentence that fewer than one in so many worlds make true, or false, is not asked
SENTENCES = 4  # about one picture, while
ENOUGH = 8  # worlds are left
LOOK = "Look first."  # asks for what there is before the answer


class Stated(NamedTuple):
    """A world, claims about it, and what tells all of one of its boxes."""

    world: World
    claims: list[Claim]
    told: Callable[[Box], str]

    def tell(self) -> str:
        """All that there is."""
        sides = zip(SIDES, map(self.told, self.world), strict=True)
        return " ".join(f"{side.capitalize()}: {words}." for side, words in sides)

    def plain(self, claim: Claim) -> Question:
        return stated(claim.sentence, claim.holds(self.world))

    def reasoned(self, claim: Claim, *, seen: str = "") -> Question:
        """A claim that is judged by what is counted in each box, after telling what is seen."""
        counts = tuple(map(int, claim.counts(self.world)))
        each = ", ".join(f"{side} {n}" for side, n in zip(SIDES, counts, strict=True))
        question = self.plain(claim)
        asks = (f"{words} {LOOK}" for words in question.asks)
        answer = f"{seen}{each.capitalize()}: {sum(counts)} in all. So {said(question)}."
        return ask("reasoned", *asks, answer=answer)


def lesson(dice: random.Random, split: Split) -> Lesson:
    """A picture and up to four sentences; the first is judged after telling what is seen.

    A bare verdict teaches at most one bit, and 25,000 of them alone taught none; a list of what is
    there teaches to see every item, and counts teach what a sentence means.

    Paper: Wei et al. 2022, "Chain-of-Thought Prompting Elicits Reasoning in Large Language Models".
    """
    about = imagined(dice, split)
    first, *others = about.claims
    looked = about.reasoned(first, seen=f"{about.tell()} ")
    judged = (dice.choice((about.plain, about.reasoned))(claim) for claim in others)
    return Lesson((boxes.picture(about.world),), (looked, *judged))


def told_lesson(dice: random.Random, split: Split) -> Lesson:
    """The same in words alone: what there is, and sentences that are judged step by step."""
    about = imagined(dice, split)
    return Lesson((Text(f"{about.tell()} "),), tuple(map(about.reasoned, about.claims)))


def imagined(dice: random.Random, split: Split) -> Stated:
    """Claims that are all true or false as a coin fell, and a world in which they are."""
    imagine, makers, told = dice.choice(_FAMILIES)
    worlds = [imagine(dice, split) for _ in range(WORLDS)]
    claims: list[Claim] = []
    while not claims or (len(claims) < SENTENCES and len(worlds) >= ENOUGH):
        claim = dice.choice(makers)(dice)
        sides: dict[bool, list[World]] = {True: [], False: []}
        for world in filter(claim.fits, worlds):
            sides[claim.holds(world)].append(world)
        if min(map(len, sides.values())) * SPARSE < len(worlds):
            continue
        worlds = sides[dice.random() < 0.5]
        claims.append(claim)
    return Stated(worlds[0], claims, told)


_FAMILIES = (
    (boxes.loose, loose_claims.MAKERS, loose_claims.told),
    (boxes.towers, tower_claims.MAKERS, tower_claims.told),
)
