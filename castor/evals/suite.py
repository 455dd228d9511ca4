"""The list of benchmarks. Adding one is one entry of SUITE.

Every one reads the evaluation split of a folder laid out like the training data, in the first
wording of its task; `docs/protocols.md` says more.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from castor.core.content import Document, Text
from castor.core.media import open_image
from castor.data.clips import MovingEmoji
from castor.data.images import Cifar10, EasyVqa, Emoji, Nlvr
from castor.data.playground import Playground
from castor.data.playground.claims import LOOK
from castor.data.sounds import Esc10, Fsdd, ReadSpeech
from castor.data.sources import SourceSpec
from castor.data.texts import Books, Corpus
from castor.evals import protocols
from castor.evals.benchmark import Benchmark, Problem, answered

GENERATED = 400  # problems of a generated task
PASSAGES = 400  # passages of a text corpus, spread evenly over it
RIVALS = 20  # names that a drawn emoji is told apart from, its own included


def held_out(spec: SourceSpec, *, most: int | None = None) -> Callable[[Path], list[Problem]]:
    """The documents of a source's evaluation split; `most` of them, evenly spread, if there are
    more."""

    def problems(data: Path) -> list[Problem]:
        source = spec.open(data, "eval")
        count = len(source) if most is None else min(most, len(source))
        rng = np.random.default_rng(0)
        chosen = (int(i) for i in np.arange(count) * (len(source) // count))
        return [answered(source.document(i, rng)) for i in chosen]

    return problems


def judged(data: Path) -> list[Problem]:
    """Sentences about boxes, to be judged after looking."""
    return [replace(p, prompt=_looking(p.prompt)) for p in held_out(Nlvr())(data)]


def scenes(data: Path) -> list[Problem]:
    """Sentences to draw, of combinations that no training scene has; needs no data."""
    source = Playground("draw").open(data, "eval")
    rng = np.random.default_rng(0)
    return [
        Problem(_asked(source.document(i, rng)), "", truth=source.scene(i))
        for i in range(GENERATED)
    ]


def emoji_by_name(data: Path) -> list[Problem]:
    """Names of training emoji to draw, each with the names of 19 others to be told from."""
    source = Emoji("name").open(data, "train")
    rng = np.random.default_rng(0)
    names = [answered(source.document(i, rng)).answer for i in range(len(source))]
    problems: list[Problem] = []
    chosen: list[int] = rng.permutation(len(names))[:GENERATED].tolist()
    for i in chosen:
        others: list[int] = rng.permutation(len(names))[: 2 * RIVALS].tolist()
        choices = tuple(dict.fromkeys([names[i], *(names[k] for k in others)]))[:RIVALS]
        prompt = Document.of(
            Emoji.asks["draw"][0].format(names[i]), origin=f"emoji/draw/{names[i]}"
        )
        problems.append(Problem(prompt, names[i], choices))
    return problems


def unseen_pictures(data: Path) -> list[Problem]:
    """Emoji of the evaluation split, to be sent through the codec."""
    source = Emoji("draw").open(data, "eval")
    return [
        Problem(Document.of(), "", truth=open_image(picture.data, picture.mime))
        for picture in source.pictures()
    ]


def unseen_together(data: Path) -> list[Problem]:
    """The same pictures, as one set."""
    pictures = [problem.truth for problem in unseen_pictures(data)]
    return [Problem(Document.of(), "", truth=np.stack(pictures))] if pictures else []


def _looking(document: Document) -> Document:
    turn = document.turns[-1]
    return replace(document, turns=(replace(turn, parts=(*turn.parts, Text(f" {LOOK}"))),))


def _asked(document: Document) -> Document:
    return replace(document, turns=document.turns[:-1])


def _table(*benchmarks: Benchmark) -> dict[str, Benchmark]:
    return {benchmark.name: benchmark for benchmark in benchmarks}


_asks = partial(Benchmark, controls=True)
_seen = partial(_asks, protocol=protocols.answers)
_made = partial(held_out, most=GENERATED)

SUITE = _table(
    _seen(
        "fsdd",
        held_out(Fsdd()),
        what="spoken digits",
        paper="Jackson et al. 2018, Free Spoken Digit Dataset",
    ),
    _seen(
        "esc10",
        held_out(Esc10()),
        what="sound events, unseen fold",
        paper="Piczak 2015, ESC: Dataset for Environmental Sound Classification",
    ),
    _seen(
        "easy_vqa",
        held_out(EasyVqa()),
        what="questions about drawn shapes",
        paper="Zhou 2019, easy-VQA",
    ),
    _asks(
        "nlvr",
        judged,
        protocols.conclusions,
        what="true or false of a drawn scene",
        paper="Suhr et al. 2017, ACL P17-2034",
    ),
    _seen(
        "cifar10",
        held_out(Cifar10()),
        what="photo class as a word",
        paper="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    ),
    _seen("motion", held_out(MovingEmoji()), what="motion and order of unseen sprites"),
    Benchmark(
        "emoji",
        held_out(Emoji("name", side=96)),
        protocols.tokens,
        what="names of unseen emoji, share of tokens",
        controls=True,
    ),
    Benchmark(
        "read_speech",
        held_out(ReadSpeech()),
        protocols.transcripts,
        what="read sentences, word error rate",
        better="lower",
        controls=True,
        paper="Ito & Johnson 2017, The LJ Speech Dataset",
    ),
    Benchmark(
        "books",
        held_out(Books(), most=PASSAGES),
        protocols.bits,
        what="books by unseen authors",
        unit="bits/byte",
        better="lower",
    ),
    Benchmark(
        "bibles",
        held_out(Corpus("bibles"), most=PASSAGES),
        protocols.bits,
        what="passages in twenty languages",
        unit="bits/byte",
        better="lower",
    ),
    Benchmark(
        "codec",
        unseen_pictures,
        protocols.reconstructions,
        what="unseen 64-pixel drawings through the codec",
        unit="dB",
    ),
    Benchmark(
        "codebook",
        unseen_together,
        protocols.codes_in_use,
        what="codes that those drawings use",
    ),
    Benchmark("draw", scenes, protocols.drawings, what="attributes of drawn scenes, read back"),
    Benchmark(
        "emoji_draw",
        emoji_by_name,
        protocols.recognised_emoji,
        what="drawn emoji named first of 20",
    ),
    _seen("shapes", _made(Playground("shapes")), what="playground: shapes"),
    _seen("charts", _made(Playground("charts")), what="playground: charts"),
    _seen("digits", _made(Playground("digits")), what="playground: printed digits and words"),
    _seen("sounds", _made(Playground("sounds")), what="playground: tones"),
    _seen("speech", _made(Playground("speech")), what="playground: syllables"),
    _seen("clips", _made(Playground("motion")), what="playground: moving things"),
    Benchmark("sums", _made(Playground("sums")), protocols.answers, what="playground: arithmetic"),
)
