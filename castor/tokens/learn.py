"""Learn a vocabulary from a sample of a whole corpus, and measure how well it covers scripts."""

import heapq
import io
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import sentencepiece

from castor.core.files import write_atomic
from castor.tokens.vocab import CONTROLS, Vocab

NEWLINES = ("\n", "\n\n", "\t")  # one id each: lines are cut here before learning
FEWEST = CONTROLS + 256 + len(NEWLINES) + 1  # ids of a vocabulary: those, bytes, a piece
AS_IT_IS: dict[str, Any] = {  # BPE of texts as they are, for SentencePiece's trainer
    "model_type": "bpe",
    "byte_fallback": True,
    "split_digits": True,
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
}
LINE = 8192  # characters of a line that are learned from as one
COLORS = {"character": "#3b6ea5", "byte": "#c8553d"}
SCRIPT = re.compile(  # what follows a script in the Unicode name of a letter
    " (?:SMALL|CAPITAL|LETTER|CHARACTER|SYLLAB|UNIFIED|COMPATIBILITY|IDEOGRAPH|LIGATURE)"
)


def learn(
    texts: Iterable[str], *, size: int, codes: int = 0, characters: int = 30_000_000
) -> Vocab:
    """A vocabulary of `size` text ids (control and byte ids included) and `codes` picture codes.

    BPE with byte fallback, digits split, no normalisation, no added space at the front, and runs
    of white space kept. Of texts that are longer in all, an even sample of `characters` is learned
    from. The same texts in the same order give the same vocabulary.

    Raises:
        ValueError: `size` leaves no room for pieces or is too small for the characters of the
            texts, or the texts are too few to fill it.
    Paper: Kudo & Richardson 2018, arXiv:1808.06226; Sennrich et al. 2016, arXiv:1508.07909.
    """
    if size < FEWEST:
        raise ValueError(
            f"a vocabulary of {size} ids has no room for pieces: {CONTROLS} control ids, 256 bytes "
            f"and {len(NEWLINES)} line ends come first"
        )
    lines = sample(texts, characters=characters)
    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=out,
            vocab_size=size,
            **AS_IT_IS,
            character_coverage=0.9995,  # rarer characters are spelled in bytes
            pad_id=0,
            eos_id=1,
            bos_id=2,
            unk_id=3,
            control_symbols=[f"<control_{i}>" for i in range(4, CONTROLS)],
            user_defined_symbols=list(NEWLINES),
            num_threads=1,  # several threads may order equal pairs differently
            max_sentence_length=4 * LINE,
            minloglevel=4,
        )
    except RuntimeError as error:
        raise ValueError(_refusal(size, str(error))) from None
    return Vocab(out.getvalue(), codes=codes)


def _refusal(size: int, error: str) -> str:
    """What SentencePiece did not like, in a sentence."""
    if few := re.search(r"value <= (\d+)", error):
        return f"the texts are too few for a vocabulary of {size} ids; they fill only {few[1]}"
    if small := re.search(r"\d+ vs (\d+)", error):
        return f"{size} ids are too few for the characters of these texts; take at least {small[1]}"
    return f"the texts hold nothing to learn a vocabulary from ({error})"


def sample(texts: Iterable[str], *, characters: int) -> list[str]:
    """Lines of the texts in their order: all, or an even draw of about that many characters.

    One pass; only what is drawn is kept in memory. Every line has the same chance.
    """
    drawn: list[tuple[float, int, str]] = []
    draw, held = random.Random(0), 0
    for number, line in enumerate(_lines(texts)):
        heapq.heappush(drawn, (-draw.random(), number, line))
        held += len(line)
        while held > characters and len(drawn) > 1:
            held -= len(heapq.heappop(drawn)[2])
    return [line for _, _, line in sorted(drawn, key=lambda entry: entry[1])]


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines that are not empty, long ones in pieces, so that nothing is too long to learn from."""
    for text in texts:
        for line in text.splitlines():
            for start in range(0, len(line), LINE):
                yield line[start : start + LINE]


class Fertility(NamedTuple):
    """Tokens that a vocabulary spends on one language or script."""

    name: str
    tokens: int
    characters: int
    bytes: int
    script: str

    @property
    def per_character(self) -> float:
        return self.tokens / self.characters

    @property
    def per_byte(self) -> float:
        return self.tokens / self.bytes


def fertility(vocab: Vocab, texts: Mapping[str, str]) -> list[Fertility]:
    """Tokens per character and per byte of each named text, the costliest per character last."""
    found = [
        Fertility(name, len(vocab.encode(text)), len(text), len(text.encode()), script(text))
        for name, text in texts.items()
        if text
    ]
    return sorted(found, key=lambda row: row.per_character)


def by_script(texts: Mapping[str, str]) -> dict[str, str]:
    """The same texts joined by the script that most of their letters are written in."""
    joined: dict[str, list[str]] = {}
    for text in texts.values():
        joined.setdefault(script(text), []).append(text)
    return {name: "\n".join(parts) for name, parts in joined.items()}


def script(text: str) -> str:
    """The commonest script of a text's letters, by their Unicode names, e.g. "Canadian"."""
    counts = Counter(SCRIPT.split(unicodedata.name(c, "Unknown"))[0] for c in _letters(text))
    return counts.most_common(1)[0][0].title().replace("Cjk", "Chinese") if counts else "None"


def plot(rows: Sequence[Fertility], path: Path | str) -> None:
    """Tokens per character and per byte, as a PNG: a bar for each script, a dot for each row."""
    from matplotlib.figure import Figure

    scripts: dict[str, list[Fertility]] = {}
    for row in rows:
        scripts.setdefault(row.script, []).append(row)
    cost = {name: _mean([row.per_character for row in group]) for name, group in scripts.items()}
    names = sorted(scripts, key=lambda name: cost[name])
    labels = [f"{name} ({len(scripts[name])})" for name in names]
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(names)), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (unit, color) in zip(panels, COLORS.items(), strict=True):
        costs = [[getattr(row, f"per_{unit}") for row in scripts[name]] for name in names]
        axes.barh(labels, [_mean(group) for group in costs], color=color, alpha=0.45)
        for place, group in enumerate(costs):
            axes.plot(group, [place] * len(group), ".", color=color, markersize=4)
        axes.set_xlabel(f"tokens per {unit}")
        axes.set_xlim(left=0)
        axes.margins(y=0.01)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    panels[0].invert_yaxis()
    out = io.BytesIO()
    cast(Any, figure).savefig(out, format="png")
    write_atomic(path, out.getvalue())


def _letters(text: str) -> Iterator[str]:
    return (c for c in text[:4000] if c.isalpha() and unicodedata.category(c) != "Lm")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
