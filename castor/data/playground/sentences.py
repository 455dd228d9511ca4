"""What sentences about three boxes are made of: kinds of items, amounts, traits, and claims."""

import random
from collections.abc import Callable
from typing import NamedTuple

from castor.data.playground import boxes
from castor.data.playground.boxes import SIDES, Box, Item, World
from castor.data.playground.lesson import Question, ask

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")


class Claim(NamedTuple):
    """A sentence, what it counts in each box, which counts make it true, and its worlds."""

    sentence: str
    count: Callable[[Box], int]
    allows: Callable[[tuple[int, ...]], bool]
    fits: Callable[[World], bool] = bool  # by default every world: none is empty

    def counts(self, world: World) -> tuple[int, ...]:
        return tuple(map(self.count, world))

    def holds(self, world: World) -> bool:
        return self.allows(self.counts(world))


class Trait(NamedTuple):
    """What a box may have, in words that follow "with" or "has"."""

    words: str
    of: Callable[[Box], bool]


class Kind(NamedTuple):
    """Some items; an empty property or a size of 0 allows any."""

    noun: str
    colour: str
    shape: str
    size: int
    place: str  # a key of TOUCHING

    @property
    def one(self) -> str:
        return self._words(self.noun)

    @property
    def many(self) -> str:
        return self._words(f"{self.noun}s")

    def has(self, item: Item) -> bool:
        return (
            self.colour in ("", item.colour)
            and self.shape in ("", item.shape)
            and self.size in (0, item.size)
            and (not self.place or TOUCHING[self.place](item))
        )

    def among(self, box: Box) -> int:
        return sum(map(self.has, box))

    def _words(self, noun: str) -> str:
        words = (boxes.SIZES.get(self.size, ""), self.colour, noun, self.place)
        return " ".join(filter(None, words))


class Amount(NamedTuple):
    """How many, in words that precede a noun, whether that noun is single, and which numbers."""

    words: str
    single: bool
    allows: Callable[[int], bool]

    def of(self, one: str, many: str) -> str:
        return f"{self.words} {one if self.single else many}"

    def there(self, one: str, many: str) -> str:
        return f"There {'is' if self.single else 'are'} {self.of(one, many)}"


def stated(sentence: str, truth: bool) -> Question:
    """Whether a sentence is true, in the wordings of NLVR."""
    asks = (
        f"{sentence} True or false?",
        f"True or false: {sentence}",
        f"Is this so? {sentence}",
    )
    return ask("claim", *asks, answer="true" if truth else "false")


def an_amount(dice: random.Random, *, most: int) -> Amount:
    number = dice.randint(1, most)
    spelled = NUMBERS[number] if dice.random() < 0.6 else str(number)
    how = dice.choice(("exactly", "at least", "", *(("only", "a") if number == 1 else ())))
    if how == "a":
        return Amount("a", True, lambda found: found >= 1)
    if how == "at least":
        return Amount(f"at least {spelled}", number == 1, lambda found: found >= number)
    words = f"{how} {spelled}".strip()  # a number alone is exact: in NLVR, 108 times of 117
    return Amount(words, number == 1, lambda found: found == number)


TOUCHING: dict[str, Callable[[Item], bool]] = {
    "touching the edge": lambda item: bool(item.walls),
    "touching an edge": lambda item: bool(item.walls),
    "touching the wall": lambda item: bool(item.walls),
    "touching the side": lambda item: bool(item.walls),
    "touching a corner": lambda item: len(item.walls) == 2,
    "touching the corner": lambda item: len(item.walls) == 2,
    "closely touching a corner of a box": lambda item: len(item.walls) == 2,
    "closely touching the bottom of a box": lambda item: "bottom" in item.walls,
    "touching the base": lambda item: "bottom" in item.walls,
    "touching the top": lambda item: "top" in item.walls,
    "touching the right wall": lambda item: "right" in item.walls,
    "touching the left wall": lambda item: "left" in item.walls,
    "not touching any edge": lambda item: not item.walls,
}


def any_kind(dice: random.Random, *, noun: str = "", place: str = "") -> Kind:
    """Items of perhaps a size, a colour and a shape; blocks have neither size nor shape."""
    colour = dice.choice((*boxes.COLOURS, *boxes.COLOURS, ""))
    shape = "" if noun else dice.choice((*boxes.SHAPES, *boxes.SHAPES, ""))
    size = 0 if noun else dice.choice((10, 0, 0, 0, 0, 0, 30))
    return Kind(noun or shape or dice.choice(("item", "object")), colour, shape, size, place)


def one_side(dice: random.Random, *, whole: str, part: str) -> Claim:
    """What one box or tower has of one colour: the easiest claims, from which the others follow."""
    number, colour = dice.randrange(len(SIDES)), dice.choice(tuple(boxes.COLOURS))
    return Claim(
        f"The {SIDES[number]} {whole} has a {colour} {part}.",
        lambda box: any(item.colour == colour for item in box),
        lambda counts: counts[number] > 0,
    )


def grouped(dice: random.Random, trait: Trait, *, noun: str) -> Claim:
    """How many of the three boxes or towers have the trait."""
    many = f"{noun}es" if noun.endswith("box") else f"{noun}s"
    how = dice.random()
    if how < 0.1:
        sentence = f"There is no {noun} with {trait.words}."
        return Claim(sentence, trait.of, lambda counts: not any(counts))
    if how < 0.25:
        verb = dice.choice(("has", "has", "contains"))
        sentence = f"{dice.choice(('Each', 'Every'))} {noun} {verb} {trait.words}."
        return Claim(sentence, trait.of, all)
    amount = an_amount(dice, most=2)
    have = "has" if amount.single else "have"
    having = dice.choice(("with", "with", "having", f"that {have}", f"which {have}"))
    sentence = f"{amount.there(noun, many)} {having} {trait.words}."
    if amount.words in ("one", "two", "1", "2") and dice.random() < 0.5:
        verb = dice.choice(("has", "contains") if amount.single else ("have", "contain"))
        sentence = f"{amount.words.capitalize()} of the {many} {verb} {trait.words}."
    return Claim(sentence, trait.of, lambda counts: amount.allows(sum(counts)))
