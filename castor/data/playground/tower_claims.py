"""Claims about towers, in the wordings of NLVR's training sentences."""

import random
from functools import partial

from castor.data.playground import boxes
from castor.data.playground.boxes import Box
from castor.data.playground.lesson import Question, ask
from castor.data.playground.sentences import (
    NUMBERS,
    Claim,
    Trait,
    an_amount,
    any_kind,
    grouped,
    one_side,
)


def blocks_of(side: str, tower: Box) -> Question:
    """The colours of a tower's blocks."""
    words = f"Name the blocks of the {side} tower from the base up."
    return ask("contents", words, answer=told(tower))


def told(tower: Box) -> str:
    return ", ".join(item.colour for item in tower)


def _towers(dice: random.Random) -> Claim:
    return grouped(dice, tower_trait(dice), noun="tower")


def tower_trait(dice: random.Random) -> Trait:
    """What a tower may have."""
    return dice.choice((_where, _where, _what))(dice)


def _where(dice: random.Random) -> Trait:
    """Which colours stand where."""
    first, second = dice.choices(tuple(boxes.COLOURS), k=2)
    end, other = dice.choice((("top", "base"), ("base", "top"), ("bottom", "top")))
    above, one = dice.choice(("on", "over", "above")), dice.choice(("a", "a", "1", "one"))
    ends = {"top": -1, "base": 0, "bottom": 0}
    return dice.choice(
        (
            Trait(f"{one} {first} block at the {end}", lambda box: box[ends[end]].colour == first),
            Trait(
                f"{one} {first} block at the {end} and a {second} block at the {other}",
                lambda box: (box[ends[end]].colour, box[ends[other]].colour) == (first, second),
            ),
            Trait(
                f"{one} {first} block as the second block from the base",
                lambda box: len(box) > 1 and box[1].colour == first,
            ),
            Trait(
                f"{one} {first} block {above} a {second} block",
                lambda box: _stacked(box, first, second),
            ),
        )
    )


def _what(dice: random.Random) -> Trait:
    """How many blocks of which colours."""
    first, second = dice.sample(tuple(boxes.COLOURS), 2)
    blocks, some = an_amount(dice, most=4), an_amount(dice, most=3)
    return dice.choice(
        (
            Trait(blocks.of("block", "blocks"), lambda box: blocks.allows(len(box))),
            Trait(
                some.of(f"{first} block", f"{first} blocks"),
                lambda box: some.allows(_among(box, first)),
            ),
            Trait(
                f"a {second} block and {some.of(f'{first} block', f'{first} blocks')}",
                lambda box: _among(box, second) > 0 and some.allows(_among(box, first)),
            ),
            Trait(f"only {first} blocks", lambda box: {item.colour for item in box} == {first}),
            Trait("blocks of all three colors", lambda box: len({i.colour for i in box}) == 3),
        )
    )


def _ends(dice: random.Random) -> Claim:
    """Blocks at the ends of towers, of any height or of some."""
    colour, end = dice.choice(tuple(boxes.COLOURS)), dice.choice(("top", "base"))
    at = -1 if end == "top" else 0
    height = an_amount(dice, most=4)
    if dice.random() < 0.3:
        number = dice.randint(1, 4)
        blocks = f"{NUMBERS[number]} block{'s' if number > 1 else ''}"
        return Claim(
            f"The tower with {blocks} has a {colour} block at the {end}.",
            lambda box: len(box) == number and box[at].colour == colour,
            any,
            fits=lambda world: sum(len(box) == number for box in world) == 1,
        )
    amount, tall = an_amount(dice, most=3), dice.random() < 0.5
    where = f" with {height.of('block', 'blocks')}" if tall else ""
    sentence = amount.there(f"{colour} block", f"{colour} blocks")
    return Claim(
        f"{sentence} as the {end} of a tower{where}.",
        lambda box: box[at].colour == colour and (not tall or height.allows(len(box))),
        lambda counts: amount.allows(sum(counts)),
    )


def _plain(dice: random.Random) -> Claim:
    """Towers of one colour."""
    colour, height = dice.choice(tuple(boxes.COLOURS)), an_amount(dice, most=3)
    tall = dice.random() < 0.5
    where = f" with {height.of('block', 'blocks')}" if tall else ""
    return Claim(
        f"There is a {colour} tower{where}.",
        lambda box: {i.colour for i in box} == {colour} and (not tall or height.allows(len(box))),
        any,
    )


def _among(box: Box, colour: str) -> int:
    return sum(item.colour == colour for item in box)


def _stacked(box: Box, upper: str, lower: str) -> bool:
    pairs = zip(box, box[1:], strict=False)
    return any((below.colour, above.colour) == (lower, upper) for below, above in pairs)


def _blocks(dice: random.Random) -> Claim:
    """About all blocks, or about the heights of the towers."""
    if dice.random() < 0.6:
        kind, amount = any_kind(dice, noun="block"), an_amount(dice, most=6)
        sentence = amount.there(kind.one, kind.many)
        return Claim(f"{sentence}.", kind.among, lambda counts: amount.allows(sum(counts)))
    sentence, different = dice.choice(
        (
            ("All the towers have the same height.", (1,)),
            ("There are at least two towers with the same height.", (1, 2)),
            ("All the towers have different heights.", (3,)),
        )
    )
    return Claim(sentence, len, lambda heights: len(set(heights)) in different)


MAKERS = (
    partial(one_side, whole="tower", part="block"),
    _towers,
    _towers,
    _blocks,
    _ends,
    _plain,
)
