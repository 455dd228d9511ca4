"""`castor vocab`: learn a vocabulary, and see what it costs which script and language."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from castor.cli.flags import Verbs, add_group, add_verb, count

if TYPE_CHECKING:
    from castor.data.texts import Passages
    from castor.tokens.learn import Fertility

FEW = 12  # languages that are shown from each end of a long list


def add(verbs: Verbs) -> None:
    """The verb's own verbs and their flags."""
    inner = add_group(verbs, "vocab", what="learn a vocabulary, or report what one costs")
    verb = add_verb(inner, "learn", learn, what="learn a vocabulary from a sample of text files")
    verb.add_argument(
        "texts", metavar="PATH", nargs="+", type=Path, help="text files, or folders of .txt and .md"
    )
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="what to write")
    verb.add_argument(
        "--size",
        metavar="N",
        type=count,
        default=4096,
        help="text ids, control ids and bytes included (default: 4096)",
    )
    verb.add_argument(
        "--codes",
        metavar="N",
        type=count,
        default=1000,
        help="picture codes after them, for the report (default: 1000)",
    )
    verb.add_argument(
        "--sample",
        metavar="MB",
        type=count,
        default=8,
        help="most text to learn from, spread evenly over all files (default: 8)",
    )
    verb = add_verb(
        inner,
        "report",
        report,
        what="tokens per character and per byte, by script and by language",
        more="Texts are files named by their language, such as the udhr2 folder of nltk_data.",
    )
    verb.add_argument(
        "vocab", metavar="PATH", type=Path, help="a vocabulary, a checkpoint or a run"
    )
    verb.add_argument(
        "--texts",
        metavar="DIR",
        type=Path,
        required=True,
        help="a folder with one text file for each language",
    )
    verb.add_argument("--plot", metavar="FILE", type=Path, help="write a plot as PNG")
    verb.add_argument("--all", action="store_true", help="every language, not the ends of the list")
    verb.add_argument("--json", action="store_true", help="print all rows as JSON")


def learn(arguments: argparse.Namespace) -> None:
    """Sample, learn, write, and say what came of it."""
    from castor.data.texts import PASSAGE, Passages
    from castor.tokens.learn import fertility
    from castor.tokens.learn import learn as learn_vocab

    passages = Passages("sample", text_files(arguments.texts))
    step = max(1, len(passages) * PASSAGE // max(1, arguments.sample * 1_000_000))
    texts = list(texts_of(passages, step=step))
    vocab = learn_vocab(texts, size=arguments.size, codes=arguments.codes)
    vocab.save(arguments.out)
    (row,) = fertility(vocab, {"sample": "".join(texts)})
    print(
        f"wrote {arguments.out}: {vocab.text_size} text ids from {row.bytes / 1e6:.1f} MB, "
        f"{row.per_byte:.3f} tokens per byte there, digest {vocab.digest}"
    )


def report(arguments: argparse.Namespace) -> None:
    """A table, and a plot where one is asked for."""
    import json

    from castor.checkpoint import VOCAB, newest
    from castor.cli.screen import table
    from castor.data.texts import Passages
    from castor.tokens.learn import by_script, fertility, plot
    from castor.tokens.vocab import Vocab

    folder = newest(arguments.vocab)
    vocab = Vocab.load(folder / VOCAB if folder else arguments.vocab, codes=0)
    files = text_files([arguments.texts])
    texts = {path.stem: "".join(texts_of(Passages(path.stem, [path]))) for path in files}
    scripts, languages = fertility(vocab, by_script(texts)), fertility(vocab, texts)
    if arguments.plot:
        plot(languages, arguments.plot)
        print(f"wrote {arguments.plot}", file=sys.stderr)
    if arguments.json:
        kinds = {"scripts": scripts, "languages": languages}
        print(json.dumps({kind: [row._asdict() for row in rows] for kind, rows in kinds.items()}))
        return

    few = len(languages) <= 2 * FEW or arguments.all
    chosen = languages if few else [*languages[:FEW], *languages[-FEW:]]
    heads = ("tokens per character", "per byte", "bytes of text")
    table(("script", *heads), [cells(row) for row in scripts])
    print()
    title = "" if few else f"the cheapest and the costliest {FEW} of {len(languages)} languages"
    table(("language", *heads), [cells(row) for row in chosen], title=title)


def cells(row: "Fertility") -> tuple[str, ...]:
    """One row of the table."""
    return row.name, f"{row.per_character:.2f}", f"{row.per_byte:.3f}", f"{row.bytes:,}"


def text_files(paths: Sequence[Path]) -> list[Path]:
    """The files, and those in the folders, that are not empty.

    Raises:
        ValueError: there is none.
    """
    inside = [[p] if p.is_file() else sorted(p.rglob("*")) for p in paths]
    found = [
        file
        for path, files in zip(paths, inside, strict=True)
        for file in files
        if file == path or (file.suffix in (".txt", ".md") and file.stat().st_size)
    ]
    if not found:
        raise ValueError(f"found no .txt or .md file at {', '.join(map(str, paths))}")
    return found


def texts_of(passages: "Passages", *, step: int = 1) -> Iterator[str]:
    """The text of every `step`-th passage."""
    import numpy as np

    rng = np.random.default_rng(0)
    for i in range(0, len(passages), step):
        for part in passages.document(i, rng).turns[0].parts:
            yield getattr(part, "text", "")
