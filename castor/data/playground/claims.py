"""True or false: sentences about what three boxes hold.

Many worlds are imagined. Each sentence splits those that are left into the worlds in which it is
true and those in which it is false, and a coin says which go on: no wording gives an answer away.
"""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from castor.core.content import Media
from castor.core.media import ppm
from castor.data.playground import boxes
from castor.data.playground.boxes import SIDES, Box, Item, World
from castor.data.playground.lesson import Lesson, Question, ask
from castor.data.source import Split

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")


WORLDS = 96  # imagined for each picture
SPARSE = 16  # a sentence that fewer than one in so many worlds make true, or false, is not asked
SENTENCES = 2  # about one picture, while
ENOUGH = 8  # worlds are left


class Claim(NamedTuple):
    """A sentence, the worlds in which it is true, and those that it may be about."""

    sentence: str
    holds: Callable[[World], bool]
    fits: Callable[[World], bool] = bool  # by default every world: none is empty


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
    place: str  # a key of _TOUCHING

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
            and (not self.place or _TOUCHING[self.place](item))
        )

    def among(self, world: World) -> int:
        return sum(self.has(item) for box in world for item in box)

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


def blocks_of(side: str, tower: Box) -> Question:
    """The colours of a tower's blocks."""
    answer = ", ".join(item.colour for item in tower)
    return ask("contents", f"Name the blocks of the {side} tower from the base up.", answer=answer)


def stated(sentence: str, truth: bool) -> Question:
    """Whether a sentence is true, in the wordings of NLVR."""
    asks = (
        f"{sentence} True or false?",
        f"True or false: {sentence}",
        f"Is this so? {sentence}",
    )
    return ask("claim", *asks, answer="true" if truth else "false")


def _amount(dice: random.Random, *, most: int) -> Amount:
    number = dice.randint(1, most)
    spelled = _NUMBERS[number] if dice.random() < 0.6 else str(number)
    how = dice.choice(("exactly", "at least", *(("only", "a") if number == 1 else ())))
    if how == "a":
        return Amount("a", True, lambda found: found >= 1)
    if how == "at least":
        return Amount(f"at least {spelled}", number == 1, lambda found: found >= number)
    return Amount(f"{how} {spelled}", number == 1, lambda found: found == number)


