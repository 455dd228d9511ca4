"""Arithmetic, counting and order in plain text, all with one right answer.

Pairs of numbers and lists for evaluation are never asked about in training (`lesson.belongs`).
"""

import random
from collections.abc import Callable
from zlib import crc32

from castor.data.playground.languages import TONGUES
from castor.data.playground.lesson import Lesson, Question, ask, belongs, yes_no
from castor.data.source import Split

_THINGS = ("apples", "books", "cards", "coins", "eggs", "pens", "shells", "stamps", "toys", "cups")
_PEOPLE = ("Ada", "Ben", "Chen", "Dora", "Emil", "Fatma", "Juma", "Lena", "Omar", "Rosa")
_LISTED = {
    "animals": "ant bear cat cow dog duck fox goat hen horse lion mouse owl pig sheep",
    "fruits": "apple banana cherry fig grape lemon lime mango melon orange peach pear plum",
    "colors": "red green blue yellow black white brown gray pink purple orange",
    "tools": "axe brush drill fork hammer knife ladder needle rake saw spade",
}
_SORTS = {sort: words.split() for sort, words in _LISTED.items()}
_WORDS = sorted({word for words in _SORTS.values() for word in words})
_SIGNS = {"plus": "+", "minus": "-", "times": "×"}


def lesson(dice: random.Random, split: Split, *, language: str) -> Lesson:
    """One question; in languages other than English, arithmetic and number words only."""
    kinds: tuple[Callable[[random.Random, str], tuple[str, Question]], ...] = (_arithmetic, _word)
    weights = [8, 2]
    if language == "en":
        kinds = (_arithmetic, _story, _compare, _next, _list, _letters, _sort, _long_sum)
        weights = [34, 14, 10, 10, 10, 8, 7, 7]
    make = dice.choices(kinds, weights)[0]
    while True:
        named, question = make(dice, language)
        # Number words are so few that every split needs all of them.
        if question.kind == "word" or belongs(crc32(named.encode()), split):
            return Lesson((), (question,))


def _terms(dice: random.Random) -> tuple[str, int, int, int]:
    """The operation, two numbers and the result: never below 0."""
    name = dice.choice(tuple(_SIGNS))
    if name == "times":
        a, b = dice.randint(0, 12), dice.randint(0, 12)
        return name, a, b, a * b
    most = dice.choice((10, 20, 100, 100))
    a, b = dice.randint(0, most), dice.randint(0, most)
    if name == "minus":
        a, b = max(a, b), min(a, b)
        return name, a, b, a - b
    return name, a, b, a + b


def key(name: str, a: int, b: int) -> str:
    """What decides the split of a pair: 3 plus 4 and 4 plus 3 are the same."""
    return f"{a} minus {b}" if name == "minus" else f"{min(a, b)} {name} {max(a, b)}"


def _arithmetic(dice: random.Random, language: str) -> tuple[str, Question]:
    name, a, b, result = _terms(dice)
    asks = TONGUES[language].asks(name, a=str(a), b=str(b))
    return key(name, a, b), ask(name, *asks, answer=result)


def _word(dice: random.Random, language: str) -> tuple[str, Question]:
    tongue, number = TONGUES[language], dice.randint(0, 12)
    return "", ask("word", *tongue.asks("word", n=str(number)), answer=tongue.numbers[number])


def _story(dice: random.Random, language: str) -> tuple[str, Question]:
    who, what = dice.choice(_PEOPLE), dice.choice(_THINGS)
    a, b = dice.randint(2, 20), dice.randint(2, 20)
    kind = dice.choice(("gets", "loses", "boxes"))
    if kind == "boxes":
        a, b = dice.randint(2, 9), dice.randint(2, 9)
        told = f"{who} has {a} boxes with {b} {what} in each."
        question = f"{told} How many {what} is that?"
        return key("times", a, b), ask("story", question, answer=a * b)
    if kind == "loses":
        a, b = max(a, b) + 1, min(a, b)
        told = f"{who} has {a} {what} and gives away {b}."
        asks = (f"{told} How many {what} are left?", f"{told} How many {what} does {who} have now?")
        return key("minus", a, b), ask("story", *asks, answer=a - b)
    told = f"{who} has {a} {what} and gets {b} more."
    asks = (f"{told} How many {what} does {who} have now?", f"{told} How many {what} is that?")
    return key("plus", a, b), ask("story", *asks, answer=a + b)


def _compare(dice: random.Random, language: str) -> tuple[str, Question]:
    a, b = dice.sample(range(100 if dice.random() < 0.6 else 1000), 2)
    word = dice.choice(("bigger", "smaller"))
    if dice.random() < 0.5:
        best = max(a, b) if word == "bigger" else min(a, b)
        return f"{a} or {b}", ask("compare", f"Which is {word}, {a} or {b}?", answer=best)
    truth = (a > b) == (word == "bigger")
    return f"{a} or {b}", ask("compare", f"Is {a} {word} than {b}?", answer=yes_no(truth))


def _next(dice: random.Random, language: str) -> tuple[str, Question]:
    step, start = dice.choice((1, 2, 2, 3, 4, 5, 10, -1, -2, -5)), dice.randint(20, 60)
    start = start if step < 0 else dice.randint(0, 40)
    shown = ", ".join(str(start + step * number) for number in range(4))
    asks = (f"What comes next: {shown}?", f"Continue by one number: {shown}")
    return shown, ask("next", *asks, answer=start + step * 4)


def _list(dice: random.Random, language: str) -> tuple[str, Question]:
    """Words of several sorts, of which all or those of one sort are counted."""
    words = dice.sample(_WORDS, dice.randint(2, 8))
    listed = ", ".join(words)
    if dice.random() < 0.5:
        asks = (f"How many words are there: {listed}?", f"Count the words: {listed}")
        return listed, ask("list", *asks, answer=len(words))
    sort = dice.choice(tuple(_SORTS))
    found = sum(word in _SORTS[sort] for word in words)
    asks = (f"How many of these are {sort}: {listed}?", f"Count the {sort}: {listed}")
    return listed, ask("list", *asks, answer=found)


def _letters(dice: random.Random, language: str) -> tuple[str, Question]:
    word = dice.choice(_WORDS)
    if dice.random() < 0.5:
        asks = (f'How many letters are in the word "{word}"?', f'Count the letters of "{word}".')
        return f"letters {word}", ask("letters", *asks, answer=len(word))
    letter = dice.choice(word)
    question = f'How often is the letter {letter} in "{word}"?'
    return f"{letter} in {word}", ask("letters", question, answer=word.count(letter))


def _sort(dice: random.Random, language: str) -> tuple[str, Question]:
    numbers = dice.sample(range(100), dice.randint(3, 5))
    shown, up = ", ".join(map(str, numbers)), dice.random() < 0.7
    order = "from small to large" if up else "from large to small"
    answer = ", ".join(map(str, sorted(numbers, reverse=not up)))
    return shown, ask("sort", f"Sort {order}: {shown}", answer=answer)


def _long_sum(dice: random.Random, language: str) -> tuple[str, Question]:
    numbers = [dice.randint(1, 20) for _ in range(dice.choice((3, 3, 4)))]
    shown = " + ".join(map(str, numbers))
    return shown, ask("long sum", f"What is {shown}?", f"{shown} =", answer=sum(numbers))
