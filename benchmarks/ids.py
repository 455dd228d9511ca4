"""Ids of texts in many languages: ours of a folder's tokenizer beside SentencePiece's.

    python benchmarks/ids.py DIR [--lines 10000] [--size 12000] [--seed 0]

DIR holds text files, e.g. the Universal Declaration of Human Rights, one for each language. A
tokenizer of Gemma's kind is learned from them, kept as `tokenizer.model` and as `tokenizer.json`,
and read back from both. Prints one JSON object; exits with 1 where an id differs.
"""

import argparse
import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from castor.interop.tokenizer import vocabulary
from castor.tokens.learn import AS_IT_IS
from castor.tokens.vocab import Vocab

TURNS = ("<start_of_turn>", "<end_of_turn>")
WHOLE = (
    *("<mask>", "[multimodal]", *(f"<unused{i}>" for i in range(20)), *TURNS),
    *("\n" * n for n in range(1, 12)),
    *("\u2581" * n for n in range(2, 12)),
    *("<table>", "<b>", "</b>"),
)
FIRST = ("<pad>", "<eos>", "<bos>", "<unk>")


def main() -> int:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("texts", metavar="DIR", type=Path)
    flags.add_argument("--lines", type=int, default=10_000)
    flags.add_argument("--size", type=int, default=12_000)
    flags.add_argument("--seed", type=int, default=0)
    given = flags.parse_args()
    files = sorted(path for path in given.texts.iterdir() if path.is_file())
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    lines = [line for text in texts for line in text.split("\n")]
    random.Random(given.seed).shuffle(lines)
    model = learned(lines, given.size)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    wanted = [theirs.encode(line) for line in lines[: given.lines]]
    found: dict[str, Any] = {"files": len(files), "lines": len(wanted), "ids": given.size}
    for name, content in (("tokenizer.model", model), ("tokenizer.json", fast(theirs))):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(content)
            began = time.perf_counter()
            ours = vocabulary(Path(folder), kind="gemma2", size=-(-given.size // 128) * 128)
            seconds = time.perf_counter() - began
        found[name] = {"read_s": round(seconds, 2)} | compared(ours, lines, wanted)
    print(json.dumps(found))
    return int(any(found[name]["different"] for name in ("tokenizer.model", "tokenizer.json")))


def learned(lines: Sequence[str], size: int) -> bytes:
    """A SentencePiece model with Gemma's settings."""
    out = io.BytesIO()
    frame: dict[str, Any] = {f"{name[1:-1]}_id": i for i, name in enumerate(FIRST)}
    frame |= {f"{name[1:-1]}_piece": name for name in FIRST}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in lines if line.strip()][:30_000]),
        model_writer=out,
        vocab_size=size,
        **AS_IT_IS,
        user_defined_symbols=list(WHOLE),
        minloglevel=2,
        **frame,
    )
    return out.getvalue()


def fast(theirs: Any) -> bytes:
    """The same as a `tokenizer.json`, with its merges in the order of the pieces' scores."""
    names = [theirs.id_to_piece(i) for i in range(theirs.get_piece_size())]
    table = {name: i for i, name in enumerate(names)}
    ways = [
        (name[:n], name[n:])
        for name in sorted(names, key=lambda name: -theirs.get_score(table[name]))
        for n in range(1, len(name))
        if name[:n] in table and name[n:] in table
    ]
    added = [
        {"id": table[name], "content": name, "special": name in (*FIRST, *TURNS)}
        for name in (*FIRST, *WHOLE)
    ]
    model = {"type": "BPE", "byte_fallback": True, "vocab": table, "merges": ways}
    return json.dumps({"added_tokens": added, "model": model}).encode()


def compared(ours: Vocab, lines: Sequence[str], wanted: Sequence[list[int]]) -> dict[str, Any]:
    """How many lines have other ids, and how fast ours are made."""
    began = time.perf_counter()
    mine = [ours.encode(line) for line in lines[: len(wanted)]]
    seconds = time.perf_counter() - began
    size = sum(len(line.encode()) for line in lines[: len(wanted)])
    different = sum(a != b for a, b in zip(mine, wanted, strict=True))
    return {"different": different, "mb_per_s": round(size / 1e6 / seconds, 2)}


if __name__ == "__main__":
    sys.exit(main())