_ANY = frozenset(("left", "right", "top", "bottom"))
_TOUCHING: dict[str, Callable[[Item], bool]] = {
    "touching the edge": lambda item: bool(item.walls),
    "touching the wall": lambda item: bool(item.walls),
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


def _items(dice: random.Random) -> Claim:
    """How many items of a kind there are in all."""
    place = dice.choice(tuple(_TOUCHING)) if dice.random() < 0.5 else ""
    kind, amount = any_kind(dice, place=place), _amount(dice, most=4)
    if dice.random() < 0.12:
        return Claim(f"There is no {kind.one}.", lambda world: not kind.among(world))
    sentence = amount.there(kind.one, kind.many)
    return Claim(f"{sentence}.", lambda world: amount.allows(kind.among(world)))


def _all_items(dice: random.Random) -> Claim:
    """Where all the items of a kind are; there has to be one."""
    kind, place = any_kind(dice), dice.choice(tuple(_TOUCHING))
    inside = kind._replace(place=place)
    return Claim(
        f"{dice.choice(('All the', 'All'))} {kind.many} are {place}.",
        lambda world: inside.among(world) == kind.among(world),
        fits=lambda world: kind.among(world) > 0,
    )


def _boxes(dice: random.Random) -> Claim:
    return _grouped(dice, box_trait(dice), noun=dice.choice(("box", "grey box")))


def box_trait(dice: random.Random) -> Trait:
    """What a box of loose items may have."""
    return dice.choice((_box_count, _box_pair, _box_colours))(dice)


def _box_count(dice: random.Random) -> Trait:
    place = dice.choice(tuple(_TOUCHING)) if dice.random() < 0.2 else ""
    kind, amount = any_kind(dice, place=place), _amount(dice, most=3)
    words = amount.of(kind.one, kind.many)
    return Trait(words, lambda box: amount.allows(kind.among((box,))))


def _box_pair(dice: random.Random) -> Trait:
    kinds = [
        Kind(dice.choice(("item", "object")), colour, "", 0, "")
        for colour in dice.sample(tuple(boxes.COLOURS), 2)
    ]
    pairs = [(_amount(dice, most=2), kind) for kind in kinds]
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


def _towers(dice: random.Random) -> Claim:
    return _grouped(dice, tower_trait(dice), noun="tower")


def tower_trait(dice: random.Random) -> Trait:
    """What a tower may have."""
    first, second = dice.choices(tuple(boxes.COLOURS), k=2)
    number = dice.randint(1, 4)
    spelled = f"{_NUMBERS[number]} block{'s' if number > 1 else ''}"
    return dice.choice(
        (
            Trait(f"a {first} block at the top", lambda box: box[-1].colour == first),
            Trait(f"a {first} block at the base", lambda box: box[0].colour == first),
            Trait(
                f"a {first} block at the base and a {second} block at the top",
                lambda box: box[0].colour == first and box[-1].colour == second,
            ),
            Trait(
                f"a {first} block as the second block from the base",
                lambda box: len(box) > 1 and box[1].colour == first,
            ),
            Trait(f"exactly {spelled}", lambda box: len(box) == number),
            Trait(f"only {spelled}", lambda box: len(box) == number),
            Trait(f"a {first} block on a {second} block", lambda box: _stacked(box, first, second)),
            Trait(f"a {first} block", lambda box: any(item.colour == first for item in box)),
            Trait(f"only {first} blocks", lambda box: {item.colour for item in box} == {first}),
        )
    )


def _stacked(box: Box, upper: str, lower: str) -> bool:
    pairs = zip(box, box[1:], strict=False)
    return any((below.colour, above.colour) == (lower, upper) for below, above in pairs)


def _blocks(dice: random.Random) -> Claim:
    """About all blocks, or about the heights of the towers."""
    if dice.random() < 0.6:
        kind, amount = any_kind(dice, noun="block"), _amount(dice, most=6)
        sentence = amount.there(kind.one, kind.many)
        return Claim(f"{sentence}.", lambda world: amount.allows(kind.among(world)))
    sentence, different = dice.choice(
        (
            ("All the towers have the same height.", (1,)),
            ("There are at least two towers with the same height.", (1, 2)),
            ("All the towers have different heights.", (3,)),
        )
    )
    return Claim(sentence, lambda world: len(set(map(len, world))) in different)


def _one_side(dice: random.Random, *, whole: str, part: str) -> Claim:
    """What one box or tower has of one colour: the easiest claims, from which the others follow."""
    number, colour = dice.randrange(len(SIDES)), dice.choice(tuple(boxes.COLOURS))
    return Claim(
        f"The {SIDES[number]} {whole} has a {colour} {part}.",
        lambda world: any(item.colour == colour for item in world[number]),
    )


def _grouped(dice: random.Random, trait: Trait, *, noun: str) -> Claim:
    """How many of the three boxes or towers have the trait."""
    many = f"{noun}es" if noun.endswith("box") else f"{noun}s"
    how = dice.random()
    if how < 0.1:
        sentence = f"There is no {noun} with {trait.words}."
        return Claim(sentence, lambda world: not any(map(trait.of, world)))
    if how < 0.25:
        sentence = f"{dice.choice(('Each', 'Every'))} {noun} has {trait.words}."
        return Claim(sentence, lambda world: all(map(trait.of, world)))
    amount = _amount(dice, most=2)
    sentence = f"{amount.there(noun, many)} with {trait.words}."
    return Claim(sentence, lambda world: amount.allows(sum(map(trait.of, world))))


_FAMILIES = (
    (
        boxes.loose,
        (partial(_one_side, whole="box", part="item"), _items, _all_items, _boxes, _boxes),
        items_of,
    ),
    (
        boxes.towers,
        (partial(_one_side, whole="tower", part="block"), _towers, _towers, _blocks),
        blocks_of,
    ),
)
