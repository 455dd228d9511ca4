"""Sources of plain text: books, scripture in twenty languages, speeches, verse, articles.

Files stay on disk: only the places where passages begin and end are in memory. Every source here
yields pages, which packing may cut to fill rows.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal
from zlib import crc32

import numpy as np

from castor.core.content import Document, Media
from castor.data.index import read_jsonl
from castor.data.source import Choice, Listed, Source, Split

PASSAGE = 1800  # bytes of a passage, at most; about 500 tokens
EVAL_ONE_IN = 20  # passages of a text without authors that are held out

# Books by anybody else are held out. In the folder as published those are Bram Stoker, Edith
# Nesbit, Emily Bronte, Frederick Douglass, H.G. Wells, Kate Chopin and Rudyard Kipling.
_AUTHORS = """
Alexander_Pushkin Anonymous Anthony_Trollope Anton_Chekhov Aristotle Arrian Arthur_Conan_Doyle
Arthur_Machen Camille_Flammarion Carl_von_Clausewitz Charles_A._Gunnison Charles_Dickens
Charlotte_Dacre Dante David_Hume Edgar_Allan_Poe Elizabeth_Stuart_Phelps Emily_Dickinson
Fitz_James_O'Brien Frances_Hodgson_Burnett Friedrich_Nietzsche Fyodor_Dostoyevsky
Gabrielle-Suzanne_Barbot_de_Villeneuve George_Eliot Giovanni_Boccaccio Gustave_Flaubert
H._Rider_Haggard Henry_David_Thoreau Henry_Fielding Henry_van_Dyke Honoré_de_Balzac Horace_Walpole
Ivan_Turgenev Jane_Austen John_Milton John_Stuart_Mill Joseph_Conrad L._Frank_Baum Lewis_Carroll
Louisa_May_Alcott M.R._James Mark_Twain Martin_Luther Mary_E._Bradley_Lane Mary_Wollstonecraft
Molière Nathaniel_Hawthorne Owen_Wister Richard_Jefferies Robert_W._Chambers Samuel_Butler
Sarah_Orne_Jewett Stephen_Crane Sören_Kierkegaard Tacitus The_Brothers_Grimm Thomas_Malory Various
Vernon_Lee Virgil Voltaire W.B._Yeats W.H._Hudson Wilkie_Collins Willa_Cather
William_Makepeace_Thackeray
"""
TRAINING_AUTHORS = frozenset(_AUTHORS.split())


@dataclass(frozen=True)
class Books:
    """Public-domain books, one file each, named AUTHOR__TITLE.md. Open.

    Training reads the books of TRAINING_AUTHORS; evaluation reads all others, so nobody's book is
    in both, whatever the folder holds.
    """

    home: ClassVar[str] = "https://www.gutenberg.org, saved as AUTHOR__TITLE.md"

    @property
    def name(self) -> str:
        return "books"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder is missing, or it has no book for the split."""
        folder = data / "text_corpus/books"
        files = [
            path
            for path in _files(folder, ("*.md", "*.txt"), self.home)
            if (path.name.split("__")[0] in TRAINING_AUTHORS) == (split == "train")
        ]
        if not files:
            whose = "a training author" if split == "train" else "anybody but training authors"
            raise ValueError(f"{folder} has no book by {whose}; see TRAINING_AUTHORS in texts.py")
        return Passages(self.name, files)


