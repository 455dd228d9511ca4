"""Claims about loose items in boxes, in the wordings of NLVR's training sentences."""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial

from castor.data.playground import boxes
from castor.data.playground.boxes import Box
from castor.data.playground.lesson import Question, ask
from castor.data.playground.sentences import (
    NUMBERS,
    TOUCHING,
    Claim,
    Kind,
    Trait,
    an_amount,
    any_kind,
    grouped,
    one_side,
)


def items_of(side: str, box: Box) -> Question:
    """What a box holds, by kind."""
    kinds = Counter((item.colour, item.shape, item.size) for item in box)
    said = [
        " ".join(filter(None, (str(count), boxes.SIZES[size], colour, shape)))
        for (colour, shape, size), count in sorted(kinds.items())
    ]
    return ask("contents", f"What is in the {side} box?", answer=", ".join(said))


def told(box: Box) -> str:
    """Every item from the top down, with the walls that it touches."""
    items = sorted(box, key=lambda item: (item.y, item.x))
    return ", ".join(
        " ".join(filter(None, (boxes.SIZES[i.size], i.colour, i.shape, *sorted(i.walls))))
        for i in items
    )


def _items(dice: random.Random) -> Claim:
    """How many items of a kind there are in all."""
    place = dice.choice(tuple(TOUCHING)) if dice.random() < 0.6 else ""
    kind, amount = any_kind(dice, place=place), an_amount(dice, most=4)
    if dice.random() < 0.12:
        return Claim(f"There is no {kind.one}.", kind.among, lambda counts: not any(counts))
    sentence = amount.there(kind.one, kind.many)
    return Claim(f"{sentence}.", kind.among, lambda counts: amount.allows(sum(counts)))


def _all_items(dice: random.Random) -> Claim:
    """Where all the items of a kind are; there has to be one."""
    kind, place = any_kind(dice), dice.choice(tuple(TOUCHING))
    inside = kind._replace(place=place)
    words, none = dice.choice((("All the", False), ("All", False), ("None of the", True)))
    return Claim(
        f"{words} {kind.many} are {place}.",
        lambda box: inside.among(box) if none else kind.among(box) - inside.among(box),
        lambda against: not any(against),
        fits=lambda world: any(map(kind.among, world)),
    )


def _together(dice: random.Random) -> Claim:
    """Whether all the items of a kind are in one box; there have to be two."""
    kind = any_kind(dice)
    return Claim(
        f"All {kind.many} are in the same box.",
        kind.among,
        lambda counts: counts.count(0) == len(counts) - 1,
        fits=lambda world: sum(map(kind.among, world)) > 1,
    )


def _boxes(dice: random.Random) -> Claim:
    return grouped(dice, box_trait(dice), noun=dice.choice(("box", "box", "grey box")))


def box_trait(dice: random.Random) -> Trait:
    """What a box of loose items may have."""
    makers = (_box_count, _box_size, _box_pair, _box_two, _box_colours, _box_top)
    return dice.choice(makers)(dice)


def _box_count(dice: random.Random) -> Trait:
    place = dice.choice(tuple(TOUCHING)) if dice.random() < 0.3 else ""
    kind, amount = any_kind(dice, place=place), an_amount(dice, most=3)
    words = amount.of(kind.one, kind.many)
    return Trait(words, lambda box: amount.allows(kind.among(box)))


def _box_size(dice: random.Random) -> Trait:
    """How many items there are, whatever they look like, and perhaps what one of them is."""
    kind, amount = any_kind(dice), an_amount(dice, most=6)
    noun = dice.choice(("item", "object"))
    words = amount.of(noun, f"{noun}s")
    if dice.random() < 0.4:
        return Trait(words, lambda box: amount.allows(len(box)))
    return Trait(
        f"{words} and a {kind.one}",
        lambda box: amount.allows(len(box)) and kind.among(box) > 0,
    )


def _box_pair(dice: random.Random) -> Trait:
    """Amounts of two colours."""
    kinds = [
        Kind(dice.choice(("item", "object")), colour, "", 0, "")
        for colour in dice.sample(tuple(boxes.COLOURS), 2)
    ]
    pairs = [(an_amount(dice, most=3), kind) for kind in kinds]
    return Trait(
        " and ".join(amount.of(kind.one, kind.many) for amount, kind in pairs),
        lambda box: all(amount.allows(kind.among(box)) for amount, kind in pairs),
    )


def _box_two(dice: random.Random) -> Trait:
    """An item of one kind, and one or none of another colour and perhaps shape."""
    first, second = dice.sample(tuple(boxes.COLOURS), 2)
    one, two = any_kind(dice)._replace(colour=first), any_kind(dice)._replace(colour=second)
    word, wanted = dice.choice((("a", True), ("a", True), ("no", False)))
    return Trait(
        f"a {one.one} and {word} {two.one}",
        lambda box: one.among(box) > 0 and (two.among(box) > 0) == wanted,
    )


def _box_colours(dice: random.Random) -> Trait:
    """Which colours there are, and how many items."""
    first, second = dice.sample(tuple(boxes.COLOURS), 2)
    number = dice.randint(2, 4)
    spelled = dice.choice((NUMBERS[number], str(number)))
    options: list[tuple[str, Callable[[set[str]], bool]]] = [
        ("items of only one color", lambda colours: len(colours) == 1),
        ("items of all three colors", lambda colours: len(colours) == 3),
        ("items of exactly two different colors", lambda colours: len(colours) == 2),
        (f"only {first} items", lambda colours: colours == {first}),
        (f"only {first} and {second} items", lambda colours: colours == {first, second}),
        (f"items of only {first} and {second} color", lambda colours: colours == {first, second}),
    ]
    words, of = dice.choice(options)
    if "items of" in words and dice.random() < 0.5:
        return Trait(
            words.replace("items", f"{spelled} items", 1),
            lambda box: len(box) == number and of({item.colour for item in box}),
        )
    return Trait(words, lambda box: of({item.colour for item in box}))


def _box_top(dice: random.Random) -> Trait:
    """What is highest, perhaps among how many items."""
    kind, number = any_kind(dice), dice.randint(2, 4)
    spelled = dice.choice((NUMBERS[number], str(number)))
    if dice.random() < 0.5:
        return Trait(f"a {kind.one} on top", lambda box: _highest(kind, box))
    return Trait(
        f"{spelled} items and a {kind.one} on top",
        lambda box: len(box) == number and _highest(kind, box),
    )


def _highest(kind: Kind, box: Box) -> bool:
    return kind.has(min(box, key=lambda item: item.y))


MAKERS = (partial(one_side, whole="box", part="item"), _all_items, _together) + (
    (_items,) * 3 + (_boxes,) * 7
)
