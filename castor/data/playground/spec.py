"""The playground as a source: what a recipe writes down, and the documents that come of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, get_args

import numpy as np

from castor.core.content import Document, Media
from castor.data.playground import (
    charts,
    claims,
    digits,
    drawings,
    inventory,
    motion,
    scenes,
    shapes,
    sounds,
    speech,
    sums,
    turning,
)
from castor.data.playground.languages import TONGUES
from castor.data.playground.lesson import Lesson, roll, to_document
from castor.data.playground.scenes import Scene
from castor.data.source import Split

Task = Literal[
    "shapes",
    "claims",
    "told",
    "inventory",
    "describe",
    "draw",
    "story",
    "charts",
    "digits",
    "sounds",
    "speech",
    "motion",
    "turning",
    "sums",
]
ENDLESS = 2**31  # documents of a task that never runs out
EVAL_SCENES = 1000

# What makes a lesson of each task. The tasks that draw need the index as well: see `Generated`.
IN_ENGLISH: dict[str, Callable[[Random, Split], Lesson]] = {
    "claims": claims.lesson,
    "told": claims.told_lesson,
    "inventory": inventory.lesson,
    "charts": charts.lesson,
    "digits": digits.lesson,
    "sounds": sounds.lesson,
    "speech": speech.lesson,
    "motion": motion.lesson,
    "turning": turning.lesson,
}
IN_ALL_LANGUAGES = {
    "shapes": shapes.lesson,
    "describe": drawings.describe_lesson,
    "sums": sums.lesson,
}
DRAWN = ("draw", "story")


@dataclass(frozen=True)
class Playground:
    """One task of the generated corpus, in one or more languages.

    `questions` is the most that a training document asks about what it shows; evaluation asks one.
    `unprompted` is the share of training drawings that nothing asks for, which classifier-free
    guidance needs. `scenes` is how many drawings "draw" and "story" have in training (about 18 %
    of them repeat, see `scenes.gallery`), so that their codes can be made before training.

    Raises:
        ValueError: no such task or language, or the task is only made in English.
    """

    task: Task = "shapes"
    languages: tuple[str, ...] = ("en",)
    questions: int = 3
    unprompted: float = 0.05
    scenes: int = 12_000

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise ValueError(f"the playground has no task {self.task!r}; it has {get_args(Task)}")
        unknown = [code for code in self.languages if code not in TONGUES]
        if unknown or not self.languages:
            raise ValueError(
                f"the playground cannot speak {unknown or 'no language'}; it speaks {list(TONGUES)}"
            )
        if self.task in IN_ENGLISH and self.languages != ("en",):
            raise ValueError(f"the task {self.task!r} is made in English alone")
        if self.questions < 1 or self.scenes < 1 or not 0 <= self.unprompted <= 1:
            raise ValueError(
                "the playground needs at least 1 question, at least 1 scene and unprompted from 0 "
                f"to 1, not {self.questions}, {self.scenes} and {self.unprompted}"
            )

    @property
    def name(self) -> str:
        """For example playground/shapes or playground/draw/de+fr."""
        spoken = "" if self.languages == ("en",) else "/" + "+".join(self.languages)
        return f"playground/{self.task}{spoken}"

    def open(self, data_dir: Path, split: Split) -> "Generated":
        """The source of that split; it reads nothing from `data_dir`."""
        return Generated(self, split)


@dataclass(frozen=True)
class Generated:
    """Documents made on the spot, in about half a millisecond each.

    The world of document i follows from (name, split, i). In training, rng chooses among the
    wordings of a question; in evaluation it changes nothing.
    """

    spec: Playground
    split: Split

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def fills(self) -> bool:
        """No: a lesson is whole or it is nothing."""
        return False

    def __len__(self) -> int:
        if self.spec.task not in DRAWN:
            return ENDLESS
        return self.spec.scenes if self.split == "train" else EVAL_SCENES

    def document(self, i: int, rng: np.random.Generator) -> Document:
        """Document i.

        Raises:
            IndexError: there are fewer documents.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"{self.name} has {len(self)} documents; there is no number {i}")
        training = self.split == "train"
        lesson = self.lesson(i)
        if training and self.spec.task == "draw" and rng.random() < self.spec.unprompted:
            lesson = drawings.unasked(lesson)
        return to_document(
            lesson,
            questions=self.spec.questions if training else 1,
            wording=lambda count: int(rng.integers(count)) if training else 0,
            origin=f"{self.name}/{self.split}#{i}",
        )

    def lesson(self, i: int) -> Lesson:
        """What document i shows and asks, with every wording."""
        task, dice = self.spec.task, roll(self.name, self.split, i)
        if task in IN_ENGLISH:
            return IN_ENGLISH[task](dice, self.split)
        language = dice.choice(self.spec.languages)
        if task == "draw":
            return drawings.draw_lesson(self.scene(i), language=language)
        if task == "story":
            return drawings.story_lesson(dice, self._gallery(), language=language)
        return IN_ALL_LANGUAGES[task](dice, self.split, language=language)

    def scene(self, i: int) -> Scene:
        """What document i of the task "draw" asks for: the truth for `readback.score_drawing`."""
        return self._gallery()[i]

    def pictures(self) -> Iterator[Media]:
        """Every picture that the model draws in these documents, once."""
        if self.spec.task in DRAWN:
            yield from map(drawings.drawing, dict.fromkeys(self._gallery()))

    def _gallery(self) -> tuple[Scene, ...]:
        size = self.spec.scenes if self.split == "train" else EVAL_SCENES
        return scenes.gallery(self.split, size)
