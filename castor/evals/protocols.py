"""How answers are obtained and marked. A protocol takes an engine and problems and gives marks.

Greedy decoding throughout unless it says otherwise; one model, no task-specific head.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import UInt8

from castor.core.content import Document, Media, Text, Turn
from castor.core.media import open_image
from castor.data.playground.readback import score_drawing
from castor.evals.benchmark import Mark, Problem
from castor.evals.metrics import exact_match, normalise, word_errors
from castor.evals.reconstruction import Through, through
from castor.sample.choose import Sampling
from castor.sample.engine import Engine, Reply

ANSWER = Sampling(max_tokens=48)
THOUGHT = Sampling(max_tokens=160)
DRAWING = Sampling(pictures="only", temperature=0.3, top_p=0.9, guidance=1.2)  # [ours]


def answers(engine: Engine, problems: Sequence[Problem]) -> list[Mark]:
    """1 for a reply that reads like the answer, 0 for any other."""
    return [
        Mark(exact_match(said(reply), problem.answer), 1, reply.turn)
        for problem, reply in zip(problems, _replies(engine, problems), strict=True)
    ]


def conclusions(engine: Engine, problems: Sequence[Problem]) -> list[Mark]:
    """1 for a reply, reasons and all, whose last word is the answer, 0 for any other."""
    return [
        Mark(exact_match((said(reply).split() or [""])[-1], problem.answer), 1, reply.turn)
        for problem, reply in zip(problems, _replies(engine, problems, THOUGHT), strict=True)
    ]


def transcripts(engine: Engine, problems: Sequence[Problem]) -> list[Mark]:
    """Word errors over words: the word error rate, which may pass 1."""
    return [
        Mark(
            word_errors(said(reply), problem.answer),
            len(normalise(problem.answer).split()),
            reply.turn,
        )
        for problem, reply in zip(problems, _replies(engine, problems), strict=True)
    ]


def tokens(engine: Engine, problems: Sequence[Problem]) -> list[Mark]:
    """Tokens of the answer, its end included, that are the likeliest given those before them."""
    scores = engine.score([(p.prompt, p.answer) for p in problems])
    return [Mark(score.right, score.tokens) for score in scores]


def choices(engine: Engine, problems: Sequence[Problem]) -> list[Mark]:
    """1 where the answer is the likeliest of the choices, by the sum over its tokens."""
    pairs = [(p.prompt, choice) for p in problems for choice in p.choices]
    nats = iter(score.nats for score in engine.score(pairs))
    marks: list[Mark] = []
    for problem in problems:
        costs = [next(nats) for _ in problem.choices]
        chosen = problem.choices[int(np.argmin(costs))]
        marks.append(Mark(float(chosen == problem.answer), 1, _turn(chosen)))
    return marks


def bits(engine: Engine, problems: Sequence[Problem]) -> list[Mark]:
    """Bits over bytes of each answer, read as a page of its own."""
    scores = [engine.surprise(problem.answer) for problem in problems]
    return [Mark(score.nats / np.log(2), score.bytes) for score in scores]


def drawings(engine: Engine, problems: Sequence[Problem]) -> list[Mark]:
    """Attributes of the asked scene that plain image processing finds in the drawn picture."""
    marks: list[Mark] = []
    for problem, reply in zip(problems, _replies(engine, problems, DRAWING), strict=True):
        asked = 4 * len(problem.truth)
        found = [p for p in reply.turn.parts if isinstance(p, Media)]
        if not found:
            marks.append(Mark(0, asked, reply.turn))
            continue
        pixels = open_image(found[0].data, found[0].mime)
        marks.append(Mark(score_drawing(problem.truth, pixels).right, asked, reply.turn))
    return marks


def recognised(engine: Engine, problems: Sequence[Problem], *, ask: str) -> list[Mark]:
    """1 where the model, shown what it drew, finds the right name the likeliest of the choices."""
    replies = _replies(engine, problems, DRAWING)
    shown: list[Problem] = []
    for problem, reply in zip(problems, replies, strict=True):
        picture = next((p for p in reply.turn.parts if isinstance(p, Media)), None)
        parts = [ask] if picture is None else [picture, ask]
        shown.append(Problem(Document.of(*parts), problem.answer, problem.choices))
    marks = choices(engine, shown)
    return [m._replace(turn=reply.turn) for m, reply in zip(marks, replies, strict=True)]


def reconstructions(engine: Engine, problems: Sequence[Problem]) -> list[Mark]:
    """Peak signal-to-noise ratio in decibels of each picture through the codec and back.

    Raises:
        ValueError: the model has no codec.
    """
    found = _through(engine, [problem.truth for problem in problems])
    return [Mark(decibels, 1) for decibels in found.psnr_db.tolist()]


def codes_in_use(engine: Engine, problems: Sequence[Problem]) -> list[Mark]:
    """Of all codes that the codec has, those that occur in a set of pictures.

    Raises:
        ValueError: the model has no codec.
    """
    used = [_through(engine, list(problem.truth)).used for problem in problems]
    return [Mark(count, len(engine.vocab.codes)) for count in used]


def said(reply: Reply) -> str:
    """The words of a reply."""
    return "".join(p.text for p in reply.turn.parts if isinstance(p, Text))


def _replies(
    engine: Engine, problems: Sequence[Problem], sampling: Sampling = ANSWER
) -> list[Reply]:
    return engine.reply([p.prompt for p in problems], sampling)


def _through(engine: Engine, pictures: Sequence[UInt8[np.ndarray, "s t 3"]]) -> Through:
    if engine.codec is None:
        raise ValueError("this model cannot draw: it has no picture codec to measure")
    codec, config = engine.codec
    return through(codec, np.stack(pictures), config=config)


def _turn(text: str) -> Turn:
    return Turn("model", (Text(text),))


recognised_emoji = partial(recognised, ask="What is this emoji called?")
