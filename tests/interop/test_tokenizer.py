"""A folder's tokenizer gives SentencePiece's ids, and keeps control ids out of reach."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer

from castor.interop.tokenizer import FAST, MODEL, SETTINGS, TEMPLATE, vocabulary
from castor.tokens.proto import CONTROL, NORMAL, UNUSED, USER_DEFINED, bpe_model, pieces_of
from castor.tokens.vocab import Vocab
from tests.tokens.families import TURNS, pieces
from tests.tokens.test_vocab import NASTY

WORDS = [text for text in NASTY if "\u2581" not in text and "\0" not in text]


def fast(ours: Vocab, name: str = "gemma", **changes: Any) -> dict[str, Any]:
    """A `tokenizer.json` of a family's vocabulary, as converters write it."""
    table = {piece.text: i for i, piece in enumerate(pieces(name, ours))}
    scores = {piece.text: piece.score for piece in pieces(name, ours)}
    ways = [
        (text[:n], text[n:])
        for text in sorted(scores, key=lambda text: -scores[text])
        for n in range(1, len(text))
        if text[:n] in table and text[n:] in table
    ]
    whole = [piece for piece in pieces(name, ours) if piece.kind in (CONTROL, USER_DEFINED)]
    added = [
        {"id": table[p.text], "content": p.text, "special": p.kind == CONTROL}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for p in whole
    ]
    model = {"type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    model |= {"vocab": table, "merges": [list(way) for way in ways]}
    return {"added_tokens": added, "normalizer": space, "model": model | changes}


def folder_of(path: Path, **files: Any) -> Path:
    for name, content in files.items():
        file = (
            path / {"model": MODEL, "fast": FAST, "settings": SETTINGS, "template": TEMPLATE}[name]
        )
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def model(vocab: Vocab) -> bytes:
    return bpe_model(pieces("gemma", vocab))


def read(folder: Path, **options: Any) -> Vocab:
    return vocabulary(folder, **{"kind": "gemma2", "size": 640} | options)


def test_both_files_give_the_ids_of_sentencepiece(
    tmp_path: Path, vocab: Vocab, model: bytes
) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_proto=model)
    (tmp_path / "m").mkdir()
    (tmp_path / "f").mkdir()
    one = read(folder_of(tmp_path / "m", model=model))
    other = read(folder_of(tmp_path / "f", fast=fast(vocab)))
    spoken = [p.text.replace("\u2581", " ") for p in pieces("gemma", vocab) if p.kind == NORMAL]
    draw = random.Random(0)
    for text in (*WORDS, *("".join(draw.choices(spoken, k=9)) for _ in range(500))):
        assert one.encode(text) == reference.encode(text)
        assert other.encode(text) == reference.encode(text)


def test_the_json_file_is_read_as_its_own_library_reads_it(tmp_path: Path, vocab: Vocab) -> None:
    theirs = Tokenizer.from_str(json.dumps(fast(vocab) | {"version": "1.0"}))
    ours = read(folder_of(tmp_path, fast=fast(vocab)))
    for text in ("a red square, the cat says", "  two\n\n\nlines ", "naïve ש пять 六 \U0001f600"):
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_a_family_is_known_by_its_pieces(tmp_path: Path, vocab: Vocab) -> None:
    for name, kind in (
        ("gemma", "gemma2"),
        ("gemma3", "gemma3"),
        ("functiongemma", "gemma3_text"),
        ("gemma4", "gemma4_text"),
        ("plain", "vaultgemma"),
    ):
        folder_of(tmp_path, model=bpe_model(pieces(name, vocab)))
        assert read(tmp_path, kind=kind).dialogue.name == name


def test_another_dialogue_may_be_asked_for(tmp_path: Path, model: bytes) -> None:
    assert read(folder_of(tmp_path, model=model), dialogue="plain").dialogue.name == "plain"


def test_turns_are_out_of_reach_even_if_the_file_calls_them_text(
    tmp_path: Path, vocab: Vocab
) -> None:
    loose = [
        p._replace(kind=USER_DEFINED) if p.text in TURNS else p for p in pieces("gemma", vocab)
    ]
    found = read(folder_of(tmp_path, model=bpe_model(loose)))
    ids = found.encode("<start_of_turn>model")
    assert all(map(found.is_text, ids)) and found.decode(ids) == "<start_of_turn>model"


