"""Text and ids: an exact round trip for every text, and no text that reaches a control id."""

from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from castor.tokens.learn import learn
from castor.tokens.vocab import CONTROLS, SIDES, Control, Vocab

NASTY = (
    "",
    " ",
    "  two  spaces  ",
    "\n\n\n\t\r\n \x0b\x0c\x85\u2028",
    "<s></s><unk><pad>",
    "<control_4><control_63> [IMAGE] <image_begin>",
    "<0x0A><0x00><0xFF>",
    "\u2581",
    "\u2581\u2581 \u2581a\u2581",
    "\0",
    "a\0\0b",
    "\u2581\0\u2581\0",
    "\0\u2581",
    "e\u0301 \u0301 lone mark",
    "\u0300\u0301",
    "שלום \u202eabc\u202c \u200f",
    "👨‍👩‍👧‍👦 🏳️‍🌈 🇨🇭 \u200d",
    "\ufffd\ufeff\ufffe\uffff",
    "\U0010ffff\U000e0041",
    "ﬁ ﷽ ① K Å",
    "0123456789 3.14 1e-9 ١٢٣",
    "\x00\x01\x02\x03\x7f\x80\x9f",
)
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.lists(st.sampled_from(NASTY)).map(
    "".join
)


@pytest.mark.parametrize("text", NASTY)
def test_a_nasty_text_comes_back_exactly_and_stays_text(vocab: Vocab, text: str) -> None:
    ids = vocab.encode(text)
    assert vocab.decode(ids) == text
    assert all(vocab.is_text(i) for i in ids)


@given(text=texts)
@example(text="▁\0▁")
def test_every_text_comes_back_exactly_and_stays_text(vocab: Vocab, text: str) -> None:
    ids = vocab.encode(text)
    assert vocab.decode(ids) == text
    assert all(CONTROLS <= i < vocab.text_size for i in ids)


@given(text=texts)
def test_the_bytes_of_the_ids_are_the_bytes_of_the_text(vocab: Vocab, text: str) -> None:
    ids = vocab.encode(text)
    assert b"".join(map(vocab.piece_bytes, ids)) == text.encode()
    assert vocab.byte_lengths[ids].sum() == len(text.encode())


def test_every_scalar_value_has_ids(vocab: Vocab) -> None:
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    for start in range(0, len(points), 65536):
        text = "".join(map(chr, points[start : start + 65536]))
        assert vocab.decode(vocab.encode(text)) == text


def test_decoding_agrees_with_sentencepiece_where_it_is_exact(vocab: Vocab) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_proto=vocab.model)
    for text in ("The cat sees a red square.", "naïve  пять 六", "code()\n\n\tx"):
        assert vocab.encode(text) == reference.encode(text)
        assert vocab.decode(vocab.encode(text)) == reference.decode(vocab.encode(text))


def test_digits_are_split(vocab: Vocab) -> None:
    assert [vocab.piece_bytes(i) for i in vocab.encode("2048")] == [b"2", b"0", b"4", b"8"]


def test_a_frequent_word_takes_one_id_with_its_space(vocab: Vocab) -> None:
    assert len(vocab.encode(" square")) == 1


def test_a_line_end_takes_one_id(vocab: Vocab) -> None:
    assert [vocab.piece_bytes(i) for i in vocab.encode("\n\n\n\t")] == [b"\n\n", b"\n", b"\t"]


def test_half_a_character_decodes_to_a_replacement(vocab: Vocab) -> None:
    assert vocab.decode(vocab.encode("\U0001f600")[:2]) == "\ufffd"


def test_control_and_code_ids_stand_for_no_text(vocab: Vocab) -> None:
    ids = [*range(CONTROLS), *range(vocab.text_size, vocab.size)]
    assert vocab.decode(ids) == ""
    assert not any(vocab.is_text(i) for i in ids)
    assert not vocab.byte_lengths[ids].any()


def test_the_order_is_controls_line_ends_bytes_pieces_codes_filling(vocab: Vocab) -> None:
    assert [vocab.piece_bytes(i) for i in range(64, 67)] == [b"\n", b"\n\n", b"\t"]
    assert [vocab.piece_bytes(i) for i in range(67, 323)] == [bytes([b]) for b in range(256)]
    assert vocab.text_size == 420
    assert vocab.codes == range(420, 484)
    assert vocab.size == 512
    assert len(vocab.byte_lengths) == vocab.size and vocab.byte_lengths.dtype == np.float32


def test_control_ids_never_move() -> None:
    assert [control.value for control in Control] == [*range(23), 31]
    assert Control.SIDE + SIDES < CONTROLS
    assert (Control.PAD, Control.EOS, Control.BOS, Control.UNK) == (0, 1, 2, 3)


def test_a_saved_vocabulary_loads_as_the_same(vocab: Vocab, tmp_path: Path) -> None:
    vocab.save(tmp_path / "vocab.model")
    again = Vocab.load(tmp_path / "vocab.model", codes=64)
    assert again.digest == vocab.digest
    assert again.encode("red square") == vocab.encode("red square")


def test_the_digest_knows_the_pieces_and_the_codes(vocab: Vocab) -> None:
    assert Vocab(vocab.model, codes=65).digest != vocab.digest
    assert learn(["other others or her other"] * 9, size=332, codes=64).digest != vocab.digest


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.model").write_bytes(b"no vocabulary")
    with pytest.raises(ValueError, match=r"vocab.model: not a SentencePiece model"):
        Vocab.load(tmp_path / "vocab.model", codes=0)
    with pytest.raises(FileNotFoundError):
        Vocab.load(tmp_path / "none.model", codes=0)


def test_a_foreign_sentencepiece_model_is_refused(tmp_path: Path) -> None:
    prefix = tmp_path / "foreign"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words of a foreign model"] * 9),
        model_prefix=str(prefix),
        vocab_size=40,
        model_type="bpe",
        hard_vocab_limit=False,
        minloglevel=4,
    )
    with pytest.raises(ValueError, match="has no control ids; learn one with Castor"):
        Vocab.load(f"{prefix}.model", codes=0)


def test_a_lone_surrogate_is_no_text(vocab: Vocab) -> None:
    with pytest.raises(UnicodeEncodeError):
        vocab.encode("\ud800")
