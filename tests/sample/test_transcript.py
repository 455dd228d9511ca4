"""What is shown of a reply, and when; ids are fed one by one as they would be drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castor.core.content import Text, Turn
from castor.sample.transcript import Transcript
from castor.tokens.render import picture_ids
from castor.tokens.vocab import Control, Vocab

CODES = np.arange(6, dtype=np.int32).reshape(2, 3)


def bytes_of(vocab: Vocab, text: str) -> list[int]:
    """The ids of a text's single bytes: the most ways to be cut."""
    first = vocab.encode("\0")[0]
    return [first + b for b in text.encode()]


def shown(vocab: Vocab, ids: list[int], stop: tuple[str, ...] = ()) -> list:
    script = Transcript(vocab, stop=stop)
    return [piece for i in ids for piece in script.feed(i)] + script.close()


def said(pieces: list) -> str:
    return "".join(piece.text for piece in pieces)


@settings(deadline=None, max_examples=200)
@given(text=st.text("ab<é漢", max_size=30), stop=st.text("ab<é漢", min_size=1, max_size=4))
def test_no_stop_string_is_shown_however_ids_cut_the_text(vocab, text, stop):
    for ids in (vocab.encode(text), bytes_of(vocab, text)):
        assert said(shown(vocab, ids, (stop,))) == text.split(stop)[0]


@settings(deadline=None, max_examples=100)
@given(text=st.text("aé漢😀", max_size=20))
def test_no_half_character_is_shown(vocab, text):
    pieces = shown(vocab, bytes_of(vocab, text))
    assert said(pieces) == text
    assert all("\ufffd" not in piece.text for piece in pieces)


def test_only_what_may_begin_a_stop_string_is_held_back(vocab):
    script = Transcript(vocab, stop=("END", "NO"))
    steps = [said(script.feed(i)) for i in bytes_of(vocab, "a EN E NEND!")]
    assert steps == ["a", " ", "", "", "EN ", "", "E ", "", "N", "", "", ""]
    assert script.ended and len(script.ids) == 11


def test_ids_after_the_end_or_a_stop_string_do_not_count(vocab):
    script = Transcript(vocab, stop=())
    for i in [*vocab.encode("fox"), Control.END, *vocab.encode("dog")]:
        script.feed(i)
    assert script.ids == [*vocab.encode("fox"), Control.END] and script.ended
    assert script.close() == []


def test_held_text_is_shown_when_the_reply_ends_without_the_stop_string(vocab):
    for end in ([], [int(Control.END)]):
        assert said(shown(vocab, [*vocab.encode("a fo"), *end], ("fox",))) == "a fo"


def test_a_stop_string_does_not_span_a_picture(vocab):
    ids = [*vocab.encode("fo"), *picture_ids(CODES, vocab), *vocab.encode("x b")]
    first, picture, *rest = shown(vocab, ids, ("fox", "b"))
    assert first == Text("fo") and said(rest) == "x "
    np.testing.assert_array_equal(picture, CODES)


def test_a_stop_string_before_a_picture_ends_the_reply(vocab):
    ids = [*vocab.encode("a fox"), *picture_ids(CODES, vocab)]
    assert Turn("model", tuple(shown(vocab, ids, ("fox",)))).parts == (Text("a "),)


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_picture_cut_short_is_left_out_and_the_text_before_it_stays(vocab, cut):
    ids = [*vocab.encode("a fox"), *picture_ids(CODES, vocab)[:-cut]]
    assert said(shown(vocab, ids)) == "a fox"


def test_half_a_character_at_the_end_shows_as_a_replacement(vocab):
    ids = bytes_of(vocab, "a漢")[:-1]
    assert said(shown(vocab, ids)) == "a\ufffd"
