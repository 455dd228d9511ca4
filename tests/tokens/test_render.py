"""The dialogue format: parse is the exact inverse of render, and only what should be is learned."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.batch import Signal
from castor.core.content import ROLES, Call, Document, Media, Result, Text, Turn
from castor.tokens.render import Codes, Reader, Tokens, parse, parse_turn, picture_ids, render
from castor.tokens.vocab import CONTROLS, SIDES, Control, Vocab

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "<s>",
        "<control_8>",
        "<0x0A>",
        "\u2581",
        "\0",
        "e\u0301",
        "\u202e\u05d0",
        "👨‍👩‍👧",
        '{"name":',
    ],
)
names = words.filter(bool)
finite = st.floats(allow_nan=False, allow_infinity=False)
objects = st.dictionaries(
    words,
    st.recursive(
        st.none() | st.booleans() | st.integers() | finite | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
mimes = st.sampled_from(["image/png", "audio/wav", "video/mp4", "video/gif"])
# Constructors and their arguments: the checked constructors themselves must run outside hypothesis.
parts = (
    st.tuples(st.just(Text), words)
    | st.tuples(st.just(Media), mimes, st.binary(max_size=8))
    | st.tuples(st.just(Call), names, objects, words)
    | st.tuples(st.just(Result), names, objects, words)
)
conversations = st.lists(st.tuples(st.sampled_from(ROLES), st.lists(parts, max_size=5)), max_size=5)
PNG = Media("image/png", b"picture")
WAV = Media("audio/wav", b"sound")
MP4 = Media("video/mp4", b"clip")


def document_of(conversation: list[tuple[Any, list[Any]]]) -> Document:
    return Document(
        tuple(
            Turn(role, tuple(make(*given) for make, *given in held)) for role, held in conversation
        )
    )


def signal(kind: str, slots: int) -> Signal:
    return Signal(kind, np.zeros((slots, 3), np.uint8), np.zeros((slots, 2), np.int32))


def see(media: Media) -> Sequence[str | Signal]:
    """Slots that depend on the bytes; a clip is time stamps, frames and sound."""
    slots = len(media.data) % 4
    if media.mime.startswith("video"):
        frames = [
            ("0.0", signal("image", 2), signal("audio", 1))[: slots + 1] for _ in range(slots)
        ]
        return [piece for frame in frames for piece in frame]
    return [signal(media.mime.split("/")[0], slots)]


def draw(media: Media) -> Codes:
    """Codes that depend on the bytes."""
    seed = int.from_bytes(hashlib.sha256(media.data).digest()[:4])
    rng = np.random.default_rng(seed)
    return rng.integers(0, 64, rng.integers(1, 4, 2), dtype=np.int32)


def rendered(document: Document, vocab: Vocab, **options: Any) -> Tokens:
    return render(document, vocab=vocab, see=see, draw=draw, **options)


@given(conversation=conversations)
def test_parsing_what_was_rendered_gives_the_document(
    vocab: Vocab, conversation: list[tuple[Any, list[Any]]]
) -> None:
    document = document_of(conversation)
    assert parse(rendered(document, vocab), vocab=vocab) == document


@given(conversation=conversations)
def test_control_and_code_ids_come_only_from_the_structure(
    vocab: Vocab, conversation: list[tuple[Any, list[Any]]]
) -> None:
    document = document_of(conversation)
    bare = Document(
        tuple(
            Turn(t.role, tuple(p if isinstance(p, Media) else Text("x") for p in t.parts))
            for t in document.turns
        )
    )

    def special(tokens: Tokens) -> list[int]:
        functions = {Control.CALL_BEGIN, Control.CALL_END, Control.RESULT_BEGIN, Control.RESULT_END}
        ids = tokens.ids.tolist()
        return [i for i in ids if not vocab.is_text(i) and i not in functions]

    assert special(rendered(document, vocab)) == special(rendered(bare, vocab))


@given(conversation=conversations)
def test_every_signal_stands_where_its_slots_are(
    vocab: Vocab, conversation: list[tuple[Any, list[Any]]]
) -> None:
    tokens = rendered(document_of(conversation), vocab)
    slots = np.isin(tokens.ids, [Control.IMAGE, Control.AUDIO])
    for column, piece in tokens.signals:
        inside = slice(column, column + len(piece.values))
        slot = Control.IMAGE if piece.kind == "image" else Control.AUDIO
        assert (tokens.ids[inside] == slot).all()
        slots[inside] = False
    assert not slots.any()


@given(conversation=conversations)
def test_only_model_turns_and_pages_are_learned(
    vocab: Vocab, conversation: list[tuple[Any, list[Any]]]
) -> None:
    tokens = rendered(document_of(conversation), vocab)
    role, learned = None, []
    for i in tokens.ids.tolist():
        starter = {Control.SYSTEM, Control.USER, Control.MODEL, Control.PAGE, Control.EOS}
        media = i in (Control.IMAGE, Control.AUDIO)
        role = i if i in starter else role
        learned.append(role in (Control.MODEL, Control.PAGE) and i not in starter and not media)
    outside = ~np.array(learned, bool)
    assert not tokens.weights[outside].any()


def test_a_dialogue_reads_as_the_format_says(vocab: Vocab) -> None:
    document = Document.of("Hi", PNG).then("Yes", PNG)
    tokens = render(
        document,
        vocab=vocab,
        see=lambda media: [signal("image", 2)],
        draw=lambda media: np.array([[5, 6]], np.int32),
    )
    first = vocab.codes.start
    image = [Control.IMAGE_BEGIN, Control.IMAGE, Control.IMAGE, Control.IMAGE_END]
    sides = [Control.SIDE + 1, Control.SIDE + 2]
    drawn = [Control.DRAW_BEGIN, *sides, first + 5, first + 6, Control.DRAW_END]
    question = [Control.BOS, Control.USER, *vocab.encode("Hi"), *image, Control.END, Control.MODEL]
    answer = [*vocab.encode("Yes"), *drawn, Control.END]
    assert tokens.ids.tolist() == [*question, *answer, Control.EOS]
    assert tokens.weights.tolist() == [0.0] * len(question) + [1.0] * len(answer) + [0.0]
    assert tokens.media == (PNG, PNG)


def test_a_clip_is_wrapped_with_its_time_stamps(vocab: Vocab) -> None:
    pieces = ["0.0", signal("image", 1), signal("audio", 1)]
    tokens = render(Document.of(MP4), vocab=vocab, see=lambda media: pieces)
    image = [Control.IMAGE_BEGIN, Control.IMAGE, Control.IMAGE_END]
    audio = [Control.AUDIO_BEGIN, Control.AUDIO, Control.AUDIO_END]
    inside = [*vocab.encode("0.0"), *image, *audio]
    expected = [Control.VIDEO_BEGIN, *inside, Control.VIDEO_END, Control.END, Control.EOS]
    assert tokens.ids.tolist() == [Control.BOS, Control.USER, *expected]


def test_a_page_is_learned_but_for_its_media(vocab: Vocab) -> None:
    tokens = rendered(Document.of("ab", WAV, role="page"), vocab)
    slots = 3 * [0.0] + (len(WAV.data) % 4 - 1) * [0.0]
    text = len(vocab.encode("ab")) * [1.0]
    assert tokens.weights.tolist() == [0.0, 0.0, *text, *slots, 1.0, 0.0]


def test_a_sound_in_a_model_turn_is_heard_and_not_learned(vocab: Vocab) -> None:
    document = Document.of(WAV, role="model")
    tokens = rendered(document, vocab)
    assert tokens.weights.sum() == 1  # the end of the turn
    assert parse(tokens, vocab=vocab) == document


def test_an_open_turn_ends_with_its_starter(vocab: Vocab) -> None:
    whole = rendered(Document.of("Hi").then("Yes"), vocab)
    prompt = rendered(Document.of("Hi"), vocab, open_turn="model")
    assert prompt.ids.tolist() == whole.ids[: len(prompt.ids)].tolist()
    assert prompt.ids[-1] == Control.MODEL


def test_a_last_turn_of_the_open_role_is_left_open(vocab: Vocab) -> None:
    whole = rendered(Document.of("Hi").then("Ye"), vocab)
    prompt = rendered(Document.of("Hi").then("Ye"), vocab, open_turn="model")
    assert prompt.ids.tolist() == whole.ids[:-2].tolist()
    assert parse(prompt, vocab=vocab) == Document.of("Hi").then("Ye")


def test_a_call_keeps_its_json_exactly(vocab: Vocab) -> None:
    call = Call("f", {"b": [1, 2.5, None, True], "a": {"é": "\0▁\u2028"}}, "id-1")
    document = Document((Turn("model", (Text("x"), call, call, Text("y"))),))
    assert parse(rendered(document, vocab), vocab=vocab) == document


def test_a_picture_without_draw_is_refused(vocab: Vocab) -> None:
    with pytest.raises(ValueError, match="a model turn holds a picture, and this model cannot"):
        render(Document.of(PNG, role="model"), vocab=vocab, see=see)


@pytest.mark.parametrize("shape", [(0, 1), (1, SIDES + 1), (SIDES + 1, 1)])
def test_a_picture_of_a_wrong_size_is_refused(vocab: Vocab, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="a drawn picture has 1 to 32 codes a side"):
        picture_ids(np.zeros(shape, np.int32), vocab)


@pytest.mark.parametrize("code", [-1, 64])
def test_a_code_out_of_range_is_refused(vocab: Vocab, code: int) -> None:
    with pytest.raises(ValueError, match="this vocabulary has 64 codes"):
        picture_ids(np.full((1, 1), code, np.int32), vocab)


def streamed(ids: Sequence[int], vocab: Vocab) -> tuple[list[str], list[Any]]:
    """The pieces of text as they come, and all pieces."""
    reader = Reader(vocab)
    pieces = [piece for i in ids for piece in reader.feed(i)] + reader.close()
    return [p.text for p in pieces if isinstance(p, Text)], pieces


@given(text=words | st.text(st.characters(exclude_categories=["Cs"])))
def test_a_stream_never_shows_half_a_character(vocab: Vocab, text: str) -> None:
    pieces, _ = streamed(vocab.encode(text), vocab)
    assert "".join(pieces) == text
    assert all(pieces)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@given(ids=st.lists(st.integers(CONTROLS, 419)))
def test_a_stream_of_any_text_ids_is_what_decoding_them_gives(vocab: Vocab, ids: list[int]) -> None:
    assert "".join(streamed(ids, vocab)[0]) == vocab.decode(ids)


@given(conversation=st.lists(parts.filter(lambda p: p[0] is not Media or p[1] == "image/png")))
def test_a_stream_of_a_model_turn_is_the_turn(vocab: Vocab, conversation: list[Any]) -> None:
    turn = Turn("model", tuple(make(*given) for make, *given in conversation))
    ids = rendered(Document((turn,)), vocab).ids[2:].tolist()
    media = {draw(p).tobytes(): p for p in turn.parts if isinstance(p, Media)}
    assert parse_turn(ids, vocab=vocab, picture=lambda codes: media[codes.tobytes()]) == turn


@given(ids=st.lists(st.integers(0, 511)))
def test_a_turn_of_any_ids_at_all_is_read(vocab: Vocab, ids: list[int]) -> None:
    turn = parse_turn(ids, vocab=vocab, picture=lambda codes: Media("image/png", codes.tobytes()))
    assert turn.role == "model"


def test_a_turn_stops_at_its_end(vocab: Vocab) -> None:
    ids = [*vocab.encode("yes"), Control.END, *vocab.encode("no")]
    assert parse_turn(ids, vocab=vocab) == Turn("model", (Text("yes"),))


def test_drawn_pictures_come_in_their_place(vocab: Vocab) -> None:
    codes = np.arange(6, dtype=np.int32).reshape(2, 3)
    ids = [*vocab.encode("a"), *picture_ids(codes, vocab), *vocab.encode("b")]
    seen: list[np.ndarray] = []

    def picture(drawn: Codes) -> Media:
        seen.append(drawn)
        return PNG

    turn = parse_turn(ids, vocab=vocab, picture=picture)
    assert turn.parts == (Text("a"), PNG, Text("b"))
    np.testing.assert_array_equal(seen[0], codes)


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8])
def test_a_picture_cut_short_is_left_out(vocab: Vocab, cut: int) -> None:
    drawn = picture_ids(np.zeros((2, 3), np.int32), vocab)[:cut]
    ids = [*vocab.encode("a"), *drawn, Control.END]
    assert parse_turn(ids, vocab=vocab, picture=lambda codes: PNG).parts == (Text("a"),)


def test_a_picture_with_too_few_codes_is_left_out(vocab: Vocab) -> None:
    drawn = picture_ids(np.zeros((2, 3), np.int32), vocab)
    ids = [*drawn[:-2], Control.DRAW_END, *vocab.encode("b")]
    assert parse_turn(ids, vocab=vocab, picture=lambda codes: PNG).parts == (Text("b"),)


@pytest.mark.parametrize(
    "spelled",
    ["", "{", "[]", "3", '{"name":"f"}', '{"name":3,"body":{}}', '{"name":"f","body":[]}',
     '{"name":"","body":{}}', '{"name":"\\ud800","body":{}}', '{"name":"f","body":{},"id":1}',
     "[" * 20000],
)  # fmt: skip
def test_a_call_that_is_no_call_is_left_out(vocab: Vocab, spelled: str) -> None:
    ids = [Control.CALL_BEGIN, *vocab.encode(spelled), Control.CALL_END, *vocab.encode("b")]
    assert parse_turn(ids, vocab=vocab).parts == (Text("b"),)


def test_without_a_painter_drawn_codes_are_left_out(vocab: Vocab) -> None:
    ids = picture_ids(np.zeros((1, 1), np.int32), vocab)
    assert parse_turn(ids, vocab=vocab).parts == ()


def test_padding_is_nothing(vocab: Vocab) -> None:
    tokens = rendered(Document.of("Hi"), vocab)
    padded = tokens._replace(ids=np.append(tokens.ids, np.zeros(5, np.int32)))
    assert parse(padded, vocab=vocab) == Document.of("Hi")
