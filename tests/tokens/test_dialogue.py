"""Each family's prompts are written as its makers write them, and its replies read back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from castor.core.batch import Signal
from castor.core.content import Call, Document, Media, Result, Text, Turn
from castor.tokens.dialects import DIALOGUES, dialogue
from castor.tokens.render import Tokens, parse_turn, render
from castor.tokens.vocab import Vocab
from tests.tokens.families import CONTROLS, family, shown

PNG, WAV, MP4 = (Media(mime, b"x") for mime in ("image/png", "audio/wav", "video/mp4"))
TALK = Document(
    (
        Turn("system", (Text(" Be brief. "),)),
        Turn("user", (Text("  Hi\n"),)),
        Turn("model", (Text("Ho"),)),
        Turn("user", (Text("And?"),)),
    )
)


def see(media: Media) -> Sequence[str | Signal]:
    """Two slots; a clip is two frames and a sound."""
    kind = media.mime.split("/")[0]
    if kind == "video":
        return ["1.5", _signal("image"), "2:03.5", _signal("image"), _signal("audio")]
    return [_signal(kind)]


def _signal(kind: str) -> Signal:
    return Signal(kind, np.zeros((2, 1), np.uint8), np.zeros((2, 2), np.int32))


def told(document: Document, vocab: Vocab, **options: Any) -> str:
    return shown(tokens(document, vocab, **options).ids.tolist(), vocab)


def tokens(document: Document, vocab: Vocab, **options: Any) -> Tokens:
    return render(document, vocab=vocab, see=see, **options)


def test_gemma_puts_the_systems_words_before_the_first_users(vocab: Vocab) -> None:
    assert told(TALK, family("gemma", vocab), open_turn="model") == (
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHo"
        "<end_of_turn>\n<start_of_turn>user\nAnd?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_words_of_the_system_alone_make_a_users_turn(vocab: Vocab) -> None:
    alone = Document((Turn("system", (Text("Be brief."),)),))
    assert told(alone, family("gemma", vocab)) == (
        "<bos><start_of_turn>user\nBe brief.<end_of_turn>\n"
    )


def test_gemma3_frames_a_picture_in_empty_lines(vocab: Vocab) -> None:
    asked = Document.of("What", PNG, "is it?")
    assert told(asked, family("gemma3", vocab)) == (
        "<bos><start_of_turn>user\nWhat\n\n<start_of_image><image_soft_token><image_soft_token>"
        "<end_of_image>\n\nis it?<end_of_turn>\n"
    )


def test_line_ends_of_a_frame_and_of_a_text_are_one_piece(vocab: Vocab) -> None:
    other = family("gemma3", vocab)
    ids = tokens(Document.of(PNG, role="user"), other).ids.tolist()
    lines = [i for i in ids if other.is_text(i) and not other.piece_bytes(i).strip()]
    assert [other.piece_bytes(i) for i in lines] == [b"\n\n\n", b"\n\n", b"\n"]


def test_gemma4_gives_the_system_a_turn(vocab: Vocab) -> None:
    assert told(TALK, family("gemma4", vocab), open_turn="model") == (
        "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\nHo<turn|>\n"
        "<|turn>user\nAnd?<turn|>\n<|turn>model\n"
    )


def test_gemma4_writes_pictures_sounds_and_clips(vocab: Vocab) -> None:
    assert told(Document.of(PNG, WAV, MP4), family("gemma4", vocab)) == (
        "<bos><|turn>user\n<|image><|image|><|image|><image|><|audio><|audio|><|audio|><audio|>"
        "00:01 <|image><|video|><|video|><image|> 02:03 <|image><|video|><|video|><image|>"
        "<|audio><|audio|><|audio|><audio|><turn|>\n"
    )


def test_signals_stand_where_their_slots_are(vocab: Vocab) -> None:
    other = family("gemma4", vocab)
    made = tokens(Document.of("a", PNG, MP4), other)
    slots = {"image": ("<|image|>", "<|video|>"), "audio": ("<|audio|>",)}
    for at, signal in made.signals:
        names = {other.pieces[i].text for i in made.ids[at : at + 2].tolist()}
        assert names <= set(slots[signal.kind]) and len(names) == 1


def test_a_clip_is_counted_from_its_first_time_to_its_last_slot(vocab: Vocab) -> None:
    other = family("gemma4", vocab)
    made = tokens(Document.of("Look:", MP4, "?"), other)
    ((start, stop),) = made.clips
    text = shown(made.ids[start:stop].tolist(), other)
    assert text.startswith("00:01 <|image>") and text.endswith("<audio|>")


CALL = Call("weather", {"city": "Bern", "days": 2, "exact": True})
ANSWER = Result("weather", {"temperature": 15.5, "sky": ["blue", None]})
ASKED = Document(
    (
        Turn("user", (Text("Weather?"),)),
        Turn("model", (CALL,)),
        Turn("user", (ANSWER,)),
        Turn("model", (Text("Fine."),)),
    )
)


def test_gemma4_answers_a_call_within_the_models_turn(vocab: Vocab) -> None:
    assert told(ASKED, family("gemma4", vocab)) == (
        "<bos><|turn>user\nWeather?<turn|>\n<|turn>model\n"
        '<|tool_call>call:weather{city:<|"|>Bern<|"|>,days:2,exact:true}<tool_call|>'
        '<|tool_response>response:weather{sky:[<|"|>blue<|"|>,null],temperature:15.5}'
        "<tool_response|>Fine.<turn|>\n"
    )


def test_the_model_goes_on_after_a_result_without_a_new_turn(vocab: Vocab) -> None:
    asked = Document(ASKED.turns[:3])
    text = told(asked, family("gemma4", vocab), open_turn="model")
    assert text.endswith("<tool_response|>") and text.count("<|turn>model") == 1


def test_functiongemma_quotes_strings_with_its_own_mark(vocab: Vocab) -> None:
    text = told(ASKED, family("functiongemma", vocab))
    assert "<start_function_call>call:weather{city:<escape>Bern<escape>,days:2" in text
    assert "<start_function_response>response:weather{" in text


def test_a_model_learns_its_calls_and_words_but_no_results(vocab: Vocab) -> None:
    other = family("gemma4", vocab)
    made = tokens(ASKED, other)
    learned = shown(made.ids[made.weights > 0].tolist(), other)
    assert learned == (
        '<|tool_call>call:weather{city:<|"|>Bern<|"|>,days:2,exact:true}<tool_call|>Fine.<turn|>'
    )


@pytest.mark.parametrize("name", ["functiongemma", "gemma4"])
def test_a_call_in_brackets_is_read_back(vocab: Vocab, name: str) -> None:
    other = family(name, vocab)
    made = tokens(Document((Turn("model", (Text("So:"), CALL)),)), other)
    ids = made.ids[made.weights > 0].tolist()
    assert parse_turn(ids, vocab=other) == Turn("model", (Text("So:"), CALL))


def test_what_gemma4_thinks_is_not_shown(vocab: Vocab) -> None:
    other = family("gemma4", vocab)
    begin, end = (
        other.pieces.index(p) for p in other.pieces if p.text in ("<|channel>", "<channel|>")
    )
    ids = [begin, *other.encode("thought\nhm"), end, *other.encode("Yes"), *other.dialogue.ends[:1]]
    assert parse_turn(ids, vocab=other) == Turn("model", (Text("Yes"),))


@pytest.mark.parametrize("name", [name for name in CONTROLS if name != "plain"])
def test_a_reply_ends_at_any_of_its_dialogues_ends(vocab: Vocab, name: str) -> None:
    other = family(name, vocab)
    for end in other.dialogue.ends:
        ids = [*other.encode("Yes"), end, *other.encode("No")]
        assert parse_turn(ids, vocab=other) == Turn("model", (Text("Yes"),))


@pytest.mark.parametrize("name", list(CONTROLS))
def test_no_text_reaches_a_control_id_of_a_family(vocab: Vocab, name: str) -> None:
    other = family(name, vocab)
    text = "".join((*CONTROLS[name], "<bos>", "<eos>", "<pad>", "<unk>"))
    ids = other.encode(text)
    assert other.decode(ids) == text and all(other.is_text(i) for i in ids)


@pytest.mark.parametrize("name", [name for name in CONTROLS if name != "plain"])
def test_a_prompt_begins_the_document_that_it_becomes(vocab: Vocab, name: str) -> None:
    other, asked = family(name, vocab), Document.of("Hi")
    prompt = tokens(asked, other, open_turn="model").ids.tolist()
    whole = tokens(asked.then("Ho"), other)
    assert whole.ids[: len(prompt)].tolist() == prompt
    assert not whole.weights[: len(prompt)].any() and whole.weights[len(prompt)] == 1


@pytest.mark.parametrize("name", [name for name in CONTROLS if name != "plain"])
def test_a_page_has_no_frame_but_its_end(vocab: Vocab, name: str) -> None:
    assert told(Document.of(" A page ", role="page"), family(name, vocab)) == "<bos> A page <eos>"


def test_plain_text_has_no_turns(vocab: Vocab) -> None:
    assert told(Document.of("A text"), family("plain", vocab)) == "<bos>A text<eos>"


def test_a_dialogue_without_calls_refuses_them(vocab: Vocab) -> None:
    with pytest.raises(ValueError, match="the dialogue gemma has no place for a call"):
        tokens(ASKED, family("gemma", vocab))


@pytest.mark.parametrize("medium", [PNG, WAV, MP4])
def test_a_dialogue_without_a_place_for_a_medium_refuses_it(vocab: Vocab, medium: Media) -> None:
    with pytest.raises(ValueError, match=f"no place for {medium.mime}"):
        tokens(Document.of(medium), family("gemma", vocab))


def test_a_vocabulary_without_the_control_ids_is_refused(vocab: Vocab) -> None:
    with pytest.raises(ValueError, match="has no control id <start_of_turn>"):
        Vocab(family("plain", vocab).model, codes=0, dialogue="gemma")


def test_an_unknown_dialogue_is_refused(vocab: Vocab) -> None:
    with pytest.raises(ValueError, match=f"'chatml' is none of {', '.join(DIALOGUES)}"):
        dialogue("chatml", lambda name: 0)


def test_a_turn_that_a_dialogue_lacks_is_refused(vocab: Vocab) -> None:
    late = Document((Turn("user", (Text("Hi"),)), Turn("system", (Text("Be brief."),))))
    with pytest.raises(ValueError, match="the dialogue gemma has no turns of the system"):
        tokens(late, family("gemma", vocab))


def test_a_model_with_fewer_ids_than_its_vocabulary_is_refused(vocab: Vocab) -> None:
    model = family("gemma", vocab).model
    with pytest.raises(ValueError, match="a model of 64 ids has no room for the"):
        Vocab(model, codes=0, dialogue="gemma", size=64)