@dataclass(frozen=True)
class Corpus:
    """One of the smaller text collections; one passage in twenty is for evaluation."""

    part: Literal[
        "bibles", "speeches", "genesis", "udhr", "shakespeare", "poetry", "wiki", "c4"
    ] = "bibles"

    where: ClassVar[dict[str, tuple[str, ...]]] = {
        "bibles": ("bibles/*.tsv",),
        "speeches": ("nltk/inaugural/[0-9]*.txt", "nltk/state_union/*.txt"),
        "genesis": ("nltk/genesis/*.txt",),
        "udhr": ("nltk/udhr2/*.txt",),
        "shakespeare": ("tinyshakespeare.txt",),
        "wiki": ("wiki/*.txt",),
        "poetry": ("chinese_poetry/*.json",),
        "c4": ("wiki/*.jsonl",),
    }
    home: ClassVar[dict[str, str]] = {
        "bibles": "https://github.com/christos-c/bible-corpus",
        "shakespeare": "https://github.com/karpathy/char-rnn",
        "poetry": "https://github.com/chinese-poetry/chinese-poetry",
        "wiki": "https://huggingface.co/datasets/Salesforce/wikitext",
        "c4": "https://huggingface.co/datasets/allenai/c4",
    }

    @property
    def name(self) -> str:
        return self.part

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: there is no such file."""
        home = self.home.get(self.part, "https://www.nltk.org/nltk_data/")
        files = _files(data / "text_corpus", self.where[self.part], home)
        if self.part == "poetry":
            return _texts(self.name, split, [text for path in files for text in poems(path)])
        if self.part == "c4":
            found = [str(r.get("text", "")) for path in files for _, r in read_jsonl(path)]
            return _texts(self.name, split, found)
        clean = _verses if self.part == "bibles" else str
        return Passages(self.name, files, keep=(split, EVAL_ONE_IN), clean=clean)


class Passages:
    """Text files as passages of at most PASSAGE bytes, cut where a paragraph or a line ends.

    With `keep`, only the passages of one split are there; the rule is a constant hash of the file
    name and the passage number. Files that are not UTF-8 are read as Latin-1.
    """

    fills = True

    def __init__(
        self,
        name: str,
        files: list[Path],
        *,
        keep: tuple[Split, int] | None = None,
        clean: Callable[[str], str] = str,
    ) -> None:
        self.name, self._files, self._clean = name, files, clean
        self._encodings: list[str] = []
        places: list[tuple[int, int, int]] = []
        for number, path in enumerate(files):
            data = path.read_bytes()
            self._encodings.append(_encoding(data))
            ends = [0, *cuts(data)]
            for i, (start, end) in enumerate(zip(ends, ends[1:], strict=False)):
                if keep is None or (keep[0] == "eval") == _held_out(path.name, i, keep[1]):
                    places.append((number, start, end))
        if not places:
            whose = f" for the split {keep[0]!r}" if keep else ""
            raise ValueError(
                f"the {len(files)} files of {name!r} hold no text{whose}: {files[0]}, …"
            )
        self._places = np.array(places, np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def document(self, i: int, rng: np.random.Generator) -> Document:
        number, start, end = self._places[i].tolist()
        path = self._files[number]
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
        text = self._clean(data.decode(self._encodings[number]))
        return Document.of(text, role="page", origin=f"{self.name}/{path.stem}#{start}")

    def pictures(self) -> Iterator[Media]:
        yield from ()


def cuts(data: bytes, size: int = PASSAGE) -> list[int]:
    """Where passages end: after a paragraph, else a line, else a word, else a whole character."""
    ends: list[int] = []
    start = 0
    while start < len(data):
        end = start + size
        if end >= len(data):
            ends.append(len(data))
            break
        for mark in (b"\n\n", b"\n", b" "):
            found = data.rfind(mark, start + size // 2, end)
            if found > 0:
                end = found + len(mark)
                break
        else:
            while data[end] & 0xC0 == 0x80:  # within a character of UTF-8
                end -= 1
        ends.append(end)
        start = end
    return ends


def poems(path: Path) -> list[str]:
    """The poems of one JSON file: title, author and lines of each.

    Raises:
        ValueError: the file is no JSON.
    """
    try:
        return list(_poems(json.loads(path.read_text(encoding="utf-8"))))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: no JSON ({error})") from None


def _poems(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for entry in node:
            yield from _poems(entry)
    if not isinstance(node, dict):
        return
    for field in ("paragraphs", "content", "para", "description"):
        body = node.get(field)
        lines = [body] if isinstance(body, str) else body
        if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
            named = (node.get(k) for k in ("title", "rhythmic", "chapter", "name", "author"))
            head = " ".join(dict.fromkeys(n for n in named if n))
            yield "\n".join([head, *lines] if head else lines)
        else:
            yield from _poems(lines)


def _texts(name: str, split: Split, texts: list[str]) -> Source:
    kept = [
        (i, text)
        for i, text in enumerate(texts)
        if text and (split == "eval") == _held_out(name, i, EVAL_ONE_IN)
    ]
    return Listed(name, split, kept, _Page(name), fills=True)


@dataclass(frozen=True)
class _Page:
    name: str

    def __call__(self, item: tuple[int, str], choice: Choice) -> Document:
        return Document.of(item[1], role="page", origin=f"{self.name}#{item[0]}")


def _held_out(name: str, number: int, one_in: int) -> bool:
    return (crc32(name.encode()) + number) % one_in == 0


def _verses(text: str) -> str:
    """Lines without the verse numbers before the tab."""
    return "\n".join(line.split("\t", 1)[-1] for line in text.splitlines())


def _encoding(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _files(folder: Path, patterns: tuple[str, ...], home: str) -> list[Path]:
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    if not found:
        wanted = " or ".join(f"{folder}/{pattern}" for pattern in patterns)
        raise ValueError(f"looked for {wanted} and found none; the texts come from {home}")
    return [path for path in found if path.name != "README"]
