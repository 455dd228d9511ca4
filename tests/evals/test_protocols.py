from pathlib import Path

import numpy as np
import pytest

from castor.core.content import Document, Media, Text, Turn
from castor.core.media import open_image, png
from castor.data.playground import Playground
from castor.data.playground.readback import score_drawing
from castor.evals import protocols
from castor.evals.benchmark import Problem, answered
from castor.sample.engine import Engine, Reply

QUESTIONS = ["one two?", "a red square", "the cat says"]


def replied(text: str) -> Reply:
    return Reply(Turn("model", (Text(text),)), (), (), "stop", 1)


@pytest.fixture
def parrot(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that answers with the words of the last turn."""

    def echo(documents: list[Document], sampling: object) -> list[Reply]:
        return [replied(d.turns[-1].parts[0].text) for d in documents]

    monkeypatch.setattr(engine, "reply", echo)
    return engine


def test_answers_are_right_where_they_read_the_same(parrot: Engine):
    problems = [Problem(Document.of("Nine!"), "nine"), Problem(Document.of("nine"), "ten")]
    marks = protocols.answers(parrot, problems)
    assert [(m.part, m.whole) for m in marks] == [(1, 1), (0, 1)]
    assert marks[0].turn == Turn("model", (Text("Nine!"),))


def test_a_conclusion_is_the_last_word_of_what_was_thought(parrot: Engine):
    said = ("One, two: 3 in all. So true.", "So true, or false.", "")
    problems = [Problem(Document.of(words or " "), "true") for words in said]
    marks = protocols.conclusions(parrot, problems)
    assert [(m.part, m.whole) for m in marks] == [(1, 1), (0, 1), (0, 1)]
    assert marks[0].turn == Turn("model", (Text("One, two: 3 in all. So true."),))


def test_transcripts_count_word_errors_over_words(parrot: Engine):
    problems = [Problem(Document.of("the cat sat"), "the cat sat down")]
    assert [(m.part, m.whole) for m in protocols.transcripts(parrot, problems)] == [(1, 4)]


def test_greedy_text_scores_every_token_right(engine: Engine):
    prompt = Document.of(QUESTIONS[0])
    (reply,) = engine.reply([prompt], protocols.ANSWER)
    answer = protocols.said(reply)
    whole = answer.encode().decode() == answer and "\ufffd" not in answer
    (mark,) = protocols.tokens(engine, [Problem(prompt, answer)])
    same = engine.vocab.encode(answer) == [i for i in reply.ids if engine.vocab.is_text(i)]
    if whole and same:  # otherwise the text is spelled in other tokens than were said
        assert mark.part >= mark.whole - 1  # its end need not be the likeliest
    assert 1 <= mark.whole == len(engine.vocab.encode(answer)) + 1


def test_choices_pick_the_answer_of_fewest_nats(engine: Engine):
    options = ("one", "seven eight", "the cat says: nine!")
    problems = [Problem(Document.of(q), "one", options) for q in QUESTIONS]
    for problem, mark in zip(problems, protocols.choices(engine, problems), strict=True):
        costs = [engine.score([(problem.prompt, o)])[0].nats for o in options]
        best = options[int(np.argmin(costs))]
        assert mark.part == float(best == "one")
        assert mark.turn == Turn("model", (Text(best),))


def test_bits_are_nats_over_the_natural_logarithm_of_two(engine: Engine):
    page = "one sees a red square, and the cat says: one!"
    (mark,) = protocols.bits(engine, [Problem(Document.of(), page)])
    assert mark.whole == len(page.encode())
    assert mark.part == pytest.approx(engine.surprise(page).nats / np.log(2))


def test_a_random_model_spends_about_the_logarithm_of_its_vocabulary(engine: Engine):
    score = engine.surprise("one two three four five six seven eight nine ten " * 20)
    assert score.nats / score.tokens == pytest.approx(np.log(engine.vocab.size), rel=0.2)


def test_drawings_are_marked_by_what_can_be_read_back(engine: Engine):
    source = Playground("draw").open(Path(), "eval")
    rng = np.random.default_rng(0)
    scene = source.scene(0)
    asked = Document(source.document(0, rng).turns[:-1])
    (mark,) = protocols.drawings(engine, [Problem(asked, "", truth=scene)])
    (picture,) = (p for p in mark.turn.parts if isinstance(p, Media))
    pixels = open_image(picture.data, picture.mime)
    assert pixels.shape == (64, 64, 3)
    assert (mark.part, mark.whole) == (score_drawing(scene, pixels).right, 4 * len(scene))


def test_a_drawing_that_is_missing_has_nothing_right(parrot: Engine):
    scene = Playground("draw").open(Path(), "eval").scene(0)
    (mark,) = protocols.drawings(parrot, [Problem(Document.of("draw!"), "", truth=scene)])
    assert (mark.part, mark.whole) == (0, 4 * len(scene))


def test_a_perfect_codec_is_measured_in_decibels(engine: Engine):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    problems = [Problem(Document.of(), "", truth=p) for p in pictures]
    marks = protocols.reconstructions(engine, problems)
    assert len(marks) == 2
    assert all(0 < m.part < 30 and m.whole == 1 for m in marks)


def test_codes_in_use_are_counted_over_the_whole_set(engine: Engine):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    together = Problem(Document.of(), "", truth=pictures)
    (mark,) = protocols.codes_in_use(engine, [together])
    each = [np.unique(engine.codes(Media("image/png", png(p)))) for p in pictures]
    assert mark.part == len(np.unique(np.concatenate(each)))
    assert mark.whole == len(engine.vocab.codes)


def test_recognition_shows_the_model_what_it_drew(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    shown = []
    score = engine.score

    def watch(pairs: list[tuple[Document, str]]) -> list:
        shown.extend(pairs)
        return score(pairs)

    monkeypatch.setattr(engine, "score", watch)
    problem = Problem(Document.of("Draw the emoji: cat"), "cat", ("cat", "dog"))
    (mark,) = protocols.recognised(engine, [problem], ask="What is this?")
    drawn = next(p for p in mark.turn.parts if isinstance(p, Media))
    assert [d.turns[0].parts for d, _ in shown] == [(drawn, Text("What is this?"))] * 2
    assert [choice for _, choice in shown] == ["cat", "dog"]


def test_a_model_without_codec_cannot_be_measured_for_drawing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "codec", None)
    with pytest.raises(ValueError, match="no picture codec"):
        protocols.reconstructions(engine, [])


def test_a_document_without_an_answer_is_no_problem():
    picture = Media("image/png", b"not opened")
    with pytest.raises(ValueError, match="ends with no text"):
        answered(Document.of("draw it").then(picture))


def test_the_last_turn_of_a_document_is_its_answer():
    document = Document.of("one?").then("two").then("three?", role="user").then("four")
    problem = answered(document)
    assert problem.answer == "four"
    assert problem.prompt.turns == document.turns[:-1]
