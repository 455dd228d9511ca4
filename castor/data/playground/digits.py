"""Printed numbers, letters, words and sums to be read, in Pillow's two built-in fonts.

Numbers and words for evaluation are never printed in training (`lesson.belongs`); single digits
and letters are, but in no picture of evaluation.
"""

import random
from zlib import crc32

import numpy as np

from castor.core.content import Media
from castor.data.playground import ink, sums
from castor.data.playground.lesson import Lesson, ask, belongs
from castor.data.source import Split

_WORDS = (
    "ant apple arm baby back bag ball bank bath bear bed bee bell big bird blue boat book box "
    "boy bread brush bus cake camel cap car card cat chair cheese chin clock cloud coat coin cold "
    "cook corn cow cup dance day deer desk dish dog door dot dream dress drum duck ear earth egg "
    "eye face farm fast fence fire fish flag fly food foot fork fox frog game gate gift girl "
    "glass goat gold good grape grass green hair hand happy hat heart hen hill home honey horse "
    "hot house ice ink jam jar juice jump key king kite knee lake lamp leaf leg lemon light lion "
    "lock long map milk moon mouse mouth nail neck nest new nose nut oak ocean old orange owl "
    "page paint pan paper park pen pig pin plane plant plate play plum pond pot queen rabbit "
    "rain red rice ring river road rock roof room root rope rose run sail salt sand school sea "
    "seed sheep ship shoe shop sing sit sky sleep snail snow soap sock song soup spoon star "
    "stone store sun swan swim table tail tall tea tent tiger time toe tooth town toy train tree "
    "truck van vase wall warm watch water wave web wheel white wind wing wolf wood wool yellow "
    "zebra zoo"
)
WORDS = tuple(_WORDS.split())
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SIZES = (0, 13, 15, 17, 19, 22)  # 0 is the bitmap font; the others are pixels


def lesson(dice: random.Random, split: Split) -> Lesson:
    """Something printed, and what it says."""
    (make,) = dice.choices((_number, _digit, _letter, _word, _sum), (30, 25, 10, 25, 10))
    kind, text, answer, asks = make(dice, split)
    while True:
        shown, colour = _printed(dice, text)
        if belongs(crc32(shown.data), split):  # ten digits: the same picture would come again
            break
    questions = [ask(kind, *asks, answer=answer)]
    if dice.random() < 0.2:
        questions.append(ask("ink", "What color is the writing?", answer=colour))
    return Lesson((shown,), tuple(questions))


def for_split(text: str, split: Split) -> bool:
    """Whether that number or word is printed in that split."""
    return belongs(crc32(text.encode()), split)


_Made = tuple[str, str, str | int, tuple[str, ...]]  # kind, printed, answer, wordings


def _number(dice: random.Random, split: Split) -> _Made:
    while True:
        text = str(dice.randint(10 ** (places := dice.randint(1, 3)), 10 ** (places + 1) - 1))
        if for_split(text, split):
            asks = ("What number is this?", "Read the number.", "Which number do you see?")
            return "number", text, text, asks


def _digit(dice: random.Random, split: Split) -> _Made:
    text = str(dice.randint(0, 9))
    return "digit", text, text, ("Which digit is this?", "What digit do you see?")


def _letter(dice: random.Random, split: Split) -> _Made:
    text = dice.choice(_LETTERS)
    return "letter", text, text, ("Which letter is this?", "What letter do you see?")


def _word(dice: random.Random, split: Split) -> _Made:
    while not for_split(text := dice.choice(WORDS), split):
        pass
    printed = dice.choice((text, text, text.upper()))
    return "word", printed, text, ("What word is this?", "Read the word.", "What does it say?")


def _sum(dice: random.Random, split: Split) -> _Made:
    while True:
        b, a = sorted((dice.randint(0, 9), dice.randint(0, 9)))
        name, text, answer = dice.choice(
            (("plus", f"{a}+{b}", a + b), ("minus", f"{a}-{b}", a - b))
        )
        if for_split(sums.key(name, a, b), split):
            break
    return "sum", text, answer, ("What is the result?", "Solve it.", "How much is this?")


def _printed(dice: random.Random, text: str) -> tuple[Media, str]:
    """The text somewhere on a page that just holds it, and its colour's name."""
    fitting = [size for size in _SIZES if len(text) * size <= 90] if len(text) > 3 else _SIZES
    scale = dice.choice((1, 2, 2)) if (size := dice.choice(fitting)) == 0 else 1
    cover = np.kron(ink.printed(text, size), np.ones((scale, scale), np.float32))
    height, width = (-(-(n + 4) // 8) * 8 for n in cover.shape)
    height, width = max(height, 16), max(width, 16)
    dark = dice.random() < 0.15
    colour = dice.choice([name for name in ink.PALETTE if name not in ("yellow", "gray")])
    paint, paper = ink.PALETTE[colour], dice.choice(ink.PAPERS)
    if dark:
        colour, paint, paper = "white", (255, 255, 255), ink.PALETTE[dice.choice(("black", "blue"))]
    canvas = ink.blank(width, height, paper=paper)
    x = dice.randint(2, width - cover.shape[1] - 2)
    y = dice.randint(2, height - cover.shape[0] - 2)
    ink.stamp(canvas, cover, colour=paint, x=x, y=y)
    return ink.picture(canvas), colour
