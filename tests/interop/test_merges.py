"""tokenizer.json: what the `tokenizers` library makes of it is what SentencePiece says."""

import json
from pathlib import Path

import pytest

from castor.cli.answering import SHIPPED
from castor.interop.merges import merges, tokenizer_json
from castor.interop.words import words
from castor.tokens.proto import CONTROL, NORMAL, Piece
from castor.tokens.vocab import Vocab
from tests.interop.llama import TEXT, spoken

TEXTS = (
    TEXT,
    "",
    " ",
    "   runs   of\n\n\n\nspace\t\t end  ",
    "naïve façade — “quotes” 12345 ½ £",
    "漢字かな交じり文 한국어 العربية हिन्दी \U0001f600\U0001f468\u200d\U0001f469",
    "<bos> <s> <0x41> <unk> <none_410> <code_>",
    "a\0b\x7f\u200b",
    "aaaaaaaaaaaaaaa eeeeeeee          x",
)


@pytest.fixture(scope="module", params=["learned", "shipped"])
def vocab(request: pytest.FixtureRequest) -> Vocab:
    return spoken() if request.param == "learned" else Vocab.load(SHIPPED / "vocab.model", codes=4)


def fast(vocab: Vocab):
    tokenizers = pytest.importorskip("tokenizers")
    return tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(words(vocab))))


def test_ids_are_those_of_sentencepiece(vocab: Vocab) -> None:
    theirs = fast(vocab)
    pages = [page.read_text() for page in sorted(Path(__file__).parents[2].glob("docs/*.md"))]
    lines = [line for page in pages for line in page.splitlines()]
    for text in (*TEXTS, *lines[:2000]):
        if "<s>" in text or "<unk>" in text or "</s>" in text:
            continue
        assert theirs.encode(text, add_special_tokens=False).ids == vocab.encode(text), text


def test_texts_come_back(vocab: Vocab) -> None:
    theirs = fast(vocab)
    for text in TEXTS:
        if "<" not in text:
            assert theirs.decode(theirs.encode(text, add_special_tokens=False).ids) == text


def test_a_text_begins_with_its_begin(vocab: Vocab) -> None:
    assert fast(vocab).encode("Why?").ids == [2, *vocab.encode("Why?")]


def test_controls_and_codes_are_found_by_their_names(vocab: Vocab) -> None:
    known = words(vocab)
    controls = [i for i, piece in enumerate(known.pieces) if piece.kind == CONTROL]
    text = "".join(known.pieces[i].text for i in controls)
    assert fast(vocab).encode(text, add_special_tokens=False).ids == controls


def test_the_best_piece_is_merged_first() -> None:
    pieces = [Piece(text, -n, NORMAL) for n, text in enumerate(("ab", "abc", "a", "b", "c"))]
    assert list(merges(pieces)) == [("a", "b"), ("ab", "c")]


def test_a_control_is_made_of_no_pieces() -> None:
    pieces = [Piece("ab", 0, CONTROL), Piece("a", -1, NORMAL), Piece("b", -2, NORMAL)]
    assert list(merges(pieces)) == []
