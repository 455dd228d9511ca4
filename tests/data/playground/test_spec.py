"""The laws of the whole corpus: documents follow from their number, and splits are disjoint."""

import pickle
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from castor.core.content import Document, Media, Text
from castor.core.media import open_image, open_sound, open_video
from castor.core.recipe import override
from castor.data.playground import Playground, Task
from castor.data.playground.languages import TONGUES
from castor.data.playground.spec import DRAWN, ENDLESS, EVAL_SCENES, IN_ENGLISH
from castor.data.source import Split

TASKS: tuple[Task, ...] = get_args(Task)
SPECS = [Playground(task) for task in TASKS] + [
    Playground(task, languages=tuple(TONGUES)) for task in TASKS if task not in IN_ENGLISH
]
HERE = Path()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def media(document: Document) -> list[Media]:
    return [part for turn in document.turns for part in turn.parts if isinstance(part, Media)]


def words(document: Document) -> str:
    parts = [part for turn in document.turns for part in turn.parts]
    return "\n".join(part.text for part in parts if isinstance(part, Text))


@pytest.fixture(params=SPECS, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> Playground:
    return request.param


def test_a_document_is_a_function_of_its_number_and_the_generator(spec: Playground) -> None:
    one, other = spec.open(HERE, "train"), spec.open(HERE, "train")
    for i in (0, 7, 993):
        assert one.document(i, rng(5)) == other.document(i, rng(5))


def test_an_evaluation_document_does_not_depend_on_the_generator(spec: Playground) -> None:
    source = spec.open(HERE, "eval")
    for i in range(20):
        assert source.document(i, rng(1)) == source.document(i, rng(2))


def test_the_generator_changes_words_but_never_what_is_shown(spec: Playground) -> None:
    source = spec.open(HERE, "train")
    for i in range(10):
        first, *others = (source.document(i, rng(seed)) for seed in range(4))
        assert all(media(other) == media(first) for other in others)


def test_an_evaluation_document_asks_one_question(spec: Playground) -> None:
    source = spec.open(HERE, "eval")
    for i in range(30):
        assert [turn.role for turn in source.document(i, rng()).turns] == ["user", "model"]


def test_every_answer_follows_a_question_and_nothing_is_left_unfilled(spec: Playground) -> None:
    source = spec.open(HERE, "train")
    for i in range(40):
        document = source.document(i, rng(i))
        roles = [turn.role for turn in document.turns]
        assert roles == ["user", "model"] * (len(roles) // 2) and len(roles) <= 2 * spec.questions
        assert all(turn.parts for turn in document.turns[1::2])
        assert "{" not in words(document) and "  " not in words(document)


def test_every_medium_opens(spec: Playground) -> None:
    source = spec.open(HERE, "train")
    openers = {"image": open_image, "audio": open_sound, "video": open_video}
    for i in range(15):
        for medium in media(source.document(i, rng())):
            openers[medium.mime.split("/")[0]](medium.data, medium.mime)


@pytest.mark.slow
def test_training_and_evaluation_show_different_things(spec: Playground) -> None:
    def shown(split: Split) -> set[object]:
        source = spec.open(HERE, split)
        documents = [source.document(i, rng()) for i in range(120)]
        return {tuple(m.data for m in media(d)) for d in documents if media(d)}

    assert not shown("train") & shown("eval")


def test_a_source_can_be_sent_to_a_worker_process(spec: Playground) -> None:
    source = spec.open(HERE, "train")
    sent = pickle.loads(pickle.dumps(source))
    assert sent.document(3, rng()) == source.document(3, rng())


def test_lengths_are_endless_but_for_drawings(spec: Playground) -> None:
    if spec.task in DRAWN:
        assert len(spec.open(HERE, "train")) == 12_000
        assert len(spec.open(HERE, "eval")) == EVAL_SCENES
    else:
        assert len(spec.open(HERE, "train")) == len(spec.open(HERE, "eval")) == ENDLESS
        assert spec.open(HERE, "train").document(ENDLESS - 1, rng()).turns


@pytest.mark.parametrize("task", DRAWN)
def test_every_drawn_picture_is_known_beforehand(task: Task) -> None:
    source = Playground(task, scenes=200).open(HERE, "train")
    known = list(source.pictures())
    assert len(set(known)) == len(known)
    for i in range(200):
        assert set(media(source.document(i, rng(i)))) <= set(known)


def test_other_tasks_draw_nothing() -> None:
    assert not list(Playground("shapes").open(HERE, "train").pictures())


def test_drawings_are_the_same_in_every_language() -> None:
    english = Playground("draw").open(HERE, "train")
    others = Playground("draw", languages=("de", "zh")).open(HERE, "train")
    for i in range(20):
        assert media(english.document(i, rng())) == media(others.document(i, rng()))


def test_some_training_drawings_are_not_asked_for() -> None:
    source = Playground("draw", unprompted=0.3).open(HERE, "train")
    silent = [not source.document(i, rng(i)).turns[0].parts for i in range(300)]
    assert 0.2 < np.mean(silent) < 0.4
    assert all(
        Playground("draw").open(HERE, "eval").document(i, rng()).turns[0].parts for i in range(50)
    )


def test_the_origin_names_task_split_and_number() -> None:
    document = Playground("sums").open(HERE, "eval").document(41, rng())
    assert document.origin == "playground/sums/eval#41"
    assert Playground("draw", languages=("de", "fr")).name == "playground/draw/de+fr"


def test_questions_of_a_document_can_be_limited() -> None:
    source = Playground("shapes", questions=1).open(HERE, "train")
    assert all(len(source.document(i, rng()).turns) == 2 for i in range(20))


def test_it_is_text_that_must_not_be_cut() -> None:
    assert not Playground("sums").open(HERE, "train").fills


def test_a_recipe_can_change_it() -> None:
    assert override(Playground("draw"), "scenes=500") == Playground("draw", scenes=500)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "shapes", "languages": ("en", "tlh")}, r"cannot speak \['tlh'\]; it speaks"),
        ({"task": "shapes", "languages": ()}, "cannot speak no language"),
        ({"task": "charts", "languages": ("de",)}, "'charts' is made in English alone"),
        ({"task": "draw", "scenes": 0}, "at least 1 scene .* not 3, 0 and 0.05"),
        ({"task": "draw", "questions": 0}, "at least 1 question"),
        ({"task": "draw", "unprompted": 1.5}, "unprompted from 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Playground(**settings)


def test_an_unknown_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Playground("draw")
    object.__setattr__(spec, "task", "poems")
    with pytest.raises(ValueError, match="the playground has no task 'poems'; it has"):
        spec.__post_init__()


@pytest.mark.parametrize("i", [-1, 12_000])
def test_a_number_beyond_the_end_is_refused(i: int) -> None:
    with pytest.raises(IndexError, match="playground/draw has 12000 documents; there is no number"):
        Playground("draw").open(HERE, "train").document(i, rng())
