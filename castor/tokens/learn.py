"""Learn a vocabulary from a sample of a whole corpus, and measure how well it covers scripts."""

import io
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import sentencepiece

from castor.tokens.vocab import CONTROLS, Vocab

NEWLINES = ("\n", "\n\n", "\t")  # one id each: lines are cut here before learning


def learn(texts: Iterable[str], *, size: int, codes: int = 0) -> Vocab:
    """A vocabulary of `size` text ids (control and byte ids included) and `codes` picture codes.

    BPE with byte fallback, digits split, no normalisation, no added space at the front, and runs
    of white space kept. The same texts in the same order give the same vocabulary.

    Raises:
        ValueError: `size` leaves no room for pieces, or the texts are too few to fill it.
    Paper: Kudo & Richardson 2018, arXiv:1808.06226; Sennrich et al. 2016, arXiv:1508.07909.
    """
    if size < CONTROLS + 256 + len(NEWLINES) + 1:
        raise ValueError(
            f"a vocabulary of {size} ids has no room for pieces: "
            f"{CONTROLS} control ids and 256 bytes come first"
        )
    lines = (line for text in texts for line in text.splitlines() if line)
    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=out,
            vocab_size=size,
            model_type="bpe",
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            character_coverage=0.9995,
            pad_id=0,
            eos_id=1,
            bos_id=2,
            unk_id=3,
            control_symbols=[f"<control_{i}>" for i in range(4, CONTROLS)],
            user_defined_symbols=list(NEWLINES),
            num_threads=1,  # several threads may order equal pairs differently
            max_sentence_length=65536,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(f"the texts do not fill a vocabulary of {size} ids ({error})") from None
    return Vocab(out.getvalue(), codes=codes)


class Fertility(NamedTuple):
    """Tokens that a vocabulary spends on one language or script."""

    name: str
    tokens: int
    characters: int
    bytes: int

    @property
    def per_character(self) -> float:
        return self.tokens / self.characters

    @property
    def per_byte(self) -> float:
        return self.tokens / self.bytes


def fertility(vocab: Vocab, texts: Mapping[str, str]) -> list[Fertility]:
    """Tokens per character and per byte of each named text, the costliest per byte last."""
    found = [
        Fertility(name, len(vocab.encode(text)), len(text), len(text.encode()))
        for name, text in texts.items()
        if text
    ]
    return sorted(found, key=lambda row: row.per_byte)


def by_script(texts: Mapping[str, str]) -> dict[str, str]:
    """The same texts joined by the script that most of their letters are written in."""
    joined: dict[str, list[str]] = {}
    for text in texts.values():
        joined.setdefault(script(text), []).append(text)
    return {name: "\n".join(parts) for name, parts in joined.items()}


def script(text: str) -> str:
    """The commonest script of a text's letters, by their Unicode names, e.g. "Latin"."""
    counts: dict[str, int] = {}
    for letter in filter(str.isalpha, text[:2000]):
        word = unicodedata.name(letter, "UNKNOWN").split()[0].capitalize()
        counts[word] = counts.get(word, 0) + 1
    return max(counts, key=lambda name: counts[name], default="None")


def plot(rows: list[Fertility], path: Path) -> None:
    """Bars of tokens per character and per byte, one pair per row, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.24 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [row.name for row in rows]
    left.barh(names, [row.per_character for row in rows], color="#3b6ea5")
    right.barh(names, [row.per_byte for row in rows], color="#c8553d")
    left.set_xlabel("tokens per character")
    right.set_xlabel("tokens per byte")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)
