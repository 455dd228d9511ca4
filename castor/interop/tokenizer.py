"""The tokenizer of a Hugging Face folder as a Vocab: `tokenizer.model`, else `tokenizer.json`.

Invariant: ids of texts are those of the SentencePiece model that the family was trained with, but
that no text reaches a control id: those are found by their names and taken out of reach.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from castor.tokens.proto import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Piece,
    bpe_model,
    pieces_of,
    with_pieces,
)
from castor.tokens.vocab import Vocab

MODEL, FAST, SETTINGS = "tokenizer.model", "tokenizer.json", "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
NAMED = re.compile(  # what is no text in any of these families, whatever its file says
    r"<\|[^<>]*>|<[^<>]*\|>|<(start|end)_(of|function)_[a-z]+>|<[a-z]+_soft_token>"
    r"|<(pad|eos|bos|unk|mask|escape|2mass|unused\d+)>|\[(multimodal|@BOS@)\]"
)
BYTES = re.compile(r"<0x[0-9A-F]{2}>")
# A dialogue's name, the families that may speak it, and the control piece that shows it.
SPOKEN = (
    ("gemma4", ("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text"), "<|turn>"),
    ("functiongemma", ("gemma3_text",), "<start_function_call>"),
    ("gemma3", ("gemma3",), "<image_soft_token>"),
    ("gemma", ("gemma", "gemma2", "gemma3_text", "gemma3", "vaultgemma"), "<start_of_turn>"),
)

Files = Mapping[str, Mapping[str, Any]]  # the JSON files of a folder, by name


def vocabulary(folder: Path, *, kind: str, size: int, dialogue: str | None = None) -> Vocab:
    """The vocabulary of a model of a `model_type` with so many ids.

    Its dialogue is the family's, "plain" where the vocabulary has no turns, or another that is
    asked for.

    Raises:
        ValueError: there is no tokenizer that we read, it has more ids than the model, or its chat
            template is of another kind than the dialogue.
    """
    files = {name: _json(folder / name) for name in (SETTINGS, FAST) if (folder / name).is_file()}
    model, pieces = _model(folder, files)
    pieces = _with_added(folder, pieces, files)
    found = dialogue or _spoken(kind, pieces)
    try:
        vocab = Vocab(with_pieces(model, pieces), codes=0, dialogue=found, size=size)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    if dialogue is None:
        _refuse_other(folder, found, _template(folder, files))
    return vocab


def _model(folder: Path, files: Files) -> tuple[bytes, list[Piece]]:
    """A SentencePiece model, and the pieces that it should have."""
    if (folder / MODEL).is_file():
        model = (folder / MODEL).read_bytes()
        try:
            return model, pieces_of(model)
        except ValueError as error:
            raise ValueError(f"{folder / MODEL}: {error}") from None
    if FAST in files:
        pieces = _fast_pieces(folder / FAST, files[FAST])
        return bpe_model(pieces), pieces
    raise ValueError(f"{folder} has neither {MODEL} nor {FAST}, so nothing can be said in its ids")


def _with_added(folder: Path, pieces: Sequence[Piece], files: Files) -> list[Piece]:
    """All pieces with those that the JSON files add, no control piece in reach of a text."""
    pieces = list(pieces)
    for i, name, special in _added(folder, files):
        pieces += [Piece(f"<unused_{n}>", 0.0, UNUSED) for n in range(len(pieces), i + 1)]
        kind = CONTROL if special else USER_DEFINED
        before = pieces[i]
        if before.kind not in (UNKNOWN, BYTE) and (special or before.kind == UNUSED):
            pieces[i] = Piece(name, before.score, kind)
    return [
        piece._replace(kind=CONTROL)
        if NAMED.fullmatch(piece.text) and piece.kind not in (UNKNOWN, BYTE)
        else piece
        for piece in pieces
    ]


def _added(folder: Path, files: Files) -> list[tuple[int, str, bool]]:
    """Id, text and whether it is special, of each piece that the JSON files add, by id."""
    found: dict[int, tuple[str, bool]] = {}
    for data in files.values():
        told = data.get("added_tokens") or [
            {"id": int(i), **entry} for i, entry in (data.get("added_tokens_decoder") or {}).items()
        ]
        for entry in told:
            found[int(entry["id"])] = str(entry["content"]), bool(entry.get("special"))
    if found and max(found) >= 2**24:
        raise ValueError(f"{folder}: its tokenizer adds id {max(found)}, and no model has so many")
    return [(i, *found[i]) for i in sorted(found)]


def _fast_pieces(file: Path, data: Mapping[str, Any]) -> list[Piece]:
    """The pieces of a `tokenizer.json`.

    Raises:
        ValueError: it is no BPE with byte fallback, or merges as no SentencePiece model does.
    """
    model = data.get("model") or {}
    if model.get("type") != "BPE" or not model.get("byte_fallback"):
        raise ValueError(f"{file} is no BPE with byte fallback, as all families that we read have")
    vocab: dict[str, int] = model["vocab"]
    if sorted(vocab.values()) != list(range(len(vocab))):
        raise ValueError(f"{file}: its ids are not 0 to {len(vocab) - 1}, each once")
    added = {entry["content"] for entry in data.get("added_tokens") or []}
    ranks = _ranks(file, vocab, model["merges"], whole=added)
    pieces = [Piece("", 0.0, NORMAL)] * len(vocab)
    for text, i in vocab.items():
        if text == "<unk>":
            kind = UNKNOWN
        elif BYTES.fullmatch(text):
            kind = BYTE
        else:
            kind = USER_DEFINED if text in added else NORMAL
        pieces[i] = Piece(text, -float(ranks.get(text, 0)), kind)
    return pieces


def _ranks(
    file: Path, vocab: Mapping[str, int], merges: Sequence[Any], *, whole: set[str]
) -> dict[str, int]:
    """The order in which pieces are made, which a SentencePiece model keeps as their scores; not
    of those that are found `whole` before anything is merged."""
    ranks: dict[str, int] = {}
    ways: Counter[str] = Counter()
    last, odd = "", f"{file} merges as no SentencePiece model does, e.g. to"
    for merge in merges:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        made = left + right
        if made in whole:
            continue
        if (made != last and made in ranks) or made not in vocab:
            raise ValueError(f"{odd} {made!r}")
        ranks.setdefault(made, len(ranks))
        ways[made] += 1
        last = made
    for made, count in ways.items():
        if count != sum(made[:n] in vocab and made[n:] in vocab for n in range(1, len(made))):
            raise ValueError(f"{odd} {made!r}")
    return ranks


def _spoken(kind: str, pieces: Sequence[Piece]) -> str:
    names = {piece.text for piece in pieces if piece.kind == CONTROL}
    return next((name for name, kinds, mark in SPOKEN if kind in kinds and mark in names), "plain")


def _refuse_other(folder: Path, dialogue: str, template: str) -> None:
    """Raise a ValueError where a chat template says other turns than the dialogue's."""
    mark = next((mark for name, _, mark in SPOKEN if name == dialogue), None)
    turn = "<start_of_turn>" if dialogue in ("gemma", "gemma3", "functiongemma") else mark
    if template and (turn is None or turn not in template):
        raise ValueError(
            f"{folder}: its chat template is none of a family that we read; choose a dialogue for "
            "it, e.g. --dialogue plain"
        )


def _template(folder: Path, files: Files) -> str:
    if (folder / TEMPLATE).is_file():
        return (folder / TEMPLATE).read_text()
    told = files.get(SETTINGS, {}).get("chat_template") or ""
    return told if isinstance(told, str) else json.dumps(told)


def _json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{file} is no JSON object")
    return data