def test_pieces_that_other_files_add_get_their_ids(tmp_path: Path, model: bytes) -> None:
    count = len(pieces_of(model))
    added = {str(count + 2): {"content": "<image_soft_token>", "special": True}}
    found = read(folder_of(tmp_path, model=model, settings={"added_tokens_decoder": added}))
    assert found.pieces[count + 2][::2] == ("<image_soft_token>", CONTROL)
    assert [found.pieces[count + n].kind for n in range(2)] == [UNUSED] * 2


def test_a_model_may_have_more_ids_than_its_tokenizer(tmp_path: Path, model: bytes) -> None:
    assert read(folder_of(tmp_path, model=model), size=2048).size == 2048


def test_text_is_drawn_from_the_longest_run_of_text_ids(tmp_path: Path, model: bytes) -> None:
    found = read(folder_of(tmp_path, model=model))
    assert all(map(found.is_text, found.text)) and found.text.stop == found.text_size
    assert not found.is_text(found.text.start - 1)


def test_the_usual_chat_template_is_the_dialogue(tmp_path: Path, model: bytes) -> None:
    settings = {"chat_template": "{{ '<start_of_turn>' }}"}
    assert read(folder_of(tmp_path, model=model, settings=settings)).dialogue.name == "gemma"


@pytest.mark.parametrize("place", ["settings", "template"])
def test_another_chat_template_is_refused(tmp_path: Path, model: bytes, place: str) -> None:
    odd = "{{ '<|im_start|>' }}"
    files = {place: {"chat_template": odd} if place == "settings" else odd}
    with pytest.raises(ValueError, match="its chat template is none of a family that we read"):
        read(folder_of(tmp_path, model=model, **files))


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path: Path, model: bytes) -> None:
    with pytest.raises(ValueError, match="a model of 128 ids has no room for the"):
        read(folder_of(tmp_path, model=model), size=128)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has neither tokenizer\.model nor tokenizer\.json"):
        read(tmp_path)


def test_bytes_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.model: not a SentencePiece model"):
        read(folder_of(tmp_path, model=b"\xff" * 40))


@pytest.mark.parametrize("changes", [{"type": "WordPiece"}, {"byte_fallback": False}])
def test_another_kind_of_tokenizer_is_refused(
    tmp_path: Path, vocab: Vocab, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="is no BPE with byte fallback"):
        read(folder_of(tmp_path, fast=fast(vocab, **changes)))


def test_ids_with_a_gap_are_refused(tmp_path: Path, vocab: Vocab) -> None:
    data = fast(vocab)
    data["model"]["vocab"]["gap"] = 10**6
    with pytest.raises(ValueError, match="its ids are not 0 to"):
        read(folder_of(tmp_path, fast=data))


def test_merges_that_no_sentencepiece_model_makes_are_refused(tmp_path: Path, vocab: Vocab) -> None:
    data = fast(vocab)
    normal = [way for way in data["model"]["merges"] if len("".join(way)) > 3]
    data["model"]["merges"].remove(normal[-1])
    with pytest.raises(ValueError, match="merges as no SentencePiece model does"):
        read(folder_of(tmp_path, fast=data))
    data["model"]["merges"] = [*fast(vocab)["model"]["merges"], ["no", "piece of ours"]]
    with pytest.raises(ValueError, match="merges as no SentencePiece model does"):
        read(folder_of(tmp_path, fast=data))


def test_an_id_beyond_all_models_is_refused(tmp_path: Path, model: bytes) -> None:
    added = {str(2**30): {"content": "<far>", "special": True}}
    with pytest.raises(ValueError, match=f"adds id {2**30}, and no model has so many"):
        read(folder_of(tmp_path, model=model, settings={"added_tokens_decoder": added}))


@pytest.mark.parametrize(("text", "match"), [("{", "is not JSON"), ("[]", "is no JSON object")])
def test_settings_that_are_no_json_are_refused(
    tmp_path: Path, model: bytes, text: str, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        read(folder_of(tmp_path, model=model, settings=text))


def test_normal_pieces_stay_normal(tmp_path: Path, vocab: Vocab, model: bytes) -> None:
    found = read(folder_of(tmp_path, model=model))
    mine = {p.text for p in pieces("gemma", vocab) if p.kind == NORMAL}
    assert {p.text for p in found.pieces if p.kind == NORMAL} == mine
