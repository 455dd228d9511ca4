"""Learning: deterministic, byte-exact whatever was learned from; fertility counted and plotted."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from castor.tokens.learn import Fertility, by_script, fertility, learn, plot, sample, script
from castor.tokens.vocab import CONTROLS, Vocab

TEXTS = [
    f"line {i} of text number {i * i}, which is about {w} things"
    for i in range(300)
    for w in ("green", "blue")
]
DECLARATION = {
    "english": "All human beings are born free and equal in dignity and rights.",
    "deutsch": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "russian": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι.",
    "hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में",
    "chinese": "人人生而自由,在尊严和权利上一律平等。",
    "korean": "모든 인간은 태어날 때부터 자유로우며",
    "thai": "มนุษย์ทั้งหลายเกิดมามีอิสระ",
    "inuktitut": "ᐃᓄᓗᒃᑖᑦ ᐊᓂᖅᑎᕆᔪᑦ",
}


def test_the_same_texts_give_the_same_vocabulary() -> None:
    assert learn(TEXTS, size=360).model == learn(iter(TEXTS), size=360).model


def test_the_pieces_are_what_they_always_were(vocab: Vocab) -> None:
    pieces = b"\n".join(vocab.piece_bytes(i) for i in range(vocab.text_size))
    assert hashlib.sha256(pieces).hexdigest()[:12] == "e9a206b994e5"


def test_text_that_spells_control_pieces_can_be_learned_from() -> None:
    spelled = "<s></s> <unk> <pad> <control_5><control_5> <0x0A> ▁▁ \0"
    learned = learn([spelled] * 50 + TEXTS, size=380)
    ids = learned.encode(spelled)
    assert learned.decode(ids) == spelled
    assert all(map(learned.is_text, ids))


def test_a_text_without_line_ends_is_learned_from() -> None:
    assert learn([" ".join(TEXTS) * 3], size=360).text_size == 360


def test_an_even_sample_is_drawn_from_texts_that_are_too_long() -> None:
    lines = sample(TEXTS, characters=5000)
    assert 4000 < sum(map(len, lines)) <= 5000
    assert lines == [line for line in TEXTS if line in lines]
    numbers = [int(line.split()[1]) for line in lines]
    assert min(numbers) < 50 and max(numbers) > 250
    assert sample(TEXTS, characters=5000) == lines


def test_everything_is_kept_where_it_fits() -> None:
    assert sample(["a\nb\n\nc", "d"], characters=99) == ["a", "b", "c", "d"]


def test_a_long_line_comes_in_pieces() -> None:
    assert [len(line) for line in sample(["x" * 20_000], characters=10**6)] == [8192, 8192, 3616]


def test_a_size_without_room_for_pieces_is_refused() -> None:
    with pytest.raises(ValueError, match="a vocabulary of 323 ids has no room for pieces"):
        learn(TEXTS, size=323)


def test_texts_that_are_too_few_are_refused_with_what_they_fill() -> None:
    with pytest.raises(ValueError, match="too few for a vocabulary of 9000 ids; they fill only"):
        learn(["a few words"], size=9000)


def test_a_size_below_the_characters_of_the_texts_is_refused_with_the_least() -> None:
    with pytest.raises(ValueError, match=r"330 ids are too few .*; take at least 3\d\d"):
        learn(["the quick brown fox jumps over the lazy dog"] * 9, size=330)


def test_no_text_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="hold nothing to learn a vocabulary from"):
        learn(["", "\n"], size=400)


def test_fertility_counts_tokens_characters_and_bytes(vocab: Vocab) -> None:
    rows = {row.name: row for row in fertility(vocab, DECLARATION)}
    row = rows["russian"]
    text = DECLARATION["russian"]
    assert row.tokens == len(vocab.encode(text))
    assert (row.characters, row.bytes) == (len(text), len(text.encode()))
    assert row.per_character == row.tokens / len(text)
    assert row.per_byte == row.tokens / len(text.encode())


def test_the_costliest_row_comes_last_and_empty_texts_are_left_out(vocab: Vocab) -> None:
    rows = fertility(vocab, {**DECLARATION, "nothing": ""})
    costs = [row.per_character for row in rows]
    assert costs == sorted(costs) and len(rows) == len(DECLARATION)


def test_bytes_alone_cost_one_token_a_byte(vocab: Vocab) -> None:
    (row,) = fertility(vocab, {"thai": "มนุษย์"})
    assert row.per_byte == 1


def test_a_script_is_named_by_most_letters_of_a_text() -> None:
    found = {name: script(text) for name, text in DECLARATION.items()}
    assert found == {
        "english": "Latin",
        "deutsch": "Latin",
        "russian": "Cyrillic",
        "greek": "Greek",
        "hindi": "Devanagari",
        "chinese": "Chinese",
        "korean": "Hangul",
        "thai": "Thai",
        "inuktitut": "Canadian",
    }
    assert script("123 + 4") == "None"


def test_texts_are_joined_by_script() -> None:
    joined = by_script(DECLARATION)
    assert joined["Latin"] == f"{DECLARATION['english']}\n{DECLARATION['deutsch']}"
    assert len(joined) == len(DECLARATION) - 1


def test_the_plot_is_a_picture(vocab: Vocab, tmp_path: Path) -> None:
    rows = fertility(vocab, DECLARATION)
    assert all(isinstance(row, Fertility) for row in rows)
    plot(rows, tmp_path / "fertility.png")
    with Image.open(tmp_path / "fertility.png") as picture:
        assert picture.format == "PNG" and picture.width > 500


def test_control_ids_come_first_whatever_is_learned() -> None:
    assert learn(TEXTS, size=360).encode("line")[0] >= CONTROLS
